# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How long a piece of work takes on this machine: usually, and when things go slowly."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

from mt_perception.offload.link import Smoothed

_RECENT = 32
"""Latest runs whose slowest one is expected to come again."""

_KEYS = 64
"""Kinds of work remembered; plans and image sizes are few."""


class RunTime:
    """Times of one kind of work, in seconds."""

    def __init__(self) -> None:
        self._usual = Smoothed()
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
