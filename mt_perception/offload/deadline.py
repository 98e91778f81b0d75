# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Deadlines: when a frame is due, and when a local run must start to meet it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.model.manifest import Manifest, TaskSpec
from mt_perception.offload.link_estimate import RobustAverage
from mt_perception.planning.plan import Plan

_RECENT = 32
"""Latest runs whose slowest one is expected to come again."""

_KEYS = 64
"""Kinds of work remembered; plans and image sizes are few."""


class RunTime:
    """Times of one kind of work, in seconds."""

    def __init__(self) -> None:
        self._usual = RobustAverage()
        self._recent: deque[float] = deque(maxlen=_RECENT)

    @property
    def known(self) -> bool:
        """Whether it was ever done."""
        return bool(self._recent)

    @property
    def usual_s(self) -> float:
        """What it usually takes; 0 before the first time."""
        return self._usual.value if self.known else 0.0

    @property
    def most_s(self) -> float:
        """What it rarely exceeds: the slowest of the latest times, or more if they scatter."""
        return max(*self._recent, self._usual.high(2.0)) if self.known else 0.0

    def add(self, seconds: float) -> None:
        """It was done once more."""
        self._usual.add(seconds)
        self._recent.append(seconds)


class RunTimes:
    """Times of several kinds of work, such as plans at different image sizes."""

    def __init__(self) -> None:
        self._times: OrderedDict[Hashable, RunTime] = OrderedDict()

    def of(self, key: Hashable) -> RunTime:
        """The times of one kind; that which was asked for longest ago is forgotten."""
        found = self._times.setdefault(key, RunTime())
        self._times.move_to_end(key)
        if len(self._times) > _KEYS:
            self._times.popitem(last=False)
        return found


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
