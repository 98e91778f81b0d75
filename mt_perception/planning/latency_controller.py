# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The latency loop: keeps frames below a time by allowing only paths that are fast enough now."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

_MOST_RATIOS = 64
"""Corrections remembered; there is one for each path, set of tasks and size of image."""

_MOST_FRAMES = 256

_COMPARED = 3
"""Frames of a new path that are compared with those before them."""


@dataclass(frozen=True)
class _Seen:
    """One frame: when, on what share, what everything would have taken, and all the rest."""

    at_s: float
    share: float
    everything_ms: float
    rest_ms: float


class _Ratios:
    """How much longer each path takes than the manifest says, relative to everything.

    Learnt where the loop goes up: before and after it the machine is the same, so what the first
    frames of the new path say of it should agree with the last ones of the old path.
    """

    MOST = 1.4

    KEPT = 0.98
    """Exponent of a correction for each frame on which it locks out the better paths."""

    def __init__(self) -> None:
        self._found: dict[float, float] = {}

    def of(self, share: float) -> float:
        """The correction of a path; 1 where nothing was learnt."""
        return self._found.get(round(share, 3), 1.0)

    def relax(self, share: float) -> None:
        """Move the correction of a path a little towards 1.

        A load that began or ended while paths changed is learnt as a property of a path; without
        this such an error would keep the better paths locked out for ever.
        """
        key = round(share, 3)
        if key in self._found:
            self._found[key] **= self.KEPT

    def learn(self, before: Sequence[_Seen], after: Sequence[_Seen]) -> None:
        """Compare frames of a path with the first ones of a more expensive path."""
        share = before[-1].share
        said, is_so = (median(seen.everything_ms for seen in frames) for frames in (before, after))
        if len(self._found) >= _MOST_RATIOS:
            self._found.clear()
        # Half of the way: a few frames are no proof.
        ratio = self.of(share) * math.sqrt(said / is_so)
        self._found[round(share, 3)] = min(self.MOST, max(1 / self.MOST, ratio))


class LatencyController:
    """Keeps frames below a time, by allowing only paths that are fast enough right now.

    Every frame tells how fast the machine is at the moment: the time of its blocks, divided by
    what its path takes of the time of everything. That is what the other paths are judged by too,
    so the loop knows on the cheapest path when everything would fit again, and nothing winds up
    while the machine is busy. One slow frame among others decides nothing, two do. A path once
    left is taken again when it fits by a margin for a while, or the next one when it just fits for
    longer; if it then must be left again at once, the next trial waits. What trials show of the
    manifest's shares on this machine is learnt.

    Args:
        wanted_ms: The time to keep below, at the 95th percentile.
    """

    WINDOW_S = 0.8
    """Frames older than this are forgotten, but for the last few."""

    EVIDENCE_S = 0.4
    """For so long the latest frames must show that a better path fits."""

    FEWEST = 3
    """So many frames at least decide about a better path, and are never forgotten."""

    DOWN, UP = 0.95, 0.85
    """Fractions of the time wanted: a path must fit the first to stay, the second to come back."""

    SOON_S = 1.0
    """A path that must be left again so soon was a failed trial."""

    CALM_S = 1.0
    """After so long on a path, the next one need not fit by a margin."""

    WAITS_S = (0.0, 0.4, 0.8)
    """Waits for a path after none, one and more failed trials in a row."""

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
        """What everything takes as the machine is now, the slowest frames left out."""
        return self._usual(self._measured, 1.0)

    def observe(self, now_s: float, blocks_ms: float, rest_ms: float, share: float) -> None:
        """Take note of a frame.

        Args:
            now_s: A monotonic time.
            blocks_ms: Wall time of its blocks.
            rest_ms: Wall time of all the rest.
            share: What its blocks take of the time of everything, when the machine is idle.
        """
        if share <= 0:
            return
        self._measured.append(
            _Seen(now_s, share, blocks_ms / share / self._ratios.of(share), rest_ms)
        )
        after = [seen for seen in self._measured if seen.at_s > self._since_s]
        if self._before and len(after) == _COMPARED:
            # A policy or another budget may take other paths than the best one.
            old, new = ({seen.share for seen in frames} for frames in (self._before, after))
            if len(old) == 1 and max(old) < min(new):
                self._ratios.learn(self._before, after)
            self._before = ()

    def allowed(self, now_s: float, shares: Sequence[float]) -> list[int]:
        """The paths that are fast enough, at least the fastest one.

        Args:
            now_s: A monotonic time.
            shares: What each path takes of the time of everything.
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
        """What frames would have taken on a path; on their own one, what they took."""
        takes = share * self._ratios.of(share)
        return [seen.rest_ms + takes * seen.everything_ms for seen in frames]

    def _usual(self, frames: Collection[_Seen], share: float) -> float:
        """The same, of the slowest frame that is no outlier; 0 without any."""
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
            # The next path is tried with less and less room, for the manifest may be wrong.
            calm = min(1.0, (now_s - self._since_s) / self.CALM_S)
            limit = self.UP + (self.DOWN - self.UP) * calm
            fitting = [
                s for s in [min(better)] if self._usual(latest, s) <= limit * self._wanted_ms
            ]
        if not fitting and better and now_s - self._since_s > self.CALM_S:
            self._ratios.relax(current)
        if fitting:
            self._allowed = 1.0 if max(fitting) == max(shares) else max(fitting)
            self._since_s, self._went_up, self._before = now_s, True, latest


def _outliers(frames: int) -> int:
    """Of so many frames, how many may be slow by chance."""
    return 1 + frames // 16
