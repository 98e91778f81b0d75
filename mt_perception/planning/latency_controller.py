# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency controller: allows only the paths that meet the latency target now."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

_MOST_RATIOS = 64
"""Corrections remembered, one for each path, set of tasks and image size."""

_MOST_FRAMES = 256

_COMPARED = 3
"""Frames of a new path that are compared with those before them."""


@dataclass(frozen=True)
class _Seen:
    """One frame: its share, the full path's time that it implies, and the rest."""

    at_s: float
    share: float
    everything_ms: float
    rest_ms: float


class _Ratios:
    """Correction of each path's share of the full path's time, which the manifest states.

    It is learnt when the controller moves to a more expensive path: the machine is the same
    before and after, so the last frames of the old path and the first of the new one should imply
    the same time of the full path.
    """

    MOST = 1.4

    STEP = 1.25
    """Largest change that one comparison makes: two outliers among three frames must not lock
    out the better paths."""

    def __init__(self) -> None:
        self._found: dict[float, float] = {}

    def of(self, share: float) -> float:
        """Return the correction of a path; 1 if nothing was learnt."""
        return self._found.get(round(share, 3), 1.0)

    def learn(self, before: Sequence[_Seen], after: Sequence[_Seen]) -> None:
        """Compare the last frames of a path with the first ones of a more expensive path."""
        share = before[-1].share
        said, is_so = (median(seen.everything_ms for seen in frames) for frames in (before, after))
        if len(self._found) >= _MOST_RATIOS:
            self._found.clear()
        # Half of the difference: a few frames are no proof.
        change = min(self.STEP, max(1 / self.STEP, math.sqrt(said / is_so)))
        ratio = self.of(share) * change
        self._found[round(share, 3)] = min(self.MOST, max(1 / self.MOST, ratio))


class LatencyController:
    """Keeps the latency below a target by allowing only paths that are fast enough now.

    Every frame measures the machine: the time of its blocks, divided by its path's share of the
    full path's time. All paths are judged by this estimate, so the cheapest path reveals when the
    full path would fit again, and no error integrates while the machine is busy. One slow frame
    is ignored, two are not. A path that was left is taken again when it fits by a margin for a
    while, or the next one when it just fits for longer; after a failed trial the next one waits.
    Trials correct the manifest's shares for this machine.

    Args:
        wanted_ms: Target 95th percentile of the latency, in ms.
    """

    WINDOW_S = 0.8
    """Older frames are dropped, except for the last few."""

    EVIDENCE_S = 0.4
    """Time over which the latest frames must show that a better path fits."""

    FEWEST = 3
    """Minimum number of frames that decide about a better path; they are never dropped."""

    DOWN, UP = 0.95, 0.85
    """Fractions of the target: the first to stay on a path, the second to return to it."""

    SOON_S = 1.0
    """A path that is left again within this time was a failed trial."""

    CALM_S = 1.0
    """Time on a path after which the next one need not fit by a margin."""

    WAITS_S = (0.0, 0.4, 0.8)
    """Wait before the next trial after none, one and more failed trials in a row."""

    def __init__(self, wanted_ms: float) -> None:
        self._wanted_ms = wanted_ms
        self._measured: deque[_Seen] = deque(maxlen=_MOST_FRAMES)
        self._ratios = _Ratios()
        self._allowed = 1.0
        self._since_s = -math.inf
        self._before: Sequence[_Seen] = ()
        self._went_up = False
        self._failed = math.inf
        self._failed_s = 0.0
        self._trials = 0

    @property
    def usual_ms(self) -> float:
        """Estimated time of the full path on this machine now, without outliers."""
        return self._usual(self._measured, 1.0)

    def observe(self, now_s: float, blocks_ms: float, rest_ms: float, share: float) -> None:
        """Record a frame.

        Args:
            now_s: A monotonic time.
            blocks_ms: Wall time of its blocks.
            rest_ms: Wall time of everything else.
            share: Share of the full path's time that its blocks take on an idle machine.
        """
        if share <= 0:
            return
        self._measured.append(
            _Seen(now_s, share, blocks_ms / share / self._ratios.of(share), rest_ms)
        )
        after = [seen for seen in self._measured if seen.at_s > self._since_s]
        if self._before and len(after) == _COMPARED:
            # A policy or another budget may choose other paths than the best allowed one.
            old, new = ({seen.share for seen in frames} for frames in (self._before, after))
            if len(old) == 1 and max(old) < min(new):
                self._ratios.learn(self._before, after)
            self._before = ()

    def allowed(self, now_s: float, shares: Sequence[float]) -> list[int]:
        """Return the paths that are fast enough, at least the fastest one.

        Args:
            now_s: A monotonic time.
            shares: Each path's share of the full path's time.
        """
        old_s = now_s - self.WINDOW_S
        while len(self._measured) > self.FEWEST and self._measured[0].at_s < old_s:
            self._measured.popleft()
        since = [seen for seen in self._measured if seen.at_s > self._since_s]
        current = max((s for s in shares if s <= self._allowed + 1e-9), default=min(shares))
        if current > min(shares) and self._is_slow(since, current):
            self._go_down(now_s, since, current, shares)
        elif current < max(shares):
            self._go_up(now_s, since, current, shares)
        elif now_s - self._since_s > 2 * self.SOON_S:
            self._failed, self._trials = math.inf, 0
        limit = max(self._allowed, min(shares))
        return [i for i, share in enumerate(shares) if share <= limit + 1e-9]

    def _is_slow(self, since: Sequence[_Seen], share: float) -> bool:
        limit_ms = self.DOWN * self._wanted_ms
        return sum(ms > limit_ms for ms in self._times(since, share)) > _outliers(len(since))

    def _times(self, frames: Collection[_Seen], share: float) -> list[float]:
        """Return the times that frames would have taken on a path."""
        takes = share * self._ratios.of(share)
        return [seen.rest_ms + takes * seen.everything_ms for seen in frames]

    def _usual(self, frames: Collection[_Seen], share: float) -> float:
        """Return the time of the slowest frame that is no outlier; 0 without frames."""
        times = sorted(self._times(frames, share))
        return times[max(0, len(times) - 1 - _outliers(len(times)))] if times else 0.0

    def _go_down(
        self, now_s: float, since: Sequence[_Seen], current: float, shares: Sequence[float]
    ) -> None:
        fitting = [s for s in shares if s < current and not self._is_slow(since, s)]
        if self._went_up and now_s - self._since_s < self.SOON_S:
            self._failed, self._failed_s = current, now_s
            self._trials = min(self._trials + 1, len(self.WAITS_S) - 1)
        self._allowed = max(fitting, default=min(shares))
        self._since_s, self._went_up, self._before = now_s, False, ()

    def _go_up(
        self, now_s: float, since: Sequence[_Seen], current: float, shares: Sequence[float]
    ) -> None:
        count = sum(seen.at_s >= now_s - self.EVIDENCE_S for seen in since)
        latest = since[-max(count, self.FEWEST) :]
        if len(latest) < self.FEWEST or now_s - latest[0].at_s < self.EVIDENCE_S / 2:
            return
        waits = now_s - self._failed_s < self.WAITS_S[self._trials]
        better = [s for s in shares if s > current and not (waits and s >= self._failed)]
        fitting = [s for s in better if self._usual(latest, s) <= self.UP * self._wanted_ms]
        if not fitting and better:
            # The margin for the next path shrinks with time, since the manifest may be wrong.
            calm = min(1.0, (now_s - self._since_s) / self.CALM_S)
            limit = self.UP + (self.DOWN - self.UP) * calm
            fitting = [
                s for s in [min(better)] if self._usual(latest, s) <= limit * self._wanted_ms
            ]
        if fitting:
            self._allowed = 1.0 if max(fitting) == max(shares) else max(fitting)
            self._since_s, self._went_up, self._before = now_s, True, latest


def _outliers(frames: int) -> int:
    """Return how many of some frames may be slow by chance."""
    return 1 + frames // 16
