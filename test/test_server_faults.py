# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hostile clients, failing backends and overrunning decoders: the host stays up and says so."""

from __future__ import annotations

import contextlib
import math
import select
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hosts import eventually, never_sent, running_host
from plain_client import PATIENCE_S, Robot, image, robot
from test_serve import PROGRAM, serving
from tritonclient.grpc.service_pb2 import ServerReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from mt_perception.offload.protocol import MODEL_INFER, serialize_request
from mt_perception.server import metrics, service
from mt_perception.server.backends import LocalBackend
from mt_perception.server.limits import HostLimits

Code = grpc.StatusCode
GREEDY, MODEST = 'g' * 32, 'm' * 32
SERVING = health_pb2.HealthCheckResponse.SERVING


def health(client: Robot) -> int:
    stub = health_pb2_grpc.HealthStub(client.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status)


@contextlib.contextmanager
def half_open(target: str, channels: int, token: str = '') -> Iterator[list[Any]]:
    """Eight calls on each of several connections that never send their message."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(PATIENCE_S)
        yield from ()

    metadata = [('authorization', f'Bearer {token}')] if token else []
    with contextlib.ExitStack() as stack:
        calls = []
        for _ in range(channels):
            options = [('grpc.use_local_subchannel_pool', 1)]
            channel = stack.enter_context(grpc.insecure_channel(target, options))
            infer = channel.stream_unary(MODEL_INFER)
            calls += [infer.future(nothing(), metadata=metadata) for _ in range(8)]
        yield calls
        over.set()
        for call in calls:
            call.cancel()


def test_half_open_requests_of_one_client_leave_the_others_alone(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / 'tokens'
    file.write_text(f'{GREEDY}\nmodest {MODEST}\n')
    file.chmod(0o600)
    limits = HostLimits(connected=16, request_s=PATIENCE_S)
    with (
        running_host(folder, limits=limits, token_file=file) as running,
        half_open(running.target, 4, GREEDY) as calls,
        robot(running.target, folder, token=MODEST) as client,
    ):
        # One token has 8 open calls, on however many connections.
        assert eventually(lambda: sum(call.done() for call in calls) == 24)
        assert {call.code() for call in calls if call.done()} == {Code.RESOURCE_EXHAUSTED}
        assert client.ask(client.request(image())).tensors
        assert health(client) == SERVING


def test_anonymous_half_open_requests_never_refuse_a_health_check(folder: Path) -> None:
    limits = HostLimits(connected=16, request_s=PATIENCE_S)
    with (
        running_host(folder, limits=limits) as running,
        half_open(running.target, 4) as calls,
        robot(running.target, folder) as client,
    ):
        # A quarter of the calls stays free for other addresses.
        assert eventually(lambda: sum(call.done() for call in calls) == 32 - 12)
        assert health(client) == SERVING


def test_a_half_sent_health_check_ends(folder: Path) -> None:
    with (
        running_host(folder, limits=HostLimits(request_s=0.2)) as running,
        robot(running.target, folder) as client,
    ):
        assert never_sent(client, '/grpc.health.v1.Health/Check')[0] == Code.DEADLINE_EXCEEDED


def test_health_is_watched(folder: Path) -> None:
    with running_host(folder) as running, robot(running.target, folder) as client:
        stub = health_pb2_grpc.HealthStub(client.channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        assert next(watching).status == SERVING
        running.host._service.accepting = False
        assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watching.cancel()


class FaultyBackend(LocalBackend):
    """Returns too few results, fails or blocks, as the test says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fault = ''
        self.go_on = threading.Event()

    async def load(self) -> None:
        await super().load()
        model = self._served
        assert model is not None
        sound = model.run

        def run(requests: Any) -> Any:
            if self.fault == 'short':
                return sound(requests)[1:]
            if self.fault == 'bug':
                raise ZeroDivisionError
            if self.fault == 'slow':
                self.go_on.wait(PATIENCE_S)
            return sound(requests)

        model.run = run  # type: ignore[method-assign]


@pytest.mark.parametrize('fault', ['short', 'bug'])
def test_a_failing_backend_costs_its_request_and_is_reported(folder: Path, fault: str) -> None:
    backend = FaultyBackend(folder)
    with running_host(folder, backend) as running, robot(running.target, folder) as client:
        assert not running.host.failure
        backend.fault = fault
        status, sentence = client.refused(client.request(image()))
        assert (status, 'the backend failed' in sentence) == (Code.INTERNAL, True)
        assert running.host.failure.startswith('a worker failed')
        backend.fault = ''
        assert client.ask(client.request(image())).tensors
        assert running.host.ready


def test_a_dead_worker_is_replaced(folder: Path) -> None:
    with running_host(folder) as running, robot(running.target, folder) as client:
        stub = GRPCInferenceServiceStub(client.channel)
        queue = running.host._dispatcher._queue
        take, failed = queue.take, threading.Event()

        def broken(max_batch: int) -> Any:
            failed.set()
            raise MemoryError('of the queue')

        queue.take = broken  # type: ignore[method-assign]
        waiting = client.infer.future(serialize_request(client.request(image())))
        assert failed.wait(PATIENCE_S)
        # Ready is the truth: the only worker is gone until its replacement starts.
        assert eventually(lambda: not stub.ServerReady(ServerReadyRequest()).ready)
        assert 'MemoryError' in running.host.failure
        queue.take = take  # type: ignore[method-assign]
        assert waiting.result(PATIENCE_S)
        assert stub.ServerReady(ServerReadyRequest()).ready


def test_an_overrunning_worker_is_abandoned_and_replaced(folder: Path) -> None:
    backend = FaultyBackend(folder)
    limits = HostLimits(run_s=0.1)
    with (
        running_host(folder, backend, limits=limits) as running,
        robot(running.target, folder) as client,
    ):
        backend.fault = 'slow'
        status, sentence = client.refused(client.request(image()))
        assert (status, 'exceeded its limit' in sentence) == (Code.INTERNAL, True)
        backend.fault = ''
        assert client.ask(client.request(image())).tensors
        backend.fault = 'slow'
        client.refused(client.request(image()))
        # Two abandoned threads for one worker are the limit.
        assert not running.host.ready
        status, sentence = client.refused(client.request(image()))
        assert (status, 'no worker' in sentence) == (Code.UNAVAILABLE, True)
        backend.fault = ''
        backend.go_on.set()
        assert eventually(lambda: running.host.ready)
        assert client.ask(client.request(image())).tensors


SLOW = (
    'import time; from mt_perception.server.served_model import ServedModel; '
    'ServedModel.run = lambda self, requests: time.sleep(1000)\n'
)


def test_sigterm_does_not_wait_for_an_overrunning_worker(folder: Path) -> None:
    options = ('--drain-s', '0.2')
    with (
        serving(folder, *options, program=SLOW + PROGRAM) as (process, target),
        robot(target, folder) as client,
    ):
        call = client.infer.future(serialize_request(client.request(image())))
        assert health(client) == SERVING  # On the same connection: the request has arrived.
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert call.exception() is not None


def test_a_declared_size_is_compared_before_decoding(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*arguments: Any) -> Any:
        raise AssertionError('decoded')

    monkeypatch.setattr('mt_perception.server.served_model.decode', decode)
    with running_host(folder) as running, robot(running.target, folder) as client:
        large = client.picture(np.zeros((256, 256, 3), np.uint8))
        payload = type(large)(**{**large.__dict__, 'shape': (3, 64, 64)})
        status, sentence = client.refused(client.request_of(payload))
        assert status == Code.INVALID_ARGUMENT
        assert 'declares 256x256 pixels' in sentence


@pytest.mark.parametrize('precision', [5e-324, 1e-300, 1e-9])
def test_a_precision_finer_than_floats_is_exact(folder: Path, precision: float) -> None:
    with running_host(folder) as running, robot(running.target, folder) as client:
        exact = client.ask(client.request(image()))
        reply = client.ask(client.request(image(), precision=precision))
        for name, value in exact.tensors.items():
            np.testing.assert_array_equal(reply.tensors[name], value)
        for wrong in (1.5, math.nan, math.inf, -1.0):
            request = client.request(image(), precision=wrong)
            assert client.refused(request)[0] == Code.INVALID_ARGUMENT


def test_every_error_has_a_status_and_a_short_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_host(folder) as running, robot(running.target, folder) as client:
        for name in ('x' * 15_000, '\x01' * 10_000, 'ü' * 5_000):
            status, sentence = client.refused(client.request(image(), tensors=(name,)))
            assert status == Code.INVALID_ARGUMENT
            assert 'does not exist' in sentence
            assert len(sentence) <= 500

        def fail(*arguments: Any) -> bytes:
            raise FloatingPointError

        monkeypatch.setattr(service, 'serialize_response', fail)
        status, sentence = client.refused(client.request(image()))
        assert (status, sentence) == (Code.INTERNAL, 'the host failed: FloatingPointError')
        assert running.outcomes() == {'INVALID_ARGUMENT': 3, 'INTERNAL': 1}


@contextlib.contextmanager
def half_sent_scrapes(count: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """Metrics at a port, and connections that send half of a request."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    stop = metrics.HostMetrics().serve('127.0.0.1', port)
    try:
        with contextlib.ExitStack() as stack:
            address = ('127.0.0.1', port)
            connections = [
                stack.enter_context(socket.create_connection(address)) for _ in range(count)
            ]
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(b'GET /metr')
            yield port, connections
    finally:
        stop()


def test_half_sent_scrapes_hold_a_bounded_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, 'SCRAPE_S', 10 * PATIENCE_S)
    with half_sent_scrapes(40) as (_, connections):

        def closed() -> int:
            readable, _, _ = select.select(connections, [], [], 0)
            return len(readable)

        assert eventually(lambda: closed() == 40 - metrics.MAX_SCRAPES)


def test_half_sent_scrapes_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, 'SCRAPE_S', 0.3)
    before = threading.active_count()
    with half_sent_scrapes(metrics.MAX_SCRAPES) as (port, _):

        def scraped() -> bool:
            try:
                with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics') as page:
                    return b'mt_perception_host' in page.read()
            except OSError:
                return False

        assert eventually(scraped)
        # The server's own thread stays.
        assert eventually(lambda: threading.active_count() - before <= 1)


def test_python_can_exit_with_an_abandoned_thread() -> None:
    """Nothing waits for the threads at the end of a process."""
    import subprocess

    program = (
        'import asyncio, time\n'
        'from mt_perception.server.worker_thread import OverrunError, WorkerThreads\n'
        'async def main():\n'
        '    try:\n'
        "        await WorkerThreads('x', 2).run(lambda: time.sleep(1000), 0.05)\n"
        '    except OverrunError as error:\n'
        '        print(error)\n'
        'asyncio.run(main())\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert 'was abandoned' in done.stdout
