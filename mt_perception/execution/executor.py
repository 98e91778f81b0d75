# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The executor: runs a plan's blocks in order; where one fails, only its readers go without."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.model.task_graph import IMAGE, Block
from mt_perception.model.weight_residency import SessionStore
from mt_perception.planning.plan import Plan
from mt_perception.types import Fact


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a runner made of one plan.

    Attributes:
        tensors: Tensor of the graph → its value, for the plan's results that could be made.
        failures: Tensor of the graph → why it could not be made.
        latency_ms: Block name → wall time, for every block that was started, in order.
        loaded_bytes: Bytes of weights that had to be loaded for it, under a memory budget.
        facts: What the runner has to say, by dotted name; see ``Execution.facts``.
        beside: Blocks that ran on this machine beside the plan's, such as an encoder.
    """

    tensors: Mapping[str, NDArray[Any]]
    failures: Mapping[str, str]
    latency_ms: Mapping[str, float]
    loaded_bytes: int = 0
    facts: Mapping[str, Fact] = field(default_factory=dict)
    beside: tuple[Block, ...] = ()

    def tensor(self, name: str) -> NDArray[Any]:
        """The value of one tensor.

        Raises:
            TaskError: It could not be made, no block of the plan makes it, or it was not kept.
        """
        if name not in self.tensors:
            raise TaskError(self.failures.get(name, f'no block that makes {name!r} was run'))
        return self.tensors[name]


class Runner(Protocol):
    """Whatever can run a plan: this machine, or another one at the end of a link."""

    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        """Run the blocks of a plan on the network's input, uint8 (1, H, W, 3)."""


class Executor:
    """Runs plans in this process.

    Args:
        sessions: Block name → its session.
    """

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions

    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        """Run the blocks of a plan on the network's input, uint8 (1, H, W, 3).

        A tensor is kept as long as a later block reads it, or as a result. A block that its guard
        leaves out is not started, nor are its weights loaded.
        """
        tensors: dict[str, NDArray[Any]] = {IMAGE: image}
        failures: dict[str, str] = {}
        latency_ms: dict[str, float] = {}
        loaded_before = self._sessions.loaded_bytes
        self._sessions.follow(plan.block_names)
        for block, released in zip(plan.blocks, plan.releases, strict=True):
            broken = next((t for t in block.inputs.values() if t in failures), None)
            reason = None if broken is None else failures[broken]
            runs = block.name not in plan.guards or plan.guards[block.name](tensors)
            if broken is None and not runs:
                reason = f'block {block.name!r} was not called for'
            elif broken is None:
                start = time.perf_counter()
                try:
                    tensors.update(self._made(block, tensors))
                except Exception as error:
                    # ONNX Runtime's exceptions have no base class of their own.
                    reason = f'block {block.name!r} failed: {error}'
                latency_ms[block.name] = (time.perf_counter() - start) * 1e3
            if reason is not None:
                failures.update(dict.fromkeys(map(block.tensor, block.outputs), reason))
            for tensor in released:
                tensors.pop(tensor, None)
        loaded_bytes = self._sessions.loaded_bytes - loaded_before
        return Outcome(tensors, failures, latency_ms, loaded_bytes)

    def _made(self, block: Block, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feeds = {name: tensors[tensor] for name, tensor in block.inputs.items()}
        values = self._sessions[block.name].run(list(block.outputs), feeds)
        return dict(zip(map(block.tensor, block.outputs), values, strict=True))
