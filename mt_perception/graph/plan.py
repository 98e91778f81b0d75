# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A plan: for one frame, which tasks are served and which blocks run, in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mt_perception.graph.block import Block
from mt_perception.graph.task_graph import TaskGraph

FULL_PATH = 'full'


@dataclass(frozen=True)
class Plan:
    """What to do with one frame.

    Attributes:
        tasks: The tasks to serve, in the order of the graph.
        blocks: The blocks to run, in order.
        path: Name of the path through the graph.
        reason: Why this plan, in words, for an operator.
    """

    tasks: tuple[str, ...]
    blocks: tuple[Block, ...]
    path: str = FULL_PATH
    reason: str = 'everything that is wanted'

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the plan at the model's reference size."""
        return sum(block.macs for block in self.blocks)


def full_plan(graph: TaskGraph, wanted: Iterable[str]) -> Plan:
    """The plan that skips nothing: every block that a wanted task needs, and no other.

    Raises:
        ModelError: A wanted task is not of this graph.
    """
    names = frozenset(wanted)
    tasks = tuple(task for task in graph.tasks if task in names)
    return Plan(tasks=tasks, blocks=graph.blocks_for(names))
