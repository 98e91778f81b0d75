# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node with a remote host, over real DDS and real gRPC."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from odd_host import OddHost
from rclpy.parameter import Parameter
from ros_graph import Peer, RosGraph, patch
from sensor_msgs.msg import Image
from tiny_model import write_tiny_model
from vision_msgs.msg import Detection2DArray

from mt_perception.errors import OptionError
from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.perception import PerceptionNode

RED = (0, 0, 255)
TOPICS = {
    '/perception/detections': Detection2DArray,
    '/perception/depth/image': Image,
    '/perception/stats': DiagnosticArray,
    '/diagnostics': DiagnosticArray,
}


class Bench:
    """A perception node that offloads, and its other side."""

    def __init__(self, graph: RosGraph, folder: Path, endpoint: str, **settings: Any) -> None:
        self.graph = graph
        given = {
            'model': str(folder),
            'offload.enabled': True,
            'offload.endpoint': endpoint,
            'offload.mode': 'always',
            'offload.deadline_ms': 10_000.0,
            **settings,
        }
        self.node: PerceptionNode = graph.add(PerceptionNode, **given)
        self.peer: Peer = graph.add(Peer)
        self.got = {topic: self.peer.listen(topic, kind) for topic, kind in TOPICS.items()}
        assert graph.spin_until(lambda: self.node.state == ACTIVE)
        assert graph.spin_until(self._connected)
        self.stamp_ns = 0

    def _connected(self) -> bool:
        heard = (
            self.peer.images.get_subscription_count() and self.peer.infos.get_subscription_count()
        )
        assert self.node.live is not None
        processor = self.node.processor
        return (
            bool(heard) and processor is not None and len(processor.publishers.subscribed()) == 3
        )

    def frame(self, colour: tuple[int, int, int] = RED) -> dict[str, str]:
        """Send an image, wait for its results; the facts of its statistics."""
        self.stamp_ns += 10**9
        before = len(self.got['/perception/stats'])
        self.peer.send(patch(colour), self.stamp_ns)
        assert self.graph.spin_until(
            lambda: all(len(self.got[t]) > before for t in list(TOPICS)[:3])
        )
        message = self.got['/perception/stats'][-1]
        for topic in list(TOPICS)[:3]:
            assert self.got[topic][-1].header.stamp.sec == self.stamp_ns // 10**9
        return {pair.key: pair.value for pair in message.status[0].values}

    def until(self, **facts: str) -> dict[str, str]:
        """Send frames until one has these facts."""
        for _ in range(600):
            found = self.frame()
            if all(found.get(f'offload.{name}') == value for name, value in facts.items()):
                return found
            self.graph.spin_for(0.02)
        raise AssertionError(f'no frame with {facts}; the last one had {found}')

    def report(self) -> DiagnosticStatus:
        """The next report on offloading."""
        self.got['/diagnostics'].clear()
        reports: list[DiagnosticStatus] = []

        def arrived() -> bool:
            for message in self.got['/diagnostics']:
                reports.extend(s for s in message.status if s.name.endswith(': offload'))
            return bool(reports)

        assert self.graph.spin_until(arrived)
        return reports[-1]


def test_frames_are_finished_by_the_host_and_statistics_say_so(
    graph: RosGraph, folder: Path
) -> None:
    with OddHost(folder) as host:
        bench = Bench(graph, folder, host.address)
        facts = bench.until(remote='True')
        assert facts['offload.reason'] == 'always'
        assert facts['offload.breaker'] == 'closed'
        assert int(facts['offload.payload_bytes']) > 40
        assert 0 < float(facts['offload.reply_ms']) < 60_000
        assert bench.got['/perception/detections'][-1].detections
        assert bench.got['/perception/detections'][-1].header.frame_id == 'camera_optical'
        report = bench.report()
        assert report.level == DiagnosticStatus.OK
        assert 'frames by the remote host' in report.message
        values = {pair.key: pair.value for pair in report.values}
        assert values['endpoint'] == host.address
        assert values['breaker'] == 'closed'
        assert int(values['frames.remote']) >= 1


def test_without_a_host_every_frame_is_run_here_and_diagnostics_say_why(
    graph: RosGraph, folder: Path
) -> None:
    with OddHost(folder) as host:
        address = host.address
    bench = Bench(graph, folder, address)
    facts = bench.until(breaker='open')
    assert facts['offload.remote'] == 'False'
    assert bench.got['/perception/detections'][-1].detections
    report = bench.report()
    assert report.level == DiagnosticStatus.WARN
    assert 'frames run locally' in report.message
    assert address in report.message


def test_a_silent_host_costs_no_frame(graph: RosGraph, folder: Path) -> None:
    with OddHost(folder) as host:
        bench = Bench(graph, folder, host.address, **{'offload.deadline_ms': 300.0})
        bench.until(remote='True')
        host.held.clear()
        facts = bench.frame()
        assert facts['offload.remote'] == 'False'
        assert facts['offload.failure'] == 'late'
        assert 'failed.detection' not in facts


def test_mode_and_deadline_change_while_frames_pass(graph: RosGraph, folder: Path) -> None:
    with OddHost(folder) as host:
        bench = Bench(graph, folder, host.address)
        bench.until(remote='True')
        done = bench.node.set_parameters([Parameter('offload.mode', value='never')])
        assert done[0].successful
        assert bench.frame()['offload.reason'] == 'never'
        done = bench.node.set_parameters([Parameter('offload.endpoint', value='other:1')])
        assert not done[0].successful
        assert 'clean up' in done[0].reason
        done = bench.node.set_parameters([Parameter('offload.mode', value='sometimes')])
        assert not done[0].successful
        bench.node.set_parameters([Parameter('offload.mode', value='always')])
        bench.until(remote='True')


def refused(graph: RosGraph, **settings: Any) -> str:
    """Why a node does not become configured."""
    node: PerceptionNode = graph.add(PerceptionNode, **settings)
    assert graph.spin_until(lambda: node.fault)
    return node.fault


def test_what_cannot_work_is_said_when_the_node_is_configured(
    graph: RosGraph, folder: Path, tmp_path: Path
) -> None:
    enabled = {'offload.enabled': True, 'model': str(folder)}
    assert 'HOST:PORT' in refused(graph, **enabled, **{'offload.endpoint': 'nowhere'})
    missing = {'offload.tls.enabled': True, 'offload.tls.ca_file': '/no/such/file.pem'}
    assert 'file.pem' in refused(graph, **enabled, **missing)
    token = {'offload.token_file': '/no/token', 'offload.endpoint': 'far.example:8001'}
    assert 'clear text' in refused(graph, **enabled, **token)
    whole = write_tiny_model(tmp_path / 'whole')
    assert 'cut' in refused(graph, **{**enabled, 'model': str(whole)})


@pytest.mark.parametrize(
    ('settings', 'cause'),
    [
        ({'offload.tls.ca_file': 'ca.pem'}, 'offload.tls.enabled'),
        ({'offload.tls.enabled': True, 'offload.tls.key_file': 'key.pem'}, 'belong together'),
        ({'offload.mode': 'sometimes'}, 'auto'),
        ({'offload.deadline_ms': 0.0}, 'offload.deadline_ms'),
    ],
)
def test_parameters_that_contradict_each_other(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(OptionError, match=cause):
        PerceptionSettings().changed(settings)


def test_without_grpc_the_node_says_what_to_install(
    graph: RosGraph, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith('mt_perception.offload.')]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without_grpc(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split('.')[0] == 'grpc':
            raise ImportError(f'No module named {name!r}', name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, '__import__', without_grpc)
    fault = refused(graph, **{'offload.enabled': True, 'model': str(folder)})
    assert "pip install constriction 'tritonclient[grpc]'" in fault
    assert 'grpc' in fault


def test_a_node_that_does_not_offload_imports_no_grpc(folder: Path) -> None:
    import subprocess

    code = (
        'import sys, mt_perception.nodes.perception; '
        'sys.exit(any(n in sys.modules for n in ("grpc", "tritonclient", "constriction")))'
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
