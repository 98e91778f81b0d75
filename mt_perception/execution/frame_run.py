# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One frame while its plan runs: the tensors, results, failures and times so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PerceptionError, TaskError
from mt_perception.execution.plan import Plan, Stage
from mt_perception.model.task_graph import IMAGE, Block
from mt_perception.reports import OffloadReport, ScaleReport
from mt_perception.types import DEPTH, DepthMap, Frame, TaskResult


@dataclass(eq=False)
class FrameRun:
    """Intermediate results of one frame; runners and gates read and extend them.

    Attributes:
        plan: The plan.
        frame: The frame.
        tensors: Tensor of the graph → its value.
        network_size: (height, width) of the network's input in pixels.
        deadline_s: ``time.monotonic()`` by which the last stage has to end; None sets no limit.
        started_s: ``time.monotonic()`` at the start.
        failures: Tensor of the graph → why it could not be computed.
        blocks: The blocks that ran on this machine, in order.
        block_ms: Block → wall time, for every block that was started, in order.
        loaded_bytes: Bytes of weights that were loaded, under a memory budget.
        offload: Report of the remote host, if there is one.
        results: Task → its result, for the stages that have been post-processed.
        task_failures: Task → why it has no result.
        skipped: Tasks whose condition was false.
        second_stage: Tasks whose blocks after the first stage ran.
    """

    plan: Plan
    frame: Frame
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    network_size: tuple[int, int] = (0, 0)
    deadline_s: float | None = None
    started_s: float = field(default_factory=time.monotonic)
    failures: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    block_ms: dict[str, float] = field(default_factory=dict)
    loaded_bytes: int = 0
    offload: OffloadReport | None = None
    results: dict[str, TaskResult] = field(default_factory=dict)
    task_failures: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    second_stage: list[str] = field(default_factory=list)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The network's input, uint8 (1, h, w, 3), BGR; available until the first stage ends."""
        return self.tensors[IMAGE]

    @property
    def received_s(self) -> float:
        """``time.monotonic()`` from which the frame's latency counts."""
        return self.started_s if self.frame.received_s is None else self.frame.received_s

    def tensor(self, name: str) -> NDArray[Any]:
        """Return the value of one tensor.

        Raises:
            TaskError: It could not be computed, no block of the plan computes it, or it was
                released.
        """
        if name not in self.tensors:
            raise TaskError(self.failures.get(name, f'no block that computes {name!r} was run'))
        return self.tensors[name]

    @property
    def depth_scale(self) -> ScaleReport | None:
        """Report of the scale of depth; None without a depth map."""
        depth = self.results.get(DEPTH)
        return depth.scale if isinstance(depth, DepthMap) else None

    def complete(self, task: str, make: Callable[[], TaskResult]) -> None:
        """Add a task's result, or the reason of its failure; other tasks are not affected."""
        try:
            self.results[task] = make()
        except PerceptionError as error:
            self.task_failures[task] = str(error)
        except Exception as error:
            # A defect, or a tensor that passed the checks: the other tasks are published.
            self.task_failures[task] = f'{type(error).__name__}: {error}'

    def has_results_of(self, stage: Stage) -> bool:
        """Return whether every tensor that a stage's tasks read is there.

        A remote host returns the tensors of all stages at once.
        """
        return stage.results <= self.tensors.keys()


class Runner(Protocol):
    """Runs the stages of a frame: on this machine, or on a remote host."""

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run one stage and add its tensors, failures and times to the frame's run.

        A block that fails is a failure of its tensors, not an exception.
        """


def run_plan(runner: Runner, plan: Plan, image: NDArray[np.uint8]) -> FrameRun:
    """Run every stage of a plan on a network's input, uint8 (1, h, w, 3), whatever its gates."""
    run = FrameRun(plan, Frame(image[0]), {IMAGE: image}, (image.shape[1], image.shape[2]))
    for stage in plan.stages:
        runner.run(stage, run)
    return run


class LapClock:
    """Measures the parts of a frame, one after the other."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap_ms(self) -> float:
        """Return the time since the last call."""
        last, self._last = self._last, time.perf_counter()
        return (self._last - last) * 1e3
