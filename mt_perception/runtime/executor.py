# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The executor: runs a plan's blocks in order; where one fails, only its readers go without."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.graph.block import IMAGE
from mt_perception.graph.plan import Plan


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a runner made of one plan.

    Attributes:
        tensors: Tensor of the graph → its value, for every block that succeeded.
        failures: Tensor of the graph → why it could not be made.
        latency_ms: Block name → wall time, for every block that was started, in order.
    """

    tensors: Mapping[str, NDArray[Any]]
    failures: Mapping[str, str]
    latency_ms: Mapping[str, float]

    def tensor(self, name: str) -> NDArray[Any]:
        """The value of one tensor.

        Raises:
            TaskError: It could not be made, or no block of the plan makes it.
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

    def __init__(self, sessions: Mapping[str, ort.InferenceSession]) -> None:
        self._sessions = sessions

    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        """Run the blocks of a plan on the network's input, uint8 (1, H, W, 3)."""
        tensors: dict[str, NDArray[Any]] = {IMAGE: image}
        failures: dict[str, str] = {}
        latency_ms: dict[str, float] = {}
        for block in plan.blocks:
            made = [block.tensor(output) for output in block.outputs]
            broken = next((t for t in block.inputs.values() if t in failures), None)
            if broken is not None:
                failures.update(dict.fromkeys(made, failures[broken]))
                continue
            feeds = {name: tensors[tensor] for name, tensor in block.inputs.items()}
            start = time.perf_counter()
            try:
                values = self._sessions[block.name].run(list(block.outputs), feeds)
            except Exception as error:
                # ONNX Runtime's exceptions have no base class of their own.
                failures.update(dict.fromkeys(made, f'block {block.name!r} failed: {error}'))
            else:
                tensors.update(zip(made, values, strict=True))
            latency_ms[block.name] = (time.perf_counter() - start) * 1e3
        return Outcome(tensors, failures, latency_ms)
