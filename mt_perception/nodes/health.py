# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the outcome of every image, and checks stamps; diagnostics report the counts.

Warnings and errors are those since the last report, so levels recover by themselves; counts are
totals since activation. Durations are monotonic: a step of the clock changes none. Images arrive
in the executor's thread and may be processed in another, hence the lock.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_LATENCIES = 256
"""Number of latest frames for the quantiles of latency."""

_FUTURE_NS = 100_000_000
"""Tolerance for stamps in the future: clocks of two computers differ, and /clock is coarse."""

# A wider gap in sequence numbers is a restarted publisher, not a loss.
_WIDEST_GAP = 10_000


@dataclass(frozen=True)
class Stamp:
    """The stamp of an image.

    Attributes:
        stamp_ns: The stamp.
        age_ms: Age of the image on arrival; 0 if unknown.
        faults: ``zero``, ``malformed``, ``duplicate``, ``out_of_order``, ``future``.
    """

    stamp_ns: int
    age_ms: float
    faults: tuple[str, ...]


class StampCheck:
    """Checks the stamps of an image stream; it reports faults and rejects no image."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def check(self, sec: int, nanosec: int, now_ns: int) -> Stamp:
        """Compare the next image's stamp with the previous one and with the node's clock."""
        stamp_ns = sec * 1_000_000_000 + nanosec
        faults = []
        if sec < 0 or nanosec >= 1_000_000_000:
            faults.append('malformed')
        if stamp_ns == 0:
            faults.append('zero')
        elif self._last_ns is not None and stamp_ns <= self._last_ns:
            faults.append('duplicate' if stamp_ns == self._last_ns else 'out_of_order')
        if now_ns > 0 and stamp_ns > now_ns + _FUTURE_NS:
            faults.append('future')
        self._last_ns = stamp_ns
        known = stamp_ns > 0 and now_ns > 0
        age_ms = max(0.0, (now_ns - stamp_ns) * 1e-6) if known else 0.0
        return Stamp(stamp_ns, age_ms, tuple(faults))


@dataclass(frozen=True)
class Report:
    """Totals since activation, and rates, warnings and errors since the last report.

    Attributes:
        rate_in_hz: Images per second that arrived.
        rate_out_hz: Frames published per second.
        silent_s: Time since the last image, or since activation.
        received: Images that were taken up, that is, not superseded by a newer one before.
        processed: Frames published.
        idle: Images that had no subscriber of a result.
        drops: Reason → images dropped.
        rejects: Reason → invalid images.
        stamp_faults: Fault → images.
        qos_faults: Topic → incompatible endpoints.
        task_failures: Task → frames in which it failed.
        latency_p50_ms: Median latency of the latest frames; NaN before the first.
        latency_p95_ms: Their 95th percentile.
        warnings: Key → sentence about the input.
        errors: Task → reason.
    """

    rate_in_hz: float
    rate_out_hz: float
    silent_s: float
    received: int
    processed: int
    idle: int
    drops: Mapping[str, int]
    rejects: Mapping[str, int]
    stamp_faults: Mapping[str, int]
    qos_faults: Mapping[str, int]
    task_failures: Mapping[str, int]
    latency_p50_ms: float
    latency_p95_ms: float
    warnings: Mapping[str, str]
    errors: Mapping[str, str]


class Health:
    """Counts the outcome of images.

    Every published image is ``received`` or in ``drops['superseded']``; every received one is
    processed, idle, rejected or dropped for another reason.

    Args:
        now_s: Monotonic time of activation.
    """

    def __init__(self, now_s: float) -> None:
        self.arrived = 0
        self.received = 0
        self.processed = 0
        self.idle = 0
        self.drops: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self.stamp_faults: Counter[str] = Counter()
        self.qos_faults: Counter[str] = Counter()
        self.task_failures: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._warnings: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._last_image_s = now_s
        self._report_s = now_s
        self._arrived_before = 0
        self._processed_before = 0
        self._sequence: int | None = None
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)

    def image_arrived(self, now_s: float, sequence: int | None) -> None:
        """Note an image; a gap in the publisher's sequence numbers counts as drops.

        Args:
            now_s: Monotonic time of its arrival.
            sequence: The publisher's sequence number; None if unknown, also if the topic has
                several publishers, because each of them counts for itself.
        """
        with self._lock:
            self.arrived += 1
            self._last_image_s = now_s
            if sequence is not None and self._sequence is not None:
                missed = sequence - self._sequence - 1
                if 0 < missed < _WIDEST_GAP:
                    self.drops['superseded'] += missed
            self._sequence = sequence

    def subscribed(self, now_s: float) -> None:
        """Measure silence from a new subscription."""
        with self._lock:
            self._last_image_s = now_s
            self._sequence = None

    def taken_up(self) -> None:
        """Count an image that is no longer superseded by newer ones."""
        with self._lock:
            self.received += 1

    def stamp_checked(self, stamp: Stamp) -> None:
        """Count the faults of a stamp."""
        with self._lock:
            for fault in stamp.faults:
                self.stamp_faults[fault] += 1
                self._warnings[f'stamp_{fault}'] = f'stamps: {fault.replace("_", " ")}'

    def unwanted(self) -> None:
        """Count an image that was not processed because no result has a subscriber."""
        with self._lock:
            self.idle += 1

    def dropped(self, reason: str, sentence: str = '') -> None:
        """Count a dropped image; a sentence becomes a warning."""
        with self._lock:
            self.drops[reason] += 1
            if sentence:
                self._warnings[f'drop_{reason}'] = sentence

    def rejected(self, reason: str, sentence: str) -> None:
        """Count an invalid image."""
        with self._lock:
            self.rejects[reason] += 1
            self._warnings[f'reject_{reason}'] = sentence

    def failed(self, reason: str) -> None:
        """Count an image that was dropped because of an unexpected error."""
        with self._lock:
            self.drops['internal_error'] += 1
            self.task_failures['node'] += 1
            self._errors['node'] = reason

    def noticed(self, key: str, sentence: str) -> None:
        """Add any other warning about the input."""
        with self._lock:
            self._warnings[key] = sentence

    def incompatible_qos(self, topic: str, policy: str) -> None:
        """Count an endpoint whose QoS is incompatible with ours."""
        with self._lock:
            self.qos_faults[topic] += 1
            self._warnings[f'qos_{topic}'] = (
                f'{topic}: the QoS policy {policy} of another node is incompatible, so no message '
                'is exchanged; change its QoS or set qos_overrides here'
            )

    def frame_done(self, latency_ms: float, failures: Mapping[str, str]) -> None:
        """Count a published frame and the tasks that failed in it.

        Args:
            latency_ms: From arrival to the last publication.
            failures: Task → reason.
        """
        with self._lock:
            self.processed += 1
            self._latencies_ms.append(latency_ms)
            for task, reason in failures.items():
                self.task_failures[task] += 1
                self._errors[task] = reason

    def silent_s(self, now_s: float) -> float:
        """Seconds since the last image, or since activation."""
        return now_s - self._last_image_s

    def report(self, now_s: float) -> Report:
        """Return totals, and rates, warnings and errors since the last report."""
        with self._lock:
            seconds = max(now_s - self._report_s, 1e-9)
            p50_ms, p95_ms = np.nan, np.nan
            if self._latencies_ms:
                p50_ms, p95_ms = np.quantile(self._latencies_ms, (0.5, 0.95)).tolist()
            report = Report(
                rate_in_hz=(self.arrived - self._arrived_before) / seconds,
                rate_out_hz=(self.processed - self._processed_before) / seconds,
                silent_s=self.silent_s(now_s),
                received=self.received,
                processed=self.processed,
                idle=self.idle,
                drops=dict(self.drops),
                rejects=dict(self.rejects),
                stamp_faults=dict(self.stamp_faults),
                qos_faults=dict(self.qos_faults),
                task_failures=dict(self.task_failures),
                latency_p50_ms=p50_ms,
                latency_p95_ms=p95_ms,
                warnings=dict(self._warnings),
                errors=dict(self._errors),
            )
            self._report_s = now_s
            self._arrived_before, self._processed_before = self.arrived, self.processed
            self._warnings.clear()
            self._errors.clear()
            return report
