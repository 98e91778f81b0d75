# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reports of the perception node: whole messages, and problems that are logged once."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from fake_node import STAMP, FakeNode
from std_msgs.msg import Header

from mt_perception.nodes import diagnostics
from mt_perception.nodes.diagnostics import (
    ERROR,
    OK,
    WARN,
    DiagnosticsPublisher,
    InputSnapshot,
    ModelSnapshot,
    NodeSnapshot,
    StatusSnapshot,
)
from mt_perception.nodes.health import Health, Stamp


def test_a_report_is_everything_that_happened() -> None:
    health = Health(10.0)
    for number in (1, 4):
        health.image_arrived(11.0, number)
    health.subscribed(12.0)
    health.image_arrived(12.5, 9)
    health.taken_up()
    health.taken_up()
    health.stamp_checked(Stamp(0, 0.0, ('zero', 'out_of_order')))
    health.unwanted()
    health.dropped('late')
    health.dropped('too_old', 'images are old')
    health.rejected('short_data', 'too short')
    health.failed('KeyError()')
    health.noticed('ground', 'no ground')
    health.incompatible_qos('/image', 'RELIABILITY')
    health.frame_done(4.0, {'depth': 'broke'})
    health.frame_done(8.0, {'depth': 'broke again'})
    report = health.report(14.0)
    assert vars(report) == {
        'rate_in_hz': 3 / 4, 'rate_out_hz': 2 / 4, 'silent_s': 1.5, 'received': 2,
        'processed': 2, 'idle': 1,
        'drops': {'superseded': 2, 'late': 1, 'too_old': 1, 'internal_error': 1},
        'rejects': {'short_data': 1}, 'stamp_faults': {'zero': 1, 'out_of_order': 1},
        'qos_faults': {'/image': 1}, 'task_failures': {'node': 1, 'depth': 2},
        'latency_p50_ms': 6.0, 'latency_p95_ms': pytest.approx(7.8),
        'warnings': {
            'stamp_zero': 'stamps: zero', 'stamp_out_of_order': 'stamps: out of order',
            'drop_too_old': 'images are old', 'reject_short_data': 'too short',
            'ground': 'no ground',
            'qos_/image': '/image: the QoS policy RELIABILITY of another node is incompatible, '
            'so no message is exchanged; change its QoS or set qos_overrides here',
        },
        'errors': {'node': 'KeyError()', 'depth': 'broke again'},
    }  # fmt: skip
    later = health.report(15.0)
    assert (later.rate_in_hz, later.rate_out_hz, later.warnings, later.errors) == (0, 0, {}, {})
    assert (later.received, later.drops) == (report.received, report.drops)
    assert health.report(15.0).rate_in_hz == 0, 'no time has passed'


def found_values(status: DiagnosticStatus) -> dict[str, str]:
    return {each.key: each.value for each in status.values}


def test_diagnostics_are_whole_and_problems_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(diagnostics, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    health, node = Health(90.0), FakeNode()
    source = InputSnapshot('/image', '/camera_info', '', rectified=False)
    model = ModelSnapshot('tiny', '1', ('CPU', 'GPU'), (), {'path': 'full'})
    state = {
        'camera': '', 'state': 'active', 'fault': '', 'warnings': (), 'input': source,
        'model': model, 'offload': None,
    }  # fmt: skip
    taken: list[float] = []

    def take(now_s: float) -> NodeSnapshot:
        taken.append(now_s)
        return NodeSnapshot(report=health.report(now_s), **state)  # type: ignore[arg-type]

    DiagnosticsPublisher(node, take)  # type: ignore[arg-type]
    ((period_s, tick),) = [(timer.period_s, timer.callback) for timer in node.timers]
    assert period_s == 1.0
    health.image_arrived(95.0, 1)
    health.image_arrived(95.0, 3)
    health.rejected('short_data', 'too short')
    health.stamp_checked(Stamp(0, 0.0, ('zero',)))
    health.frame_done(4.0, {'depth': 'broke'})
    health.unwanted()
    tick()
    message: DiagnosticArray = node.sent['/diagnostics'][0]
    assert message.header == Header(stamp=STAMP)
    first, second = message.status
    assert (first.name, first.hardware_id, first.level, first.message) == (
        '/cam/node: input', 'tiny', WARN, 'too short; stamps: zero',
    )  # fmt: skip
    assert found_values(first) == {
        'topic': '/image', 'camera_info_topic': '/camera_info', 'camera': 'K of a raw image',
        'rate_hz': '0.200', 'received': '0', 'dropped': '1', 'dropped.superseded': '1',
        'rejected': '1', 'rejected.short_data': '1', 'stamps': '1', 'stamps.zero': '1',
        'incompatible_qos': '0',
    }  # fmt: skip
    assert (second.name, second.hardware_id, second.level, second.message) == (
        '/cam/node: perception', 'tiny', ERROR, 'depth: broke',
    )  # fmt: skip
    assert found_values(second) == {
        'state': 'active', 'model': 'tiny 1', 'providers': 'CPU GPU', 'rate_hz': '0.100',
        'latency_ms.p50': '4.000', 'latency_ms.p95': '4.000', 'processed': '1', 'path': 'full',
        'without_subscribers': '1', 'failed': '1', 'failed.depth': '1',
    }  # fmt: skip
    warnings = [('warning', text) for text in ('too short', 'stamps: zero', 'broke')]
    assert node.said == warnings
    # A warning is logged once in 30 s. The start and the end of silence are logged once each.
    state |= {'input': replace(source, silence_reason='no publisher'), 'camera': 'front'}
    state['offload'] = StatusSnapshot(WARN, 'slow', {'a': 1.0})
    for at_s in (101.0, 102.0):
        now[0] = at_s
        health.rejected('short_data', 'too short')
        tick()
    message = node.sent['/diagnostics'][-1]
    assert [(one.name, one.hardware_id, one.level, one.message) for one in message.status] == [
        ('/cam/node: input', 'front', ERROR, 'no image for 7.0 s: no publisher'),
        ('/cam/node: perception', 'front', OK, '0.0 Hz'),
        ('/cam/node: offload', 'front', WARN, 'slow'),
    ]
    assert message.status[2].values == [KeyValue(key='a', value='1.000')]
    assert node.said[3:] == [('error', 'no image for 6.0 s: no publisher')]
    state |= {'input': None, 'model': None, 'camera': ''}
    tick()
    message = node.sent['/diagnostics'][-1]
    assert [(one.hardware_id, one.level, one.message) for one in message.status] == [
        ('', OK, 'not subscribed'), ('', WARN, 'active'), ('', WARN, 'slow'),
    ]  # fmt: skip
    state |= {'input': source}
    tick()
    tick()
    assert node.said[4:] == [('info', 'images arrive again')]
    assert taken == [100.0, 101.0, 102.0, 102.0, 102.0, 102.0]
