# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of offloading: whole statuses of one host and of several, well and failing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('tritonclient.grpc', reason='needs the extra "offload"')
from offload_clock import BREAKER, READY, REQUEST, World

from mt_perception.errors import OptionError
from mt_perception.nodes import offloading
from mt_perception.nodes.diagnostics import OK, WARN, StatusSnapshot
from mt_perception.nodes.offloading import change_offload, offload_status
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.offload.endpoint import ClientTls, Endpoint
from mt_perception.offload.host_pool import HostPool


def client_of(pool: HostPool, **changes: Any) -> Any:
    decision = SimpleNamespace(mode='auto')
    return SimpleNamespace(
        hosts=pool,
        settings=SimpleNamespace(decision=decision, deadline_ms=150.0),
        **{'frames_remote': 3, 'frames_local': 4, 'warnings': (), **changes},
    )


def test_statuses_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    monkeypatch.setattr(offloading, 'time', SimpleNamespace(monotonic=lambda: world.now_s))
    pool = HostPool([Endpoint('a:1', ClientTls())], 'tiny', BREAKER)
    pool.available(world.now_s)
    world.pings()[0].finish(READY)
    pool.available(world.now_s)
    values = {
        'endpoint': 'a:1', 'tls': True, 'mode': 'auto', 'deadline_ms': 150.0,
        'breaker': 'closed', 'retry_s': 0.0, 'frames.remote': 3, 'frames.local': 4,
        'in_flight': 0, 'hedged_requests': 0, 'last_failure': '', 'offload.failure_rate': 0.0,
        'failures': 0,
    }  # fmt: skip
    message = '3 of 7 frames by the remote host'
    assert offload_status(client_of(pool)) == StatusSnapshot(OK, message, values)
    warned = client_of(pool, warnings=('plain text', 'old'))
    assert offload_status(warned) == StatusSnapshot(WARN, 'plain text; old', values)
    for number in range(2):
        pool.clients[0].send(REQUEST, 1.0)
        assert offload_status(client_of(pool)).values['in_flight'] == 1
        call = next(iter(pool.clients[0]._in_flight))
        failure = pool.clients[0].cancel(call)
        world.sent()[number].finish(ValueError())
    world.now_s += 0.25
    found = offload_status(warned)
    assert (found.level, found.message) == (WARN, f'{failure.sentence}; frames run locally')
    rate = found.values['offload.failure_rate']
    assert rate == pytest.approx(0.19)
    assert found.values == {
        **values, 'breaker': 'open', 'retry_s': 0.75, 'last_failure': failure.sentence,
        'failures': 2, 'failures.late': 2, 'offload.failure_rate': rate,
    }  # fmt: skip


def test_a_failing_host_beside_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    monkeypatch.setattr(offloading, 'time', SimpleNamespace(monotonic=lambda: world.now_s))
    pool = HostPool([Endpoint('a:1'), Endpoint('b:1')], 'tiny', BREAKER)
    assert offload_status(client_of(pool)).values['tls'] is False
    for _ in range(2):
        failure = pool.clients[1].cancel(pool.clients[1].send(REQUEST, 1.0))
    found = offload_status(client_of(pool))
    assert (found.level, found.message) == (WARN, f'{failure.sentence}; other hosts are used')
    assert (found.values['hosts.a:1'], found.values['hosts.b:1']) == ('closed', 'open')
    assert (found.values['endpoint'], found.values['breaker']) == ('a:1', 'closed')


def test_live_settings_reach_the_client() -> None:
    given: list[object] = []
    client: Any = SimpleNamespace(change=lambda *values: given.append(values))
    settings = PerceptionSettings().changed(
        {'offload.deadline_ms': 90.0, 'offload.mode': 'always'}
    )
    change_offload(client, settings)
    change_offload(None, settings)
    assert given == [(90.0, 'always')]


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ({'offload.tls.ca_file': 'x'}, 'offload.tls.ca_file is set, but offload.tls.enabled'),
        (
            {'offload.tls.enabled': True, 'offload.tls.key_file': 'x'},
            'certificate_file and offload.tls.key_file belong together',
        ),
        (
            {'offload.tls.enabled': True, 'offload.tls.certificate_file': 'x'},
            'certificate_file and offload.tls.key_file belong together',
        ),
        (
            {'obstacles.min_height_m': 0.5, 'obstacles.max_height_m': 0.5},
            'obstacles.min_height_m is 0.5; expected less than obstacles.max_height_m, 0.5',
        ),
        (
            {'obstacles.min_range_m': 3.0, 'obstacles.max_range_m': 2.5},
            'obstacles.min_range_m is 3; expected less than obstacles.max_range_m, 2.5',
        ),
    ],
)
def test_values_that_conflict_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        PerceptionSettings().changed(values)


def test_values_that_just_fit() -> None:
    changed = PerceptionSettings().changed(
        {
            'obstacles.min_height_m': 0.25, 'obstacles.max_height_m': 0.5,
            'obstacles.min_range_m': 1.0, 'obstacles.max_range_m': 1.5,
            'obstacles.voxel_m': 0.125, 'obstacles.stride': 3,
            'obstacles.ignored_classes': ['grass'], 'offload.tls.enabled': True,
            'offload.tls.key_file': 'x', 'offload.tls.certificate_file': 'y',
        }
    )  # fmt: skip
    options = changed.obstacle_options()
    assert tuple(vars(options).values()) == (0.25, 0.5, 1.0, 1.5, 0.125, 3, ('grass',))
