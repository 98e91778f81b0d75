# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Offload policy: decides for each frame between a local run and a rate for a remote host."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mt_perception.model.manifest import Manifest
from mt_perception.model.split import Cut, Rate
from mt_perception.offload.link_estimate import LinkState, RobustAverage
from mt_perception.types import DEPTH

_UNMEASURED = 0.001
"""Assumed relative accuracy loss of one step down in rate where none was measured."""


class Rates:
    """The rates of one model, with measured payload sizes.

    Args:
        manifest: The model; a rate's accuracy is compared with its accuracy.
        cut: The cut of the model.
    """

    def __init__(self, manifest: Manifest, cut: Cut) -> None:
        self._manifest = manifest
        self._rates: Sequence[Rate] = cut.rates
        # Bytes per pixel: the size of the network's input can change.
        self._density = [RobustAverage() for _ in cut.rates]

    def options(self, tasks: Iterable[str], size: tuple[int, int]) -> list[RateOption]:
        """The options to send a frame.

        Args:
            tasks: The tasks of the frame; the accuracy of a rate differs between tasks.
            size: (height, width) of the network's input.
        """
        wanted = tuple(tasks)
        area = size[0] * size[1]
        height, width = self._manifest.reference_size
        options = []
        for index, (rate, density) in enumerate(zip(self._rates, self._density, strict=True)):
            known = density.value if density.samples else rate.payload_bytes / (height * width)
            gain = relative_gain(self._manifest, rate, wanted)
            if gain is None:
                gain = -_UNMEASURED * (len(self._rates) - 1 - index)
            options.append(RateOption(index, known * area, gain))
        return options

    def add(self, rate: int, payload_bytes: int, size: tuple[int, int]) -> None:
        """Record the size of a payload."""
        self._density[rate].add(payload_bytes / (size[0] * size[1]))


def relative_gain(manifest: Manifest, rate: Rate, tasks: Iterable[str]) -> float | None:
    """Relative accuracy gain of the remote model over the local network, mean over tasks.

    Returns:
        For example 0.05 for a gain of 5 %; None without measurements.
    """
    local = {row.task: row.value for row in manifest.accuracy}
    gains = []
    for task in tasks:
        here, there = local.get(task), rate.accuracy.get(task)
        if here is None or there is None or here <= 0:
            continue
        relative = (there - here) / here
        # The accuracy of depth is an error: smaller is better.
        gains.append(-relative if manifest.tasks[task].kind == DEPTH else relative)
    return sum(gains) / len(gains) if gains else None


_SOON = 5.0
"""A loss within this number of dwell times after going remote counts as soon."""

AUTO, ALWAYS, NEVER = 'auto', 'always', 'never'

TOO_SHORT = 'deadline_too_short'
"""Reason that also excludes a trial."""


@dataclass(frozen=True)
class DecisionSettings:
    """Settings of the policy.

    Attributes:
        mode: ``auto``, ``always`` (if breaker and deadline allow) or ``never``.
        headroom: Share of the remaining time that a remote run may be expected to take; its
            square for going remote again.
        dwell_s: Shortest time between going local and going remote; doubles with each early loss.
        longest_dwell_s: Upper limit on the dwell time.
        losses: Consecutive losses before frames run locally.
        steady_frames: Consecutive frames with a good estimate before frames go remote.
        explore_s: Age of an estimate after which a frame is sent to renew it; doubles while the
            estimate stays bad.
        longest_explore_s: Upper limit on that age.
        gain: Relative accuracy gain that justifies a slower remote run.
        loss: Relative accuracy loss that is accepted for a faster remote run.
    """

    mode: str = AUTO
    headroom: float = 0.8
    dwell_s: float = 2.0
    longest_dwell_s: float = 30.0
    losses: int = 2
    steady_frames: int = 3
    explore_s: float = 2.0
    longest_explore_s: float = 60.0
    gain: float = 0.005
    loss: float = 0.02


@dataclass(frozen=True)
class RateOption:
    """One option to send a frame.

    Attributes:
        rate: Index of the rate.
        payload_bytes: Expected size of the payload.
        gain: Relative accuracy gain over a local run; negative if compression costs more than
            the larger network gains.
    """

    rate: int
    payload_bytes: float
    gain: float = 0.0


@dataclass(frozen=True)
class DecisionInputs:
    """Inputs of a decision; times in seconds.

    Attributes:
        now_s: Monotonic time.
        remaining_s: Time until the deadline.
        local_s: Typical duration of a local run.
        local_upper_s: Duration of a local run that is rarely exceeded.
        encode_s: Duration of encoding.
        link: Estimate of the link.
        reply_bytes: Expected size of the response.
        rates: Options to send the frame, smallest payload first.
    """

    now_s: float
    remaining_s: float
    local_s: float
    local_upper_s: float
    encode_s: float
    link: LinkState
    reply_bytes: float
    rates: Sequence[RateOption]


@dataclass(frozen=True)
class Decision:
    """The decision for a frame.

    Attributes:
        rate: Index of the rate to send; None runs the frame locally.
        reason: Machine-readable reason.
        expected_s: Expected time to the result.
        explores: The frame is sent to renew the estimate of the link.
    """

    rate: int | None
    reason: str
    expected_s: float
    explores: bool = field(default=False)


class OffloadPolicy:
    """Decides for the frames of one stream.

    Args:
        settings: Settings of the policy.
    """

    def __init__(self, settings: DecisionSettings | None = None) -> None:
        self.settings = settings or DecisionSettings()
        self._remote = False
        self._changed_s = -math.inf
        self._good_frames = 0
        self._losses = 0
        self._dwell_s = self.settings.dwell_s
        self._explore_s = self.settings.explore_s
        self._explored_s = -math.inf

    def decide(self, situation: DecisionInputs) -> Decision:
        """Decide for the next frame."""
        settings, s = self.settings, situation
        local_s = s.local_s
        if settings.mode == NEVER:
            return Decision(None, NEVER, local_s)
        if not s.rates:
            return self._stay('no_rate', s)
        latest_start_s = s.remaining_s - s.local_upper_s
        if s.local_s <= s.remaining_s and s.encode_s >= latest_start_s:
            # A local run could not replace a missing response in time.
            return self._stay(TOO_SHORT, s)
        # A local run misses the deadline anyway: the response may take all the time.
        limit_s = latest_start_s if s.local_s <= s.remaining_s else s.remaining_s
        if settings.mode == ALWAYS:
            best = self._fastest_fitting(s, limit_s) or s.rates[0]
            return Decision(best.rate, 'always', _remote_s(s, best))
        if not s.link.known:
            return self._explore(s, 'link_unknown')
        return self._weigh(s, limit_s)

    def record_success(self) -> None:
        """Record a response in time."""
        self._losses = 0

    def record_failure(self, now_s: float) -> None:
        """Record a sent frame without a response in time."""
        self._losses += 1
        if self._remote and self._losses >= self.settings.losses:
            soon = now_s - self._changed_s < _SOON * self._dwell_s
            longest_s = self.settings.longest_dwell_s
            self._dwell_s = min(longest_s, 2 * self._dwell_s) if soon else self.settings.dwell_s
            self._switch(False, now_s)

    def _weigh(self, s: DecisionInputs, limit_s: float) -> Decision:
        """Compare local and remote with a known link."""
        settings = self.settings
        fitting = [
            option for option in s.rates if _remote_s(s, option) <= settings.headroom * limit_s
        ]
        best = self._best(s, fitting)
        if best is None:
            self._good_frames = 0
            return self._stay_or_explore('local_is_better' if fitting else 'too_slow', s)
        expected_s = _remote_s(s, best)
        if self._remote:
            return Decision(best.rate, 'remote', expected_s)
        well = expected_s <= settings.headroom**2 * limit_s
        self._good_frames = self._good_frames + 1 if well else 0
        if self._good_frames < settings.steady_frames:
            return self._stay_or_explore('not_steady', s)
        if s.now_s - self._changed_s < self._dwell_s:
            return Decision(None, 'dwell', s.local_s)
        self._switch(True, s.now_s)
        return Decision(best.rate, 'remote', expected_s)

    def _best(self, s: DecisionInputs, fitting: Sequence[RateOption]) -> RateOption | None:
        """The most accurate option that beats the local run in accuracy or time, if any."""
        if not fitting:
            return None
        best = max(fitting, key=_worth)
        # A local run would be late: any result in time is better.
        if best.gain > self.settings.gain or s.local_s > s.remaining_s:
            return best
        quicker = [
            option
            for option in fitting
            if option.gain >= -self.settings.loss and _remote_s(s, option) < s.local_s
        ]
        return max(quicker, key=_worth, default=None)

    def _fastest_fitting(self, s: DecisionInputs, limit_s: float) -> RateOption | None:
        """The most accurate option that is expected in time; for ``always``."""
        if not s.link.known:
            return None
        fitting = [o for o in s.rates if _remote_s(s, o) <= self.settings.headroom * limit_s]
        return max(fitting, key=_worth, default=None)

    def _stay(self, reason: str, s: DecisionInputs) -> Decision:
        if self._remote:
            self._switch(False, s.now_s)
        return Decision(None, reason, s.local_s)

    def _stay_or_explore(self, reason: str, s: DecisionInputs) -> Decision:
        """Run locally, or renew an estimate that is too old."""
        stale = min(s.link.age_s, s.now_s - self._explored_s) >= self._explore_s
        # Exploring is useless if even an infinitely fast link would not help.
        best_remote_s = s.encode_s + s.link.round_trip_s + s.link.remote_s
        hopeless = best_remote_s >= s.local_s and not any(
            option.gain > self.settings.gain for option in s.rates
        )
        return self._explore(s, reason) if stale and not hopeless else self._stay(reason, s)

    def _explore(self, s: DecisionInputs, reason: str) -> Decision:
        """Send one frame with the smallest payload; the interval doubles."""
        if s.now_s - self._explored_s < self._explore_s:
            return self._stay(reason, s)
        settings = self.settings
        longest_s = settings.longest_explore_s
        first = not math.isfinite(self._explored_s)
        self._explore_s = settings.explore_s if first else min(longest_s, 2 * self._explore_s)
        self._explored_s = s.now_s
        cheapest = min(s.rates, key=lambda option: option.payload_bytes)
        return Decision(cheapest.rate, 'explore', _remote_s(s, cheapest), explores=True)

    def _switch(self, remote: bool, now_s: float) -> None:
        self._remote = remote
        self._changed_s = now_s
        self._good_frames = 0
        if remote:
            self._explore_s = self.settings.explore_s


def _worth(option: RateOption) -> tuple[float, float]:
    """Order by accuracy, then by smaller payload."""
    return option.gain, -option.payload_bytes


def _remote_s(s: DecisionInputs, option: RateOption) -> float:
    return s.encode_s + s.link.completion_s(option.payload_bytes, s.reply_bytes)
