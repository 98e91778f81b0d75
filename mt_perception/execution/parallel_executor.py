# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a graph's blocks on several cores: those that do not read one another side by side.

Several threads inside one operator pay where operators are large, as in a decoder. The many small
ones of two trunks gain more from running beside one another, each on a core of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from mt_perception.model.task_graph import Block

Open = Callable[[str, int], ort.InferenceSession]
"""Opens a block's session with a number of threads inside an operator."""


class SideBySide:
    """The blocks of a graph and their sessions.

    Args:
        blocks: In an order in which they can run.
        open_block: Opens their sessions.
        threads: All that may be busy at once. A block that has to run alone gets all of them.
    """

    def __init__(self, blocks: Sequence[Block], open_block: Open, threads: int) -> None:
        found = waves(blocks)
        # Of those that could begin the costliest comes first: the others wait for it in the end.
        self._blocks = [block for wave in found for block in wave]
        self._sessions = {
            block.name: open_block(block.name, max(1, threads // len(wave)))
            for wave in found
            for block in wave
        }
        self._pool = ThreadPoolExecutor(threads, 'block') if threads > 1 else None

    def run(
        self, names: Iterable[str], given: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """Run blocks, each as soon as what it reads is there.

        Args:
            names: The blocks; what they read is given or made by others of them.
            given: Tensor of the graph → its value.

        Returns:
            What was given, and what they made.
        """
        tensors, wanted = dict(given), set(names)
        waiting = [block for block in self._blocks if block.name in wanted]
        if self._pool is None:
            for block in waiting:
                tensors.update(self._made(block, tensors))
            return tensors
        running: set[Future[dict[str, NDArray[Any]]]] = set()
        while waiting or running:
            ready = [b for b in waiting if all(t in tensors for t in b.inputs.values())]
            waiting = [block for block in waiting if block not in ready]
            running |= {self._pool.submit(self._made, block, tensors) for block in ready}
            if not running:
                raise ValueError(f'no block computes the inputs of {waiting[0].name!r}')
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                tensors |= future.result()
        return tensors

    def _made(self, block: Block, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feeds = {name: tensors[tensor] for name, tensor in block.inputs.items()}
        values = self._sessions[block.name].run(list(block.outputs), feeds)
        return dict(zip(map(block.tensor, block.outputs), values, strict=True))


def waves(blocks: Sequence[Block]) -> tuple[tuple[Block, ...], ...]:
    """Divide blocks into waves, each of which reads only what those before it made.

    The costliest block of a wave comes first.
    """
    wave_of: dict[str, int] = {}
    found: list[list[Block]] = []
    for block in blocks:
        index = max((wave_of.get(tensor, -1) for tensor in block.inputs.values()), default=-1) + 1
        wave_of.update(dict.fromkeys(map(block.tensor, block.outputs), index))
        if index == len(found):
            found.append([])
        found[index].append(block)
    return tuple(tuple(sorted(wave, key=lambda block: -block.macs)) for wave in found)
