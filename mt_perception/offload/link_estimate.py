# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the link is like: round trip, bandwidth and failures, from the requests that use it.

Nothing is sent only to measure bandwidth. All times are monotonic, in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_GAIN = 0.25
"""Weight of a new sample; twice that of TCP's round trip (RFC 6298)."""
_DEVIATION_GAIN = 0.5
"""Of its deviation, which must widen quickly for a lasting change to be followed."""
_OUTLIER = 4.0
"""Deviations beyond which a sample counts as if it were no farther away."""
_LEAST_DEVIATION = 0.04
"""Relative; a link that was perfectly steady must still be able to change."""
_FIRST_DEVIATION = 0.35
"""Relative, of a quantity that was measured once."""

_FAILURE_GAIN = 0.1

_DEPTHS = ((0.002, 3600.0), (0.01, 1950.0), (0.02, 1600.0))
"""Relative errors that depth may take on the way, and what it has then in bytes; the network's own
error is five times the largest of them."""
_FINER_S = 0.002
"""So much longer than with the coarsest depth may a finer one's reply be on its way."""

_FASTEST = 1.25e9
"""Bytes per second beyond which a transfer takes no time: 10 Gbit/s."""


class RobustAverage:
    """A positive quantity, averaged over its latest samples; one outlier hardly moves it.

    The average is of logarithms, for a link becomes ten times as slow, not one second slower.
    A sample counts at most as ``_OUTLIER`` deviations; since it also widens the deviation, a
    lasting change is followed within a few samples.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._log = 0.0
        self._deviation = _FIRST_DEVIATION

    @property
    def value(self) -> float:
        """The average; NaN before the first sample."""
        return math.exp(self._log) if self.samples else math.nan

    @property
    def deviation(self) -> float:
        """Mean relative deviation of the samples."""
        return self._deviation

    def high(self, deviations: float) -> float:
        """What the quantity rarely exceeds: so many deviations above its average."""
        return self.value * math.exp(deviations * self._deviation)

    def add(self, sample: float) -> None:
        """Take a sample; what is not positive and finite is none."""
        if not 0 < sample < math.inf:
            return
        if not self.samples:
            self._log = math.log(sample)
        else:
            most = _OUTLIER * self._deviation
            step = max(-most, min(most, math.log(sample) - self._log))
            self._log += _GAIN * step
            self._deviation += _DEVIATION_GAIN * (abs(step) - self._deviation)
            self._deviation = max(self._deviation, _LEAST_DEVIATION)
        self.samples += 1

    def at_least(self, bound: float) -> None:
        """Take it that the quantity is this or more, by how much nobody knows."""
        if not self.samples or bound > self.value:
            self.add(bound)


@dataclass(frozen=True)
class LinkState:
    """A link as it is thought to be.

    Attributes:
        round_trip_s: Of a message without content; 0 before a ping came back, NaN before anything.
        bytes_per_s: Bandwidth, of both ways together; NaN if unknown.
        remote_s: What the host takes for one request, waiting included; NaN if unknown.
        backlog_s: Until what was sent in vain has left the robot.
        failure_rate: Share of the latest requests that failed.
        age_s: Since the last answer; infinite before the first.
    """

    round_trip_s: float = math.nan
    bytes_per_s: float = math.nan
    remote_s: float = math.nan
    backlog_s: float = 0.0
    failure_rate: float = 0.0
    age_s: float = math.inf

    @property
    def known(self) -> bool:
        """Whether a request was ever answered."""
        return math.isfinite(self.age_s)

    @property
    def precision(self) -> float:
        """Relative error that depth may take in a reply: less where its bytes cost no time."""
        coarsest, least = _DEPTHS[-1]
        room = least + _FINER_S * self.bytes_per_s
        return next((error for error, size in _DEPTHS if size <= room), coarsest)

    def completion_s(self, sent_bytes: float, reply_bytes: float) -> float:
        """Expected time from the beginning of sending to the end of receiving."""
        transfer_s = (sent_bytes + reply_bytes) / self.bytes_per_s
        return self.backlog_s + self.round_trip_s + transfer_s + self.remote_s


class LinkEstimate:
    """Learns from requests what the link is like."""

    def __init__(self) -> None:
        self._pinged = RobustAverage()
        self._s_per_byte = RobustAverage()
        self._remote_s = RobustAverage()
        self._failure_rate = 0.0
        self._answered_s = -math.inf
        self._busy_until_s = -math.inf

    def pinged(self, elapsed_s: float) -> None:
        """An empty message came back."""
        self._pinged.add(elapsed_s)

    def sent(self, now_s: float, size: int) -> None:
        """A request of so many bytes is going out."""
        per_byte = self._s_per_byte.value if self._s_per_byte.samples else 0.0
        self._busy_until_s = max(self._busy_until_s, now_s) + size * per_byte

    def answered(
        self, now_s: float, elapsed_s: float, size: int, remote_s: float | None = None
    ) -> None:
        """A request was answered.

        Args:
            now_s: When.
            elapsed_s: From the beginning of sending to the end of receiving.
            size: Bytes of request and reply together.
            remote_s: What the host says that it took, if it says so.
        """
        self._answered_s = self._busy_until_s = now_s
        self._failure_rate *= 1 - _FAILURE_GAIN
        if remote_s is not None:
            self._remote_s.add(min(max(remote_s, 1e-6), elapsed_s))
        transfer_s = elapsed_s - (remote_s or 0.0) - self._round_trip_s
        self._s_per_byte.add(max(transfer_s / max(size, 1), 1 / _FASTEST))

    def failed(self, now_s: float, elapsed_s: float, size: int, *, timed_out: bool) -> None:
        """A request was not answered in time, or refused.

        What was refused at once says nothing about bandwidth; what timed out says that the link
        moves no more than this in that time, if it is the link that was slow: so it is believed
        only from a link that has answered before.
        """
        self._failure_rate += _FAILURE_GAIN * (1 - self._failure_rate)
        if timed_out and self._s_per_byte.samples:
            left_s = elapsed_s - self._round_trip_s - self._least_remote_s
            self._s_per_byte.at_least(left_s / max(size, 1))
        if not timed_out:
            self._busy_until_s = now_s

    @property
    def _round_trip_s(self) -> float:
        # Until a ping has come back all of the way is taken for transfer: a guess that is too long
        # would make of every smaller message a link without limits.
        return self._pinged.value if self._pinged.samples else 0.0

    @property
    def _least_remote_s(self) -> float:
        return self._remote_s.value if self._remote_s.samples else 0.0

    def state(self, now_s: float) -> LinkState:
        """What is thought of the link now."""
        return LinkState(
            round_trip_s=self._round_trip_s if self._s_per_byte.samples else self._pinged.value,
            bytes_per_s=1 / self._s_per_byte.value,
            remote_s=self._least_remote_s,
            backlog_s=max(0.0, self._busy_until_s - now_s),
            failure_rate=self._failure_rate,
            age_s=now_s - self._answered_s,
        )

    @property
    def deviation(self) -> float:
        """Mean relative deviation of the time that a byte takes."""
        return self._s_per_byte.deviation


def link_values(link: LinkState) -> dict[str, float]:
    """Return what is known of the link, by the names of ``OffloadReport``."""
    values = {'failure_rate': link.failure_rate}
    if link.round_trip_s > 0:
        values['round_trip_ms'] = link.round_trip_s * 1e3
    if math.isfinite(link.bytes_per_s):
        values['mbit_s'] = link.bytes_per_s * 8e-6
    return values
