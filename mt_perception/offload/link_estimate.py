# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Estimate of a link from its requests: round trip, bandwidth, host time and failure rate.

Nothing is sent only to measure bandwidth. All times are monotonic, in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_GAIN = 0.25
"""Weight of a new sample; twice that of TCP's round trip (RFC 6298)."""
_DEVIATION_GAIN = 0.5
"""Weight of a new sample's deviation; a large one follows lasting changes quickly."""
_OUTLIER = 4.0
"""Samples are clipped to this number of deviations."""
_LEAST_DEVIATION = 0.04
"""Lower limit on the relative deviation, so that a steady link can still change."""
_FIRST_DEVIATION = 0.35
"""Relative deviation after the first sample."""

_FAILURE_GAIN = 0.1

_DEPTHS = ((0.002, 3700.0), (0.01, 1600.0), (0.02, 880.0), (0.03, 580.0))
"""(Largest relative error, bytes) of compressed depth. The mean error of the coarsest is 0.012, a
ninth of the network's own."""
_FINER_S = 0.002
"""Extra transfer time that finer depth may cost."""

_FASTEST = 1.25e9
"""Upper limit on measured bandwidth, in bytes per second: 10 Gbit/s."""


class RobustAverage:
    """An exponential moving average of the logarithm of a positive quantity, robust to outliers.

    Logarithms, because links change by factors. A sample is clipped to ``_OUTLIER`` deviations
    and widens the deviation, so that a lasting change is followed within a few samples.
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
        """The average plus a number of deviations: rarely exceeded."""
        return self.value * math.exp(deviations * self._deviation)

    def add(self, sample: float) -> None:
        """Add a sample; samples that are not positive and finite are ignored."""
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
        """Add a lower bound of the quantity; it counts as a sample if it exceeds the average."""
        if not self.samples or bound > self.value:
            self.add(bound)


@dataclass(frozen=True)
class LinkState:
    """An estimate of a link.

    Attributes:
        round_trip_s: Round trip of an empty message; 0 before a ping, NaN before any message.
        bytes_per_s: Bandwidth of both directions together; NaN if unknown.
        remote_s: Time of the host for one request, queue included; NaN if unknown.
        backlog_s: Time until cancelled requests have left the robot.
        failure_rate: Share of the latest requests that failed.
        age_s: Time since the last response; infinite before the first.
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
        """Relative error to request for depth: small where its bytes cost little time."""
        coarsest, least = _DEPTHS[-1]
        room = least + _FINER_S * self.bytes_per_s
        return next((error for error, size in _DEPTHS if size <= room), coarsest)

    def completion_s(self, sent_bytes: float, reply_bytes: float) -> float:
        """Expected time from the beginning of sending to the end of receiving."""
        transfer_s = (sent_bytes + reply_bytes) / self.bytes_per_s
        return self.backlog_s + self.round_trip_s + transfer_s + self.remote_s


class LinkEstimate:
    """Estimates a link from pings and requests."""

    def __init__(self) -> None:
        self._pinged = RobustAverage()
        self._s_per_byte = RobustAverage()
        self._remote_s = RobustAverage()
        self._failure_rate = 0.0
        self._answered_s = -math.inf
        self._busy_until_s = -math.inf

    def pinged(self, elapsed_s: float) -> None:
        """Record a ping."""
        self._pinged.add(elapsed_s)

    def sent(self, now_s: float, size: int) -> None:
        """Record a request of this size in bytes that is being sent."""
        per_byte = self._s_per_byte.value if self._s_per_byte.samples else 0.0
        self._busy_until_s = max(self._busy_until_s, now_s) + size * per_byte

    def answered(
        self, now_s: float, elapsed_s: float, size: int, remote_s: float | None = None
    ) -> None:
        """Record a response.

        Args:
            now_s: Time of the response.
            elapsed_s: Time from the start of sending to the end of receiving.
            size: Bytes of request and response together.
            remote_s: Time of the host, if it reports it.
        """
        self._answered_s = self._busy_until_s = now_s
        self._failure_rate *= 1 - _FAILURE_GAIN
        # A host may report any time. More than the whole request is false and would make the link
        # look infinitely fast.
        if remote_s is not None and remote_s >= elapsed_s:
            remote_s = None
        if remote_s is not None:
            self._remote_s.add(max(remote_s, 1e-6))
        transfer_s = elapsed_s - (remote_s or 0.0) - self._round_trip_s
        self._s_per_byte.add(max(transfer_s / max(size, 1), 1 / _FASTEST))

    def failed(self, now_s: float, elapsed_s: float, size: int, *, timed_out: bool) -> None:
        """Record a failed request.

        A refusal contains no information about bandwidth. A time-out is a lower bound on the
        transfer time, if the link is the cause: it counts only on a link that has answered before.
        """
        self._failure_rate += _FAILURE_GAIN * (1 - self._failure_rate)
        if timed_out:
            self.superseded(elapsed_s, size)
        if not timed_out:
            self._busy_until_s = now_s

    def superseded(self, elapsed_s: float, size: int) -> None:
        """Record a request that was cancelled without a response after this time."""
        if self._s_per_byte.samples:
            transfer_s = elapsed_s - self._round_trip_s - self._least_remote_s
            self._s_per_byte.at_least(transfer_s / max(size, 1))

    @property
    def _round_trip_s(self) -> float:
        # Before the first ping all time counts as transfer: a round trip that is too long would
        # leave no time for the transfer of small messages.
        return self._pinged.value if self._pinged.samples else 0.0

    @property
    def _least_remote_s(self) -> float:
        return self._remote_s.value if self._remote_s.samples else 0.0

    def state(self, now_s: float) -> LinkState:
        """The current estimate."""
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
        """Mean relative deviation of the time per byte."""
        return self._s_per_byte.deviation


def link_values(link: LinkState) -> dict[str, float]:
    """Return what is known of the link, by the names of ``OffloadReport``."""
    values = {'failure_rate': link.failure_rate}
    if link.round_trip_s > 0:
        values['round_trip_ms'] = link.round_trip_s * 1e3
    if math.isfinite(link.bytes_per_s):
        values['mbit_s'] = link.bytes_per_s * 8e-6
    return values
