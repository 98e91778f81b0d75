# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How the node is doing: counted while frames pass, told once a second as diagnostics.

Levels speak of what happened since the last report, so they recover by themselves; counts are
totals since the node was activated. Durations are monotonic: a step of the clock moves none.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

_LATENCIES = 256
"""Latest frames over which the quantiles of latency are taken."""

_FUTURE_NS = 100_000_000
"""Stamps may be this far ahead: computers are not synchronised better, nor is /clock finer."""

# A gap this wide is a publisher that began anew, not a loss.
_WIDEST_GAP = 10_000


@dataclass(frozen=True)
class Stamp:
    """The time of an image against what is known.

    Attributes:
        stamp_ns: The image's stamp.
        age_ms: How old the image was when it arrived; 0 where that cannot be told.
        faults: ``zero``, ``malformed``, ``duplicate``, ``out_of_order``, ``future``.
    """

    stamp_ns: int
    age_ms: float
    faults: tuple[str, ...]


class StampCheck:
    """Looks at the stamps of a stream; refuses none, for a wrong stamp is still the camera's."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def look(self, sec: int, nanosec: int, now_ns: int) -> Stamp:
        """Judge the next image's stamp against the one before and the node's clock."""
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


class Health:
    """Counts what happens to frames.

    Args:
        now_s: Monotonic time of activation.
    """

    def __init__(self, now_s: float) -> None:
        self.received = 0
        self.processed = 0
        self.idle = 0
        self.drops: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self.stamp_faults: Counter[str] = Counter()
        self.qos_faults: Counter[str] = Counter()
        self.task_failures: Counter[str] = Counter()
        self._warnings: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._last_image_s = now_s
        self._report_s = now_s
        self._received_before = 0
        self._processed_before = 0
        self._sequence: int | None = None
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)

    def image_arrived(self, now_s: float, sequence: int | None) -> None:
        """An image arrived; a gap in the publisher's numbers is images that we never saw."""
        self.received += 1
        self._last_image_s = now_s
        if sequence is not None and self._sequence is not None:
            missed = sequence - self._sequence - 1
            if 0 < missed < _WIDEST_GAP:
                self.drops['superseded'] += missed
        self._sequence = sequence

    def stamp_looked_at(self, stamp: Stamp) -> None:
        """Count what is wrong with a stamp."""
        for fault in stamp.faults:
            self.stamp_faults[fault] += 1
            self._warnings[f'stamp_{fault}'] = f'stamps: {fault.replace("_", " ")}'

    def dropped(self, reason: str, sentence: str = '') -> None:
        """An image was left aside; with a sentence it becomes a warning."""
        self.drops[reason] += 1
        if sentence:
            self._warnings[f'drop_{reason}'] = sentence

    def rejected(self, reason: str, sentence: str) -> None:
        """An image could not be used."""
        self.rejects[reason] += 1
        self._warnings[f'reject_{reason}'] = sentence

    def noticed(self, key: str, sentence: str) -> None:
        """Whatever else an operator should know about the input."""
        self._warnings[key] = sentence

    def incompatible_qos(self, topic: str, policy: str) -> None:
        """Somebody offers or asks for a topic in a way that does not fit ours."""
        self.qos_faults[topic] += 1
        self._warnings[f'qos_{topic}'] = (
            f'{topic}: the other side is incompatible in {policy}, so nothing is exchanged; '
            'change its QoS or set qos_overrides here'
        )

    def frame_done(self, latency_ms: float, failures: Mapping[str, str]) -> None:
        """A frame went through, from its arrival to the last publication."""
        self.processed += 1
        self._latencies_ms.append(latency_ms)
        for task, reason in failures.items():
            self.task_failures[task] += 1
            self._errors[task] = reason

    def silent_s(self, now_s: float) -> float:
        """Seconds since the last image, or since activation."""
        return now_s - self._last_image_s

    def latency_ms(self, quantile: float) -> float:
        """Quantile of the latest latencies; NaN before the first."""
        return float(np.quantile(self._latencies_ms, quantile)) if self._latencies_ms else np.nan

    def report(self, now_s: float) -> Report:
        """What happened since the last report."""
        seconds = max(now_s - self._report_s, 1e-9)
        report = Report(
            rate_in_hz=(self.received - self._received_before) / seconds,
            rate_out_hz=(self.processed - self._processed_before) / seconds,
            warnings=dict(self._warnings),
            errors=dict(self._errors),
        )
        self._report_s = now_s
        self._received_before, self._processed_before = self.received, self.processed
        self._warnings.clear()
        self._errors.clear()
        return report


@dataclass(frozen=True)
class Report:
    """The time between two reports.

    Attributes:
        rate_in_hz: Images that arrived.
        rate_out_hz: Frames that were published.
        warnings: Key → sentence about the input.
        errors: Task → why it failed.
    """

    rate_in_hz: float
    rate_out_hz: float
    warnings: Mapping[str, str]
    errors: Mapping[str, str]


def status(
    name: str, hardware_id: str, level: bytes, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    """A diagnostic status; numbers are written with what precision makes sense to read."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )


def counts(prefix: str, counter: Mapping[str, int]) -> dict[str, int]:
    """The total of a counter and its parts, as ``rejected`` and ``rejected.short_data``."""
    parts = {f'{prefix}.{reason}': n for reason, n in sorted(counter.items())}
    return {prefix: sum(counter.values()), **parts}


def _text(value: object) -> str:
    return f'{value:.3f}' if isinstance(value, float) else str(value)
