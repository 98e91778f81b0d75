# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host as a ROS node: it serves, it reports, and it refuses what it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from plain_client import image, robot
from rclpy.node import Node
from ros_graph import Peer, RosGraph

from mt_perception.errors import ModelError, OffloadError, OptionError
from mt_perception.nodes.remote_host import RemoteHostNode


def settings(folder: Path, **others: object) -> dict[str, object]:
    return {'model': str(folder), 'listen.port': 0, 'workers': 1, **others}


def test_it_serves_and_reports(graph: RosGraph, folder: Path) -> None:
    peer = graph.add(Peer)
    reports = peer.listen('/diagnostics', DiagnosticArray)
    node = graph.add(RemoteHostNode, **settings(folder))
    assert graph.spin_until(lambda: node.host.ready)
    with robot(f'127.0.0.1:{node.host.port}', folder) as client:
        assert client.ask(client.request(image())).tensors
        client.refused(client.request(image(), model='big'))

    def values() -> dict[str, str]:
        return {v.key: v.value for v in reports[-1].status[0].values} if reports else {}

    assert graph.spin_until(lambda: values().get('requests') == '2')
    assert values()['requests.OK'] == '1'
    assert values()['requests.NOT_FOUND'] == '1'
    assert values()['model'] == 'tiny 1'
    assert values()['endpoint'] == f'127.0.0.1:{node.host.port}'
    status = reports[-1].status[0]
    assert (status.name, status.level) == ('/remote_host: host', DiagnosticStatus.OK)


def test_an_open_host_is_warned_about(graph: RosGraph, folder: Path) -> None:
    peer = graph.add(Peer)
    reports = peer.listen('/diagnostics', DiagnosticArray)
    graph.add(RemoteHostNode, **settings(folder, **{'listen.host': '0.0.0.0'}))
    assert graph.spin_until(lambda: reports and 'without TLS' in reports[-1].status[0].message)
    assert reports[-1].status[0].level == DiagnosticStatus.WARN


@pytest.mark.parametrize(
    ('name', 'value', 'error'),
    [
        ('model', 'nix', ModelError),
        ('tls.certificate', '/no/such.pem', OptionError),
        ('token_file', '/no/such', OffloadError),
        ('listen.port', 70000, OptionError),
    ],
)
def test_what_it_cannot_be_is_refused_at_once(
    name: str,
    value: object,
    error: type[Exception],
    graph: RosGraph,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    destroyed = []
    monkeypatch.setattr(Node, 'destroy_node', lambda node: destroyed.append(node.get_name()))
    with pytest.raises(error):
        graph.add(RemoteHostNode, **settings(folder, **{name: value}))
    assert destroyed == ['remote_host'], 'its publishers do not stay in the graph'


def test_an_address_that_is_none_of_ours_ends_the_node(graph: RosGraph, folder: Path) -> None:
    graph.add(RemoteHostNode, **settings(folder, **{'listen.host': '192.0.2.1'}))
    with pytest.raises(OffloadError, match='not one of this machine'):
        graph.spin_until(lambda: False, 10)
