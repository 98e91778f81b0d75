# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the blocks of a stage in this process; a failed block costs only the tasks that read it."""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Stage
from mt_perception.model.task_graph import Block
from mt_perception.model.weight_residency import SessionStore


class Executor:
    """Runs stages with ONNX Runtime.

    Args:
        sessions: Block name → its session.
    """

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run the blocks of a stage that have not run yet, and release dead tensors.

        The weights of a stage that is never run are not loaded.
        """
        loaded_before = self._sessions.loaded_bytes
        if stage is run.plan.stages[0]:
            self._sessions.follow(run.plan.block_names)
        for block, released in zip(stage.blocks, stage.releases, strict=True):
            if block.name not in run.block_ms:
                self._run_block(block, run)
            for tensor in released:
                run.tensors.pop(tensor, None)
        run.loaded_bytes += self._sessions.loaded_bytes - loaded_before

    def _run_block(self, block: Block, run: FrameRun) -> None:
        reason = next((run.failures[t] for t in block.inputs.values() if t in run.failures), None)
        if reason is None:
            start = time.perf_counter()
            try:
                run.tensors.update(self._outputs(block, run))
            except Exception as error:
                # ONNX Runtime's exceptions have no base class of their own.
                reason = f'block {block.name!r} failed: {error}'
            run.blocks.append(block)
            run.block_ms[block.name] = (time.perf_counter() - start) * 1e3
        if reason is not None:
            run.failures.update(dict.fromkeys(map(block.tensor, block.outputs), reason))

    def _outputs(self, block: Block, run: FrameRun) -> dict[str, NDArray[Any]]:
        feeds = {name: run.tensors[tensor] for name, tensor in block.inputs.items()}
        # Each output is copied from ONNX Runtime's memory.
        read = [name for name in block.outputs if block.tensor(name) in run.plan.read]
        values = self._sessions[block.name].run(read, feeds)
        return dict(zip(map(block.tensor, read), values, strict=True))
