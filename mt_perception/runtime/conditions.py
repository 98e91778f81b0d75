# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conditions of tasks, checked against the model that is to serve them."""

from __future__ import annotations

from collections.abc import Mapping

from mt_perception.errors import OptionError
from mt_perception.graph.conditional import parse_rules
from mt_perception.runtime.manifest import TaskSpec
from mt_perception.types import DETECTION


def check_conditions(texts: tuple[str, ...], tasks: Mapping[str, TaskSpec]) -> None:
    """Check that a model can serve conditions.

    Raises:
        OptionError: One is no condition, or names what the model does not have.
    """
    for rule in parse_rules(texts).values():
        finding = [task.name for task in tasks.values() if task.kind == DETECTION]
        if rule.task not in tasks or rule.on not in finding:
            raise OptionError(
                f'condition {str(rule)!r}: the model has the tasks {", ".join(tasks)}, of which '
                f'{", ".join(finding)} can decide'
            )
        unknown = [label for label in rule.labels if label not in tasks[rule.on].labels]
        if unknown:
            raise OptionError(
                f'condition {str(rule)!r}: {rule.on} does not find {", ".join(unknown)}; it finds '
                f'{", ".join(tasks[rule.on].labels)}'
            )
