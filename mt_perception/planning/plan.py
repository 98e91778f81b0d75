# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A plan: which tasks a frame gets, which blocks run, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from mt_perception.image.optical_flow import Motion
from mt_perception.model.paths import FULL, FULL_PATH, NetPath
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph
from mt_perception.planning.task_order import order_problem, planned_order
from mt_perception.types import Fact


def releases(blocks: Sequence[Block], results: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """For each block, the tensors that nobody reads once it has run.

    Args:
        blocks: The blocks of a plan, in order.
        results: Tensors to keep to the end: what the tasks' post-processing reads.

    Returns:
        As many tuples as blocks. A block's own outputs are among them where no block reads them;
        every tensor that is not a result is released exactly once.
    """
    last_use: dict[str, int] = {IMAGE: 0} if blocks else {}
    for number, block in enumerate(blocks):
        made = (block.tensor(output) for output in block.outputs)
        last_use.update(dict.fromkeys((*block.inputs.values(), *made), number))
    released: list[list[str]] = [[] for _ in blocks]
    for tensor, number in last_use.items():
        if tensor not in results:
            released[number].append(tensor)
    return tuple(map(tuple, released))


Guard = Callable[[Mapping[str, NDArray[Any]]], bool]


@dataclass(frozen=True)
class Plan:
    """What to do with one frame.

    Attributes:
        tasks: The tasks to serve, in the order in which they are done.
        blocks: The blocks to run, in order.
        path: Name of the path through the graph.
        reason: Why this plan, in words, for an operator.
        results: The tensors that somebody reads when all blocks have run; None keeps every one.
        facts: What led to this plan, by dotted name; see ``Execution.facts``.
        scale: Factor on the long side of the network's input.
        reuse: Those of the tasks whose last result is given again instead of a new one, with
            the motion since then, along which it is moved; None leaves it where it is.
        choice: What was run to choose this plan, and at which cost: it depends on no image size.
        guards: Name of a block → says, given the tensors made so far, whether it runs.
    """

    tasks: tuple[str, ...]
    blocks: tuple[Block, ...]
    path: str = FULL_PATH
    reason: str = 'everything that is wanted'
    results: frozenset[str] | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    scale: float = 1.0
    reuse: Mapping[str, Motion | None] = field(default_factory=dict)
    choice: tuple[Block, ...] = ()
    guards: Mapping[str, Guard] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the blocks, each counted at the model's reference size."""
        return sum(block.macs for block in self.blocks)

    @cached_property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks to run, in order."""
        return tuple(block.name for block in self.blocks)

    @cached_property
    def releases(self) -> tuple[tuple[str, ...], ...]:
        """For each block, the tensors that nobody reads once it has run."""
        if self.results is None:
            return ((),) * len(self.blocks)
        return releases(self.blocks, self.results)


def full_plan(graph: TaskGraph, wanted: Iterable[str]) -> Plan:
    """The plan that skips nothing: every block that a wanted task needs, and no other.

    Raises:
        ModelError: A wanted task is not of this graph.
    """
    return path_plan(graph, wanted, FULL)


def path_plan(graph: TaskGraph, wanted: Iterable[str], path: NetPath) -> Plan:
    """The plan that serves all wanted tasks on one path.

    The tasks come in an order in which each finds most of its way done; a task's own blocks run
    together, so that what only they read is released early.

    Raises:
        ModelError: A wanted task is not of this graph.
    """
    names = frozenset(wanted)
    graph.blocks_for(names)  # Refuses unknown tasks by name.
    # A weight is moved about as fast as it is multiplied.
    problem = order_problem(
        graph,
        [task for task in graph.tasks if task in names],
        lambda block: block.macs + block.parameters,
    )
    tasks = planned_order(problem)
    blocks = {block.name: block for task in tasks for block in graph.blocks_for([task])}
    instead = {variant.stands_for: variant for variant in path.variants}
    return Plan(
        tasks=tasks,
        blocks=tuple(instead.get(name, block) for name, block in blocks.items()),
        path=path.name,
        results=frozenset(tensor for task in tasks for tensor in graph.tasks[task]),
        scale=path.scale,
    )
