# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The options of commands that run a model within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from mt_perception.graph.budget import AUTO, Budget

BUDGET_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option('--budget', default=1.0, help='Fraction of the compute of everything; 1: all.'),
    click.option('--latency-ms', default=0.0, help='Keep 95 % of the frames below; 0: any time.'),
    click.option('--stale-ms', default=0.0, help='Give results again for so long; 0: never.'),
    click.option('--path', default=AUTO, help='Always this path of the model.'),
)


def with_budget_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes these options."""
    for option in reversed(BUDGET_OPTIONS):
        command = option(command)
    return command


def budget_of(given: Mapping[str, Any]) -> Budget:
    """The budget that was typed."""
    return Budget(
        compute=given['budget'],
        latency_ms=given['latency_ms'],
        path=given['path'],
        max_stale_ms=given['stale_ms'],
    )
