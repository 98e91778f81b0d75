# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Liveness: how long each tensor of a frame is kept for the blocks and tasks that read it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mt_perception.graph.block import IMAGE, Block


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
