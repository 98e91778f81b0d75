# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's report on ``/diagnostics``, once a second in every lifecycle state."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from mt_perception.errors import number
from mt_perception.nodes.health import Report
from mt_perception.nodes.lifecycle import ACTIVE

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

_PERIOD_S = 1.0
_REPEAT_S = 30.0
"""Interval at which a persistent problem is logged again."""


@dataclass(frozen=True)
class InputSnapshot:
    """The subscriptions of an active node.

    Attributes:
        image_topic: Full name of the image topic.
        camera_info_topic: Full name of the camera info topic.
        silence_reason: Why no image has arrived for too long; empty if images arrive.
        rectified: Whether the images count as rectified.
    """

    image_topic: str
    camera_info_topic: str
    silence_reason: str
    rectified: bool


@dataclass(frozen=True)
class ModelSnapshot:
    """The model of a configured node.

    Attributes:
        name: Name of the model.
        version: Version of the model.
        providers: Execution providers in use.
        warnings: Warnings for the operator.
        budget: Keys and values about the budget.
        budget_warning: Why the budget cannot be met; empty if it is met.
    """

    name: str
    version: str
    providers: tuple[str, ...]
    warnings: tuple[str, ...]
    budget: Mapping[str, object]
    budget_warning: str = ''


@dataclass(frozen=True)
class StatusSnapshot:
    """One status that is already complete: level, message and values."""

    level: bytes
    message: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class NodeSnapshot:
    """The state of the perception node at one moment.

    Attributes:
        camera: Name of the camera, if the process has several.
        state: Lifecycle state.
        fault: Why the last transition failed; empty if it succeeded.
        warnings: Sentences about parameters and the node's surroundings.
        report: Counts of images and frames.
        input: None unless the node is active.
        model: None unless the node is configured.
        offload: None unless offloading is enabled.
    """

    camera: str
    state: str
    fault: str
    warnings: tuple[str, ...]
    report: Report
    input: InputSnapshot | None
    model: ModelSnapshot | None
    offload: StatusSnapshot | None


class LogThrottle:
    """Limits how often each message is logged."""

    def __init__(self) -> None:
        self._logged_s: dict[str, float] = {}

    def allows(self, key: str, now_s: float) -> bool:
        """Whether a message may be logged at this monotonic time; counts as logged if so."""
        if now_s - self._logged_s.get(key, -_REPEAT_S) < _REPEAT_S:
            return False
        if len(self._logged_s) >= 1000:
            self._logged_s.clear()
        self._logged_s[key] = now_s
        return True


class DiagnosticsPublisher:
    """Publishes the state of the node and logs new problems.

    Its clock is steady: reports continue while simulated time is paused.

    Args:
        node: The node.
        take_snapshot: Returns the node's state at a monotonic time in seconds.
        logged: Warnings of the node that it logged itself.
    """

    def __init__(
        self,
        node: Node,
        take_snapshot: Callable[[float], NodeSnapshot],
        logged: Collection[str] = (),
    ) -> None:
        self._node = node
        self._take_snapshot = take_snapshot
        self._throttle = LogThrottle()
        self._was_silent = False
        self._warned = frozenset(logged)
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        node.create_timer(_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_timer(self) -> None:
        now_s = time.monotonic()
        snapshot = self._take_snapshot(now_s)
        report = snapshot.report
        for key, sentence in {**report.warnings, **report.errors}.items():
            if self._throttle.allows(key, now_s):
                self._node.get_logger().warning(sentence)
        for sentence in snapshot.warnings:
            if sentence not in self._warned:
                self._node.get_logger().warning(sentence)
        self._warned = frozenset(snapshot.warnings)
        self._log_silence(snapshot)
        statuses = {'input': input_status(snapshot), 'perception': perception_status(snapshot)}
        if snapshot.offload is not None:
            statuses['offload'] = snapshot.offload
        model_name = '' if snapshot.model is None else snapshot.model.name
        hardware_id = snapshot.camera or model_name
        prefix = self._node.get_fully_qualified_name()
        header = Header(stamp=self._node.get_clock().now().to_msg())
        messages = [
            status(f'{prefix}: {what}', hardware_id, s.level, s.message, s.values)
            for what, s in statuses.items()
        ]
        self._publisher.publish(DiagnosticArray(header=header, status=messages))

    def _log_silence(self, snapshot: NodeSnapshot) -> None:
        if snapshot.input is None:
            return
        silent = bool(snapshot.input.silence_reason)
        if silent and not self._was_silent:
            self._node.get_logger().error(_silence(snapshot.report, snapshot.input))
        elif self._was_silent and not silent:
            self._node.get_logger().info('images arrive again')
        self._was_silent = silent


def input_status(snapshot: NodeSnapshot) -> StatusSnapshot:
    """The status of the image stream."""
    report, source = snapshot.report, snapshot.input
    if source is None:
        return StatusSnapshot(OK, 'not subscribed', {})
    level, message = OK, f'{report.rate_in_hz:.1f} Hz'
    if source.silence_reason:
        level, message = ERROR, _silence(report, source)
    elif report.warnings:
        level, message = WARN, '; '.join(report.warnings.values())
    values = {
        'topic': source.image_topic,
        'camera_info_topic': source.camera_info_topic,
        'camera': 'P of a rectified image' if source.rectified else 'K of a raw image',
        'rate_hz': report.rate_in_hz,
        'received': report.received,
        **counts('dropped', report.drops),
        **counts('rejected', report.rejects),
        **counts('stamps', report.stamp_faults),
        **counts('incompatible_qos', report.qos_faults),
    }
    return StatusSnapshot(level, message, values)


def _silence(report: Report, source: InputSnapshot) -> str:
    return f'no image for {report.silent_s:.1f} s: {source.silence_reason}'


def perception_status(snapshot: NodeSnapshot) -> StatusSnapshot:
    """The status of the model and its results."""
    report, model, state = snapshot.report, snapshot.model, snapshot.state
    if model is None:
        level = ERROR if snapshot.fault else WARN
        return StatusSnapshot(level, snapshot.fault or state, {'state': state})
    level, message = OK, f'{report.rate_out_hz:.1f} Hz'
    warnings = [*model.warnings, *snapshot.warnings]
    if model.budget_warning:
        warnings.append(model.budget_warning)
    if report.errors:
        level = ERROR
        message = '; '.join(f'{task}: {reason}' for task, reason in report.errors.items())
    elif state != ACTIVE:
        level, message = WARN, snapshot.fault or state
    elif warnings:
        level, message = WARN, '; '.join(warnings)
    values = {
        'state': state,
        'model': f'{model.name} {model.version}',
        'providers': ' '.join(model.providers),
        'rate_hz': report.rate_out_hz,
        'latency_ms.p50': report.latency_p50_ms,
        'latency_ms.p95': report.latency_p95_ms,
        'processed': report.processed,
        **model.budget,
        'without_subscribers': report.idle,
        **counts('failed', report.task_failures),
    }
    return StatusSnapshot(level, message, values)


def status(
    name: str, hardware_id: str, level: bytes, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    """A diagnostic status message; see ``number`` for floating-point values."""
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
    return number(value, 3) if isinstance(value, float) else str(value)
