# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Deadlines: when a frame is due, and when a local run must start to meet it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import TaskSpec
from mt_perception.offload.link_estimate import RobustAverage

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


@dataclass(frozen=True, eq=False)
class Work:
    """One frame before its first stage runs: its deadline, and the usual times of its parts.

    Attributes:
        run: The frame's run.
        stage: The first stage.
        deadline_s: ``time.monotonic()`` by which all stages have to end.
        local: Times of the first stage on this machine.
        later: Times of the later stages on this machine.
        encode: Times of encoding at this size.
    """

    run: FrameRun
    stage: Stage
    deadline_s: float
    local: RunTime
    later: tuple[RunTime, ...]
    encode: RunTime

    @property
    def tensors(self) -> frozenset[str]:
        """The tensors that post-processing reads."""
        return self.run.plan.results

    @property
    def local_usual_s(self) -> float:
        """Usual time of all stages on this machine."""
        return self.local.usual_s + sum(time.usual_s for time in self.later)

    @property
    def local_most_s(self) -> float:
        """Time that all stages rarely exceed on this machine."""
        return self.local.most_s + sum(time.most_s for time in self.later)

    def serves(self, task: TaskSpec) -> bool:
        """Return whether a task gets a new result from this work."""
        return self.tensors.issuperset(task.outputs.values())

    def latest_start_s(self, slowness: float) -> float:
        """Return ``time.monotonic()`` at which a local run must start.

        Args:
            slowness: Factor on usual times that this machine shows now.
        """
        if self.run.received_s + self.local_usual_s > self.deadline_s:
            # A local run would be late anyway: the reply gets all the time there is.
            return self.deadline_s
        return self.deadline_s - self.local_most_s * slowness - SPARE_S
