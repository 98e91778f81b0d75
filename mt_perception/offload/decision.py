# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Local or remote: decides who finishes each frame, and at which rate it is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mt_perception.model.manifest import Manifest
from mt_perception.model.split import Cut, Rate
from mt_perception.offload.link_estimate import LinkState, RobustAverage
from mt_perception.types import DEPTH

_UNMEASURED = 0.001
"""Relative accuracy that a step down to a cheaper rate is taken to cost where nobody measured."""


class Rates:
    """The rates of one model, with the sizes that its payloads really have.

    Args:
        manifest: The model: its accuracy is what a rate's is compared with.
        cut: Its cut.
    """

    def __init__(self, manifest: Manifest, cut: Cut) -> None:
        self._manifest = manifest
        self._rates: Sequence[Rate] = cut.rates
        # Bytes per pixel of the network's input, since that may change its size.
        self._density = [RobustAverage() for _ in cut.rates]

    def options(self, tasks: Iterable[str], size: tuple[int, int]) -> list[RateOption]:
        """The ways to send a frame.

        Args:
            tasks: The tasks that it is for: what a rate is worth differs between them.
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
        """A payload of this rate had so many bytes."""
        self._density[rate].add(payload_bytes / (size[0] * size[1]))


def relative_gain(manifest: Manifest, rate: Rate, tasks: Iterable[str]) -> float | None:
    """How much more accurate the remote half is than the local network, mean over tasks.

    Returns:
        0.05 where it is 5 % better; None where nothing is known.
    """
    local = {row.task: row.value for row in manifest.accuracy}
    gains = []
    for task in tasks:
        here, there = local.get(task), rate.accuracy.get(task)
        if here is None or there is None or here <= 0:
            continue
        relative = (there - here) / here
        # Of depth an error is stated, which is the better the smaller it is.
        gains.append(-relative if manifest.tasks[task].kind == DEPTH else relative)
    return sum(gains) / len(gains) if gains else None


_SOON = 5.0
"""Lost again within so many dwells is lost again soon."""

AUTO, ALWAYS, NEVER = 'auto', 'always', 'never'
MODES = (AUTO, ALWAYS, NEVER)

TOO_SHORT = 'deadline_too_short'
"""Reason for which not even a trial is made."""


@dataclass(frozen=True)
class DecisionSettings:
    """How decisions are taken.

    Attributes:
        mode: ``auto``, ``always`` (whenever the breaker and the deadline allow) or ``never``.
        headroom: A frame is expected in time if this share of the time left would do; to come
            back to the remote host after a change, the square of it.
        dwell_s: After going local the remote host is not taken up again for so long; doubles
            each time that it is lost again soon.
        longest_dwell_s: At most this.
        losses: Frames in a row that are lost before frames stay here.
        steady_frames: So many frames in a row must look well before it is.
        explore_s: An estimate that is older is tried on a frame; doubles while it stays bad.
        longest_explore_s: At most this.
        gain: Relative accuracy that counts as more accurate, and is worth time.
        loss: Relative accuracy that may be lost where the host is faster.
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
    """One way to send a frame.

    Attributes:
        rate: Index of the rate.
        payload_bytes: Expected size.
        gain: Relative accuracy over the local run; negative where compression costs more than
            the larger network gives, 0 if it was never measured.
    """

    rate: int
    payload_bytes: float
    gain: float = 0.0


@dataclass(frozen=True)
class DecisionInputs:
    """What is known when a frame arrives. Times in seconds.

    Attributes:
        now_s: Monotonic time.
        remaining_s: Until the deadline, less what post-processing takes.
        local_s: A local run as it usually is.
        local_upper_s: A local run that is slower than usual.
        encode_s: Encoder, codec and packing.
        link: The link.
        reply_bytes: Expected size of the reply.
        rates: Ways to send it, cheapest first.
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
    """What is done with a frame.

    Attributes:
        rate: Index of the rate at which it is sent; None runs it here.
        reason: Short and machine-readable.
        expected_s: When its result is expected, from now.
        explores: It is sent to learn about the link, not because it looks good.
    """

    rate: int | None
    reason: str
    expected_s: float
    explores: bool = field(default=False)


class OffloadPolicy:
    """Takes the decisions of one stream of frames.

    Args:
        settings: How.
    """

    def __init__(self, settings: DecisionSettings | None = None) -> None:
        self.settings = settings or DecisionSettings()
        self._remote = False
        self._changed_s = -math.inf
        self._looked_well = 0
        self._losses = 0
        self._dwell_s = self.settings.dwell_s
        self._explore_s = self.settings.explore_s
        self._explored_s = -math.inf

    def decide(self, situation: DecisionInputs) -> Decision:
        """Decide about the next frame."""
        settings, s = self.settings, situation
        here_s = s.local_s
        if settings.mode == NEVER:
            return Decision(None, 'never', here_s)
        if not s.rates:
            return self._stay('no_rate', s)
        hedge_s = s.remaining_s - s.local_upper_s
        if s.local_s <= s.remaining_s and s.encode_s >= hedge_s:
            # Nothing could save this frame if the host kept silent.
            return self._stay(TOO_SHORT, s)
        # A robot that is too slow for its deadline anyway has nothing to lose but the deadline.
        limit_s = hedge_s if s.local_s <= s.remaining_s else s.remaining_s
        if settings.mode == ALWAYS:
            best = self._fastest_fitting(s, limit_s) or s.rates[0]
            return Decision(best.rate, 'always', _there_s(s, best))
        if not s.link.known:
            return self._explore(s, 'link_unknown')
        return self._weigh(s, limit_s)

    def record_success(self) -> None:
        """A frame that was sent came back in time."""
        self._losses = 0

    def record_failure(self, now_s: float) -> None:
        """A frame that was sent did not come back in time."""
        self._losses += 1
        if self._remote and self._losses >= self.settings.losses:
            soon = now_s - self._changed_s < _SOON * self._dwell_s
            longest_s = self.settings.longest_dwell_s
            self._dwell_s = min(longest_s, 2 * self._dwell_s) if soon else self.settings.dwell_s
            self._turn(False, now_s)

    def _weigh(self, s: DecisionInputs, limit_s: float) -> Decision:
        """The link is known: compare."""
        settings = self.settings
        fitting = [
            option for option in s.rates if _there_s(s, option) <= settings.headroom * limit_s
        ]
        best = self._best(s, fitting)
        if best is None:
            self._looked_well = 0
            return self._stay_or_explore('local_is_better' if fitting else 'too_slow', s)
        expected_s = _there_s(s, best)
        if self._remote:
            return Decision(best.rate, 'remote', expected_s)
        well = expected_s <= settings.headroom**2 * limit_s
        self._looked_well = self._looked_well + 1 if well else 0
        if self._looked_well < settings.steady_frames:
            return self._stay_or_explore('not_steady', s)
        if s.now_s - self._changed_s < self._dwell_s:
            return Decision(None, 'dwell', s.local_s)
        self._turn(True, s.now_s)
        return Decision(best.rate, 'remote', expected_s)

    def _best(self, s: DecisionInputs, fitting: Sequence[RateOption]) -> RateOption | None:
        """The most accurate way, if it is better than the local run or as good and faster."""
        if not fitting:
            return None
        best = max(fitting, key=_worth)
        # Where the own network is late anyway, something in time is better than nothing.
        if best.gain > self.settings.gain or s.local_s > s.remaining_s:
            return best
        quicker = [
            option
            for option in fitting
            if option.gain >= -self.settings.loss and _there_s(s, option) < s.local_s
        ]
        return max(quicker, key=_worth, default=None)

    def _fastest_fitting(self, s: DecisionInputs, limit_s: float) -> RateOption | None:
        """For ``always``: the most accurate rate that is expected in time."""
        if not s.link.known:
            return None
        fitting = [o for o in s.rates if _there_s(s, o) <= self.settings.headroom * limit_s]
        return max(fitting, key=_worth, default=None)

    def _stay(self, reason: str, s: DecisionInputs) -> Decision:
        if self._remote:
            self._turn(False, s.now_s)
        return Decision(None, reason, s.local_s)

    def _stay_or_explore(self, reason: str, s: DecisionInputs) -> Decision:
        """Run here, unless what is known of the link is too old to go by."""
        stale = min(s.link.age_s, s.now_s - self._explored_s) >= self._explore_s
        # Where not even a link without end could help there is nothing to learn.
        best_there_s = s.encode_s + s.link.round_trip_s + s.link.remote_s
        hopeless = best_there_s >= s.local_s and not any(
            option.gain > self.settings.gain for option in s.rates
        )
        return self._explore(s, reason) if stale and not hopeless else self._stay(reason, s)

    def _explore(self, s: DecisionInputs, reason: str) -> Decision:
        """Send one frame in the cheapest way, to learn; the next time later."""
        if s.now_s - self._explored_s < self._explore_s:
            return self._stay(reason, s)
        settings = self.settings
        longest_s = settings.longest_explore_s
        first = not math.isfinite(self._explored_s)
        self._explore_s = settings.explore_s if first else min(longest_s, 2 * self._explore_s)
        self._explored_s = s.now_s
        cheapest = min(s.rates, key=lambda option: option.payload_bytes)
        return Decision(cheapest.rate, 'explore', _there_s(s, cheapest), explores=True)

    def _turn(self, remote: bool, now_s: float) -> None:
        self._remote = remote
        self._changed_s = now_s
        self._looked_well = 0
        if remote:
            self._explore_s = self.settings.explore_s


def _worth(option: RateOption) -> tuple[float, float]:
    """The more accurate, and of equals the smaller."""
    return option.gain, -option.payload_bytes


def _there_s(s: DecisionInputs, option: RateOption) -> float:
    return s.encode_s + s.link.completion_s(option.payload_bytes, s.reply_bytes)
