# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The task graph: blocks, and which of them serve which task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mt_perception.errors import ModelError

IMAGE = 'image'
"""The tensor that no block computes: the network's input."""


@dataclass(frozen=True)
class Block:
    """One node of the task graph.

    Tensors are named for the whole graph: ``image``, or ``<block>/<output>``.

    Attributes:
        name: Unique in the graph.
        inputs: The block's own input name → the tensor that it reads.
        outputs: The block's own output names.
        macs: Multiply-accumulates at the model's reference size.
        parameters: Number of weights.
        skippable: Whether a plan may skip the block.
        stands_for: Name of the block that this one may replace in a plan (a variant); its
            tensors then have that block's name. Empty for a block of the graph itself.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    macs: int
    parameters: int
    skippable: bool = False
    stands_for: str = ''

    def tensor(self, output: str) -> str:
        """Return the graph-wide name of one of the outputs."""
        return f'{self.stands_for or self.name}/{output}'


class TaskGraph:
    """A directed acyclic graph of blocks whose leaves are tasks.

    Args:
        blocks: The blocks, in any order.
        tasks: Task name → the tensors that its post-processing reads.
        source: The tensor that no block computes.

    Raises:
        ModelError: A name is used twice, no block computes a tensor, or blocks form a cycle.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        tasks: Mapping[str, Iterable[str]],
        source: str = IMAGE,
    ) -> None:
        self._source = source
        self._blocks: dict[str, Block] = {}
        for block in blocks:
            if block.name in self._blocks or block.name == source:
                raise ModelError(f'block name {block.name!r} is used twice; name blocks uniquely')
            self._blocks[block.name] = block
        self._maker = {
            block.tensor(output): block.name
            for block in self._blocks.values()
            for output in block.outputs
        }
        self._tasks = {task: tuple(tensors) for task, tensors in tasks.items()}
        for reader, tensors in self._readers():
            for tensor in tensors:
                if tensor != source and tensor not in self._maker:
                    raise ModelError(
                        f'{reader} reads tensor {tensor!r}, which no block computes; there are: '
                        f'{", ".join([source, *sorted(self._maker)])}'
                    )
        self._order = self._topological_order()

    @property
    def blocks(self) -> Mapping[str, Block]:
        """Block name → block, every block after those it reads from."""
        return {name: self._blocks[name] for name in self._order}

    @property
    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Task name → the tensors its post-processing reads."""
        return self._tasks

    def ancestors(self, tensors: Iterable[str]) -> tuple[Block, ...]:
        """Return the blocks that compute these tensors, in topological order."""
        needed: set[str] = set()
        stack = [self._maker[tensor] for tensor in tensors if tensor != self._source]
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.add(name)
                reads = self._blocks[name].inputs.values()
                stack += [self._maker[t] for t in reads if t != self._source]
        return tuple(self._blocks[name] for name in self._order if name in needed)

    def blocks_for(self, tasks: Iterable[str]) -> tuple[Block, ...]:
        """Return the blocks that serve these tasks, each once, in topological order.

        Raises:
            ModelError: A task is not in this graph.
        """
        tensors: list[str] = []
        for task in tasks:
            if task not in self._tasks:
                raise ModelError(
                    f'task {task!r} is not served by this model; it serves '
                    f'{", ".join(sorted(self._tasks))}'
                )
            tensors += self._tasks[task]
        return self.ancestors(tensors)

    def _readers(self) -> Iterable[tuple[str, Iterable[str]]]:
        for block in self._blocks.values():
            yield f'block {block.name!r}', block.inputs.values()
        for task, tensors in self._tasks.items():
            yield f'task {task!r}', tensors

    def _topological_order(self) -> tuple[str, ...]:
        """Kahn's algorithm; among ready blocks the one listed first comes first."""
        order: list[str] = []
        done: set[str] = set()
        while len(order) < len(self._blocks):
            ready = next(
                (
                    name
                    for name, block in self._blocks.items()
                    if name not in done
                    and all(
                        t == self._source or self._maker[t] in done for t in block.inputs.values()
                    )
                ),
                None,
            )
            if ready is None:
                cycle = sorted(set(self._blocks) - done)
                raise ModelError(f'blocks {", ".join(cycle)} depend on each other: a cycle')
            done.add(ready)
            order.append(ready)
        return tuple(order)
