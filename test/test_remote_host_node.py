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
from mt_perception.nodes.host_parameters import RemoteHostSettings
from mt_perception.nodes.remote_host import RemoteHostNode, host_settings
from mt_perception.server.address import Address
from mt_perception.server.authentication import ServerTls
from mt_perception.server.host import HostSettings
from mt_perception.server.limits import HostLimits


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


def test_every_parameter_is_a_setting_of_the_host(folder: Path, tmp_path: Path) -> None:
    names = ('certificate', 'key', 'client_ca', 'tokens')
    files = {name: tmp_path / name for name in names}
    for file in files.values():
        file.touch()
    given = RemoteHostSettings().changed(
        {
            'model': str(folder), 'listen.host': 'robot', 'listen.port': 1, 'metrics.host': 'm',
            'metrics.port': 2, 'batch.size': 3, 'batch.wait_ms': 4.0, 'limits.per_client': 5,
            'limits.waiting': 6, 'workers': 7, 'runtime.threads': 8, 'drain_s': 9.0,
            'runtime.providers': ['CPUExecutionProvider'], 'token_file': str(files['tokens']),
            'tls.certificate': str(files['certificate']), 'tls.key': str(files['key']),
            'tls.client_ca': str(files['client_ca']),
        }
    )  # fmt: skip
    assert host_settings(given) == HostSettings(
        model=folder,
        address=Address('robot', 1, 'm', 2),
        limits=HostLimits(batch=3, batch_wait_ms=4.0, per_client=5, waiting=6),
        tls=ServerTls(files['certificate'], files['key'], files['client_ca']),
        token_file=files['tokens'],
        workers=7,
        threads=8,
        providers=('CPUExecutionProvider',),
        drain_s=9.0,
    )
    plain = host_settings(RemoteHostSettings().changed({'model': str(folder)}))
    assert (plain.tls, plain.token_file) == (None, None)
    assert plain.limits == HostLimits()
