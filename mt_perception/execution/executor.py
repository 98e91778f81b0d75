# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the blocks of a stage in this process; a failed block costs only the tasks that read it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.parallel_executor import waves
from mt_perception.execution.plan import Stage
from mt_perception.model.task_graph import Block
from mt_perception.model.weight_residency import SessionStore


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Outputs and time of a block; the time is None if the block did not start."""

    ms: float | None = None
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    failure: str | None = None


class Executor:
    """Runs stages with ONNX Runtime.

    Args:
        sessions: Block name → its session.
        parallel: Run blocks that do not read one another side by side, each in a thread.
    """

    def __init__(self, sessions: SessionStore, parallel: bool = False) -> None:
        self._sessions = sessions
        workers = max(1, (os.cpu_count() or 1) - 1)
        self._pool = ThreadPoolExecutor(workers, 'block') if parallel else None

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run the blocks of a stage that have not run yet, and release dead tensors.

        The weights of a stage that is never run are not loaded.
        """
        loaded_before = self._sessions.loaded_bytes
        if stage is run.plan.stages[0]:
            self._sessions.follow(run.plan.block_names)
        if self._pool is None:
            for block, released in zip(stage.blocks, stage.releases, strict=True):
                self._run_blocks((block,), run)
                _release(released, run)
        else:
            for blocks in waves(stage.blocks):
                self._run_blocks(blocks, run)
            # The order of releases is that of blocks one after the other.
            _release([tensor for released in stage.releases for tensor in released], run)
        run.loaded_bytes += self._sessions.loaded_bytes - loaded_before

    def _run_blocks(self, blocks: Sequence[Block], run: FrameRun) -> None:
        """Run those of some blocks that have not run; none of them reads another."""
        blocks = [block for block in blocks if block.name not in run.block_ms]
        start = partial(self._run_block, run=run)
        outcomes = map(start, blocks) if self._pool is None else _shared(self._pool, start, blocks)
        for block, outcome in zip(blocks, outcomes, strict=True):
            run.tensors.update(outcome.tensors)
            if outcome.ms is not None:
                run.blocks.append(block)
                run.block_ms[block.name] = outcome.ms
            if outcome.failure is not None:
                failed = map(block.tensor, block.outputs)
                run.failures.update(dict.fromkeys(failed, outcome.failure))

    def _run_block(self, block: Block, run: FrameRun) -> _Outcome:
        reason = next((run.failures[t] for t in block.inputs.values() if t in run.failures), None)
        if reason is not None:
            return _Outcome(failure=reason)
        tensors: dict[str, NDArray[Any]] = {}
        start = time.perf_counter()
        try:
            tensors = self._outputs(block, run)
        except Exception as error:
            # ONNX Runtime's exceptions have no base class of their own.
            reason = f'block {block.name!r} failed: {error}'
        return _Outcome((time.perf_counter() - start) * 1e3, tensors, reason)

    def _outputs(self, block: Block, run: FrameRun) -> dict[str, NDArray[Any]]:
        feeds = {name: run.tensors[tensor] for name, tensor in block.inputs.items()}
        # Each output is copied from ONNX Runtime's memory.
        read = [name for name in block.outputs if block.tensor(name) in run.plan.read]
        values = self._sessions[block.name].run(read, feeds)
        return dict(zip(map(block.tensor, read), values, strict=True))


def _shared(
    pool: ThreadPoolExecutor, start: Callable[[Block], _Outcome], blocks: Sequence[Block]
) -> Iterator[_Outcome]:
    """Run blocks in this thread and those of a pool.

    This thread takes the first block, and later each one that no other thread has started: woken
    threads often share a core for some milliseconds while the core of a waiting one is idle.
    """
    futures = [pool.submit(start, block) for block in blocks[1:]]
    yield from map(start, blocks[:1])
    for block, future in zip(blocks[1:], futures, strict=True):
        yield start(block) if future.cancel() else future.result()


def _release(tensors: Sequence[str], run: FrameRun) -> None:
    for tensor in tensors:
        run.tensors.pop(tensor, None)
