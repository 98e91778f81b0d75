# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's report on ``/diagnostics``, once a second in every lifecycle state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Header

from mt_perception.nodes.budgeting import budget_values
from mt_perception.nodes.health import ERROR, OK, WARN, Report, counts, status
from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.offloading import offload_report

if TYPE_CHECKING:
    from mt_perception.nodes.perception import PerceptionNode

_PERIOD_S = 1.0
_REMIND_S = 30.0
"""A problem that persists is logged this often."""


class Diagnostics:
    """Publishes how the node is doing, and logs what newly went wrong.

    Its clock is steady: reports go on where simulated time stands still.

    Args:
        node: The node.
    """

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        self._logged_s: dict[str, float] = {}
        self._silent = False
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        node.create_timer(_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_timer(self) -> None:
        node = self._node
        now_s = time.monotonic()
        if node.get_parameter('use_sim_time').value and node.get_clock().now().nanoseconds == 0:
            node.health.noticed(
                'no_clock', 'use_sim_time is set, but /clock has no publisher; start the simulator'
            )
        report = node.health.report(now_s)
        for key, sentence in {**report.warnings, **report.errors}.items():
            if now_s - self._logged_s.get(key, -_REMIND_S) >= _REMIND_S:
                self._logged_s[key] = now_s
                node.get_logger().warning(sentence)
        header = Header(stamp=node.get_clock().now().to_msg())
        statuses = [self._input(report, now_s), self._perception(report)]
        if node.offload is not None:
            statuses.append(self._status('offload', *offload_report(node.offload)))
        self._publisher.publish(DiagnosticArray(header=header, status=statuses))

    def _input(self, report: Report, now_s: float) -> DiagnosticStatus:
        """What arrives."""
        node, health = self._node, self._node.health
        if node.inputs is None:
            return self._status('input', OK, 'not listening', {})
        silent_s = health.silent_s(now_s)
        silent = silent_s * 1e3 > node.live.settings.input_timeout_ms
        level, message = OK, f'{report.rate_in_hz:.1f} Hz'
        if silent:
            level = ERROR
            message = f'no image for {silent_s:.1f} s: {node.inputs.silence_reason()}'
        elif report.warnings:
            level, message = WARN, '; '.join(report.warnings.values())
        if silent is not self._silent:
            self._silent = silent
            if silent:
                node.get_logger().error(message)
            else:
                node.get_logger().info('images arrive again')
        values = {
            'topic': node.inputs.image_topic,
            'camera_info_topic': node.inputs.camera_info_topic,
            'rate_hz': report.rate_in_hz,
            'received': health.received,
            **counts('dropped', health.drops),
            **counts('rejected', health.rejects),
            **counts('stamps', health.stamp_faults),
            **counts('incompatible_qos', health.qos_faults),
        }
        return self._status('input', level, message, values)

    def _perception(self, report: Report) -> DiagnosticStatus:
        """What is made of it."""
        node, health = self._node, self._node.health
        state = node.state
        if node.pipeline is None:
            level = ERROR if node.fault else WARN
            return self._status('perception', level, node.fault or state, {'state': state})
        level, message = OK, f'{report.rate_out_hz:.1f} Hz'
        notes = [*node.pipeline.warnings, *node.live.unknown]
        if report.errors:
            level = ERROR
            message = '; '.join(f'{task}: {reason}' for task, reason in report.errors.items())
        elif state != ACTIVE:
            level, message = WARN, node.fault or state
        elif notes:
            level, message = WARN, '; '.join(notes)
        manifest = node.pipeline.manifest
        values = {
            'state': state,
            'model': f'{manifest.name} {manifest.version}',
            'providers': ' '.join(node.pipeline.providers),
            'rate_hz': report.rate_out_hz,
            'latency_ms.p50': health.latency_ms(0.5),
            'latency_ms.p95': health.latency_ms(0.95),
            'processed': health.processed,
            **budget_values(node.pipeline),
            'without_subscribers': health.idle,
            **counts('failed', health.task_failures),
        }
        return self._status('perception', level, message, values)

    def _status(
        self, what: str, level: bytes, message: str, values: dict[str, object]
    ) -> DiagnosticStatus:
        node = self._node
        hardware_id = '' if node.pipeline is None else node.pipeline.manifest.name
        return status(
            f'{node.get_fully_qualified_name()}: {what}', hardware_id, level, message, values
        )
