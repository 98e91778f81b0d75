# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several remote hosts: a slow, dead or lying one costs nothing while another one is well."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from odd_host import OddHost
from offload_faults import connected

from mt_perception.errors import OffloadError
from mt_perception.offload import inference_client
from mt_perception.offload.circuit_breaker import BreakerState, CircuitBreakerSettings
from mt_perception.offload.client import OffloadClient
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.host_pool import HEDGE_SHARE
from mt_perception.offload.settings import OffloadSettings
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame

PATIENCE_MS = 20_000.0
FRAME = Frame(np.full((96, 128, 3), 128, np.uint8))


@pytest.fixture
def hosts(folder: Path) -> Iterator[tuple[OddHost, OddHost]]:
    with OddHost(folder) as first, OddHost(folder) as second:
        yield first, second


@contextmanager
def robot(
    folder: Path, *addresses: str, ready: int = 2, failures: int = 1000
) -> Iterator[tuple[Pipeline, OffloadClient]]:
    """A pipeline that has run one frame locally, and its client with a number of ready hosts."""
    breaker = CircuitBreakerSettings(failures=failures, first_s=60.0)
    made = connected(folder, addresses, PATIENCE_MS, breaker=breaker, ready=ready)
    with made as (pipeline, client):
        pipeline.run(FRAME)
        yield pipeline, client


def report(pipeline: Pipeline) -> tuple[bool, str | None, int | None]:
    found = pipeline.run(FRAME).execution.offload
    assert found is not None
    assert found.local_run is False
    return found.remote, found.endpoint, found.requests


def test_the_first_host_is_used_while_it_is_in_time(
    folder: Path, hosts: tuple[OddHost, OddHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = hosts
    monkeypatch.setattr(inference_client, '_LATE_UNKNOWN_S', 30.0)
    with robot(folder, first.address, second.address) as (pipeline, client):
        assert report(pipeline) == (True, first.address, 1)
        assert (len(first.requests), len(second.requests)) == (1, 0)
        assert client.hosts.hedges == 0


def test_a_silent_host_is_hedged_and_does_not_fail(
    folder: Path, hosts: tuple[OddHost, OddHost]
) -> None:
    first, second = hosts
    with robot(folder, first.address, second.address) as (pipeline, client):
        first.held.clear()
        assert report(pipeline) == (True, second.address, 2)
        assert client.hosts.hedges == 1
        assert not client.hosts.failures
        assert client.hosts.clients[0].breaker.state is BreakerState.CLOSED
        # From now on the host that answers is asked first.
        assert client.hosts.preferred.endpoint.address == second.address
        assert report(pipeline) == (True, second.address, 1)
        assert (len(first.requests), len(second.requests)) == (1, 2)
        first.held.set()


def test_a_late_host_comes_last_before_its_estimate_says_so(
    folder: Path, hosts: tuple[OddHost, OddHost]
) -> None:
    first, second = hosts
    with robot(folder, first.address, second.address) as (pipeline, client):
        quick, slow = client.hosts.clients
        for _ in range(20):
            quick.link.answered(time.monotonic(), 0.001, 100)
            slow.link.answered(time.monotonic(), 5.0, 100)
        first.held.clear()
        assert report(pipeline) == (True, second.address, 2)
        assert client.hosts.preferred is slow
        first.held.set()
        # A used response clears it.
        second.held.clear()
        assert report(pipeline) == (True, first.address, 2)
        assert client.hosts.preferred is quick
        second.held.set()


def test_a_lying_host_costs_no_frame(folder: Path, hosts: tuple[OddHost, OddHost]) -> None:
    first, second = hosts
    first.bend = lambda reply: b'nonsense'
    with robot(folder, first.address, second.address, failures=3) as (pipeline, client):
        for _ in range(6):
            assert report(pipeline)[:2] == (True, second.address)
        # A request whose hedge was answered first is cancelled, and its reply counts nowhere.
        assert 1 <= client.hosts.failures['bad_reply'] <= len(first.requests) <= 3
        assert client.frames_local == 1


def test_a_dead_host_is_not_asked(folder: Path, hosts: tuple[OddHost, OddHost]) -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        dead = f'127.0.0.1:{server.getsockname()[1]}'
    _, second = hosts
    with robot(folder, dead, second.address, ready=0) as (pipeline, client):
        assert client.hosts.wait_ready(60)
        assert report(pipeline) == (True, second.address, 1)


def test_all_hosts_silent_means_a_local_run(folder: Path, hosts: tuple[OddHost, OddHost]) -> None:
    with robot(folder, *(host.address for host in hosts)) as (pipeline, client):
        for host in hosts:
            host.held.clear()
        client.change(1500.0, 'always')
        found = pipeline.run(FRAME).execution.offload
        assert found is not None
        assert (found.remote, found.local_run, found.failure) == (False, True, 'late')
        assert found.requests == 2
        for host in hosts:
            host.held.set()


def test_hedged_requests_are_bounded(
    folder: Path, hosts: tuple[OddHost, OddHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if every response looks late."""
    monkeypatch.setattr(inference_client.InferenceClient, 'late_after_s', 0.0)
    with robot(folder, *(host.address for host in hosts)) as (pipeline, client):
        frames = 40
        for _ in range(frames):
            pipeline.run(FRAME)
        assert 4 <= client.hosts.hedges <= 4 + HEDGE_SHARE * frames
        assert sum(len(host.requests) for host in hosts) <= frames + client.hosts.hedges


@pytest.mark.parametrize('addresses', [[], ['a:1', 'a:1']])
def test_endpoints_are_checked(addresses: list[str]) -> None:
    with pytest.raises(OffloadError, match='at least one endpoint and none twice'):
        OffloadSettings([Endpoint(address) for address in addresses])
