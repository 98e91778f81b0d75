# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Deadlines: when a local run must start so that a frame meets its deadline."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import TaskSpec
from mt_perception.offload.link_estimate import RobustAverage

_RECENT = 32
"""The slowest of these latest runs is expected again."""

_KEYS = 64
"""Upper limit on remembered kinds of work: combinations of stage and image size."""


class DurationEstimate:
    """Estimates the duration of one kind of work, in seconds."""

    def __init__(self) -> None:
        self._usual = RobustAverage()
        self._recent: deque[float] = deque(maxlen=_RECENT)

    @property
    def known(self) -> bool:
        """Whether a duration was measured."""
        return bool(self._recent)

    @property
    def typical_s(self) -> float:
        """Typical duration; 0 before the first measurement."""
        return self._usual.value if self.known else 0.0

    @property
    def upper_s(self) -> float:
        """Duration that is rarely exceeded: the slowest recent one, or more if they scatter."""
        return max(*self._recent, self._usual.high(2.0)) if self.known else 0.0

    def add(self, seconds: float) -> None:
        """Add a measured duration."""
        self._usual.add(seconds)
        self._recent.append(seconds)


class DurationEstimates:
    """Duration estimates by kind of work, such as stages at different image sizes."""

    def __init__(self) -> None:
        self._times: OrderedDict[Hashable, DurationEstimate] = OrderedDict()

    def of(self, key: Hashable) -> DurationEstimate:
        """The estimate of one kind; the least recently used kind is dropped."""
        found = self._times.setdefault(key, DurationEstimate())
        self._times.move_to_end(key)
        if len(self._times) > _KEYS:
            self._times.popitem(last=False)
        return found


MARGIN_S = 0.005
"""Time for starting a local run on a busy machine."""


@dataclass(frozen=True, eq=False)
class OffloadFrame:
    """One frame before its first stage runs: its deadline and the durations of its parts.

    Attributes:
        run: The frame's run.
        stage: The first stage.
        deadline_s: ``time.monotonic()`` by which all stages have to end.
        local: Duration of the first stage on this machine.
        later: Durations of the later stages on this machine.
        encode: Duration of encoding at this size.
    """

    run: FrameRun
    stage: Stage
    deadline_s: float
    local: DurationEstimate
    later: tuple[DurationEstimate, ...]
    encode: DurationEstimate

    @property
    def tensors(self) -> frozenset[str]:
        """The tensors that post-processing reads."""
        return self.run.plan.results

    @property
    def local_typical_s(self) -> float:
        """Typical duration of all stages on this machine."""
        return self.local.typical_s + sum(time.typical_s for time in self.later)

    @property
    def local_upper_s(self) -> float:
        """Duration of all stages on this machine that is rarely exceeded."""
        return self.local.upper_s + sum(time.upper_s for time in self.later)

    def serves(self, task: TaskSpec) -> bool:
        """Return whether a task gets a new result from this frame."""
        return self.tensors.issuperset(task.outputs.values())

    def latest_start_s(self, slowness: float) -> float:
        """Return ``time.monotonic()`` at which a local run must start.

        Args:
            slowness: Current factor on typical durations of this machine.
        """
        if self.run.received_s + self.local_typical_s > self.deadline_s:
            # A local run would be late anyway: wait for the response until the deadline.
            return self.deadline_s
        return self.deadline_s - self.local_upper_s * slowness - MARGIN_S
