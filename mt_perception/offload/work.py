# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What has to be done for one frame, and by when a local run must begin to do it in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.graph.plan import Plan
from mt_perception.offload.run_time import RunTime
from mt_perception.runtime.manifest import Manifest, TaskSpec

SPARE_S = 0.005
"""What starting a local run may cost beyond the run itself, on a machine that is busy."""


@dataclass(frozen=True)
class Arrival:
    """A frame that arrived.

    Attributes:
        arrived_s: When, monotonic.
        stamp_ns: Its stamp.
        frame_id: Its optical frame.
    """

    arrived_s: float
    stamp_ns: int = 0
    frame_id: str = ''


@dataclass(frozen=True, eq=False)
class Work:
    """What has to be done for one frame, by when, and what it usually takes.

    Attributes:
        plan: What to run here.
        image: The network's input.
        size: Its (height, width).
        tensors: What post-processing reads.
        arrival: When it arrived.
        deadline_s: Monotonic time by which the run has to end.
        local: Times of this plan's runs here.
        encode: Times of encoding at this size.
    """

    plan: Plan
    image: NDArray[np.uint8]
    size: tuple[int, int]
    tensors: frozenset[str]
    arrival: Arrival
    deadline_s: float
    local: RunTime
    encode: RunTime

    def is_for(self, task: TaskSpec) -> bool:
        """Whether a task is made of it; others get their last result again."""
        return task.name in self.plan.tasks and self.tensors.issuperset(task.outputs.values())

    def latest_start_s(self, slowness: float) -> float:
        """When a local run has to begin.

        Args:
            slowness: How many times longer than usual things take on this machine now.
        """
        if self.arrival.arrived_s + self.local.usual_s > self.deadline_s:
            # It would be late anyway: give the reply all the time there is.
            return self.deadline_s
        return self.deadline_s - self.local.most_s * slowness - SPARE_S


def wanted_tensors(plan: Plan, manifest: Manifest) -> frozenset[str]:
    """The tensors that are read when the plan has run."""
    if plan.results is not None:
        return plan.results
    outputs = (manifest.tasks[task].outputs for task in plan.tasks)
    return frozenset(tensor for names in outputs for tensor in names.values())
