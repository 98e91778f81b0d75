# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rules of a host, each alone: limits, open calls, references, refusals, metrics, threads."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from tiny_cut import write_tiny_cut
from tiny_model import fragile_head, write_tiny_model
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import OffloadError, OptionError, PayloadError, ProtocolError
from mt_perception.model.folder import read_manifest
from mt_perception.offload.payload import SYMBOLS, Payload, PayloadLimits, pack
from mt_perception.offload.protocol import InferenceRequest
from mt_perception.offload.split_model import model_digest
from mt_perception.server.address import Address, address_text
from mt_perception.server.admission import Admission, Caller
from mt_perception.server.dispatcher import DeadlineExceededError
from mt_perception.server.fair_queue import QueueFullError
from mt_perception.server.host import HostSettings, _options
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.references import References
from mt_perception.server.served_model import UnknownModelError, admit
from mt_perception.server.service import (
    NotReadyError,
    UnauthenticatedError,
    read_small,
    refusal_of,
)
from mt_perception.server.worker_thread import OverrunError, WorkerThreads

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ('name', 'default', 'low', 'high'),
    [
        ('request_bytes', (1 << 20) + (1 << 16), 1024, 1 << 30),
        ('per_client', 4, 1, 10_000),
        ('waiting', 256, 1, 100_000),
        ('connected', 512, 1, 100_000),
        ('batch', 1, 1, 256),
        ('batch_wait_ms', 2.0, 0, 1000),
        ('request_s', 5.0, 0.1, 3600),
        ('answer_s', 10.0, 0.01, 3600),
        ('run_s', 10.0, 0.01, 3600),
        ('idle_s', 300.0, 1, 86_400),
    ],
)
def test_limits_have_ranges(name: str, default: float, low: float, high: float) -> None:
    assert getattr(HostLimits(), name) == default
    for value in (low, high):
        assert getattr(HostLimits(**{name: value}), name) == value
    for value in (low - 0.005, high + 1, float('nan')):
        with pytest.raises(OptionError, match=f'{name} must be in'):
            HostLimits(**{name: value})


def test_options_of_the_server() -> None:
    assert [HostLimits(per_client=n).open_per_client for n in (1, 4, 5)] == [8, 8, 10]
    options = dict(_options(HostLimits(per_client=5, request_s=2.5)))
    assert options == {
        'grpc.max_receive_message_length': 17 << 16,
        'grpc.per_message_decompression': 0,
        'grpc.max_concurrent_streams': 10,
        'grpc.max_metadata_size': 8192,
        'grpc.so_reuseport': 0,
        'grpc.server_handshake_timeout_ms': 2500,
        'grpc.max_connection_idle_ms': 300_000,
        'grpc.keepalive_time_ms': 10_000,
        'grpc.keepalive_timeout_ms': 10_000,
        'grpc.keepalive_permit_without_calls': 1,
        'grpc.http2.min_ping_interval_without_data_ms': 5000,
        'grpc.http2.max_ping_strikes': 3,
    }


def opened(admission: Admission, stack: ExitStack, caller: Caller) -> int:
    """How many more calls are admitted."""
    count = 0
    while True:
        try:
            stack.enter_context(admission.open_call(caller))
        except QueueFullError:
            return count
        count += 1


def test_open_calls_are_limited_by_client_address_and_host() -> None:
    admission = Admission(HostLimits(connected=20))
    names = [Caller(f'robot {i}', 'here', authenticated=True) for i in range(30)]
    with ExitStack() as stack:
        anonymous = [opened(admission, stack, Caller(f'{i}', 'here', False)) for i in range(3)]
        assert anonymous == [8, 7, 0], 'three quarters of 20 calls for an address'
        assert opened(admission, stack, Caller('9', 'there', False)) == 5
        assert [opened(admission, stack, name) for name in names] == [1] * 20 + [0] * 10
        assert admission.open_calls == 40
    assert admission.open_calls == 0
    assert not admission._clients
    assert not admission._addresses
    with ExitStack() as stack:
        assert [opened(admission, stack, name) for name in names[:3]] == [8, 8, 4]


def payload(number: int, size: int = 10) -> Payload:
    return Payload(SYMBOLS, 0, bytes(16), (3, 8, 8), 0, '', bytes([number]) * size)


def test_references_are_the_latest_of_each_client_within_a_limit() -> None:
    kept = References(max_bytes=100)
    sums = [payload(i).checksum for i in range(9)]
    for i in range(5):
        kept.keep('a', payload(i))
    assert [kept.find('a', s) is not None for s in sums[:5]] == [False, True, True, True, True]
    assert kept.find('b', sums[4]) is None
    kept.find('a', sums[1])
    kept.keep('a', payload(5))
    assert kept.find('a', sums[1]) is not None, 'it was used after the others'
    assert kept.find('a', sums[2]) is None
    kept.keep('a', payload(5))
    assert kept._bytes == 40
    kept.keep('b', payload(6, 60))
    assert kept._bytes == 100, 'as many bytes as are allowed'
    kept.keep('c', payload(7, 1))
    assert kept._bytes == 91
    kept.keep('c', payload(8, 200))
    assert (kept._bytes, kept.find('c', payload(8, 200).checksum)) == (0, None)


@pytest.mark.parametrize(
    ('error', 'status'),
    [
        (UnauthenticatedError('x'), Code.UNAUTHENTICATED),
        (NotReadyError('x'), Code.UNAVAILABLE),
        (UnknownModelError('x'), Code.NOT_FOUND),
        (ProtocolError('x'), Code.INVALID_ARGUMENT),
        (PayloadError('shape', 'x'), Code.INVALID_ARGUMENT),
        (QueueFullError('x'), Code.RESOURCE_EXHAUSTED),
        (DeadlineExceededError('x'), Code.DEADLINE_EXCEEDED),
        (OffloadError('x'), Code.INTERNAL),
    ],
)
def test_every_error_has_its_status(error: Exception, status: grpc.StatusCode) -> None:
    assert refusal_of(error) == (status, 'x')


def test_a_reason_is_short_and_tells_nothing_of_a_defect() -> None:
    assert refusal_of(KeyError('secret')) == (Code.INTERNAL, 'the host failed: KeyError')
    assert refusal_of(OffloadError('x' * 400))[1] == 'x' * 400
    assert refusal_of(OffloadError('x' * 401))[1] == 'x' * 400 + ' …'
    assert refusal_of(OffloadError('\udcff'))[1] == '?'


class Call:
    """A call whose message is there; None never comes."""

    def __init__(self, message: object) -> None:
        self.message = message

    async def read(self) -> object:
        if self.message is None:
            await asyncio.sleep(30)
        return self.message


def test_small_messages_have_a_limit() -> None:
    name = 'x' * (4096 - 3)
    message = pb.ModelReadyRequest(name=name).SerializeToString()
    assert len(message) == 4096

    def read(given: object) -> object:
        return asyncio.run(read_small(Call(given), pb.ModelReadyRequest, 0.02))

    assert read(message).name == name  # type: ignore[attr-defined]
    for wrong in (pb.ModelReadyRequest(name=name + 'x').SerializeToString(), b'\xff'):
        with pytest.raises(ProtocolError, match='no ModelReadyRequest of at most 4096 bytes'):
            read(wrong)
    with pytest.raises(ProtocolError, match='without a message'):
        read(object())
    with pytest.raises(DeadlineExceededError, match=r'not complete after 0\.02 s'):
        read(None)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({}, ''),
        ({'shape': (3, 1, 64)}, ''),
        ({'rate': 2}, ''),
        ({'rate': 3}, 'rate'),
        ({'shape': (3, 1, 65)}, 'shape'),
        ({'shape': (3, 65, 1)}, 'shape'),
        ({'shape': (2, 8, 8)}, 'shape'),
        ({'digest': bytes(16)}, 'model'),
    ],
)
def test_sizes_from_one_cell_to_those_of_the_model(
    change: dict[str, object], reason: str, tmp_path: Path
) -> None:
    manifest = read_manifest(write_tiny_cut(tmp_path))
    given = replace(payload(0), **{'digest': model_digest(manifest), **change})
    request = InferenceRequest('tiny', '', '1', pack(given))
    if reason:
        with pytest.raises(PayloadError) as refused:
            admit(request, manifest, PayloadLimits())
        assert refused.value.reason == reason
        return
    admitted = admit(request, manifest, PayloadLimits())
    assert admitted.payload == given
    assert len(admitted.tensors) == 5
    assert admitted.key == (SYMBOLS, given.shape, admitted.tensors)


def test_metrics_of_a_host() -> None:
    metrics = HostMetrics()
    metrics.requests.labels('OK').inc(3)
    metrics.watch('waiting', 'Queued.', lambda: 7)
    metrics.seconds.labels('queue').observe(0.02)
    metrics.batches.observe(3)
    assert metrics.outcomes() == {'OK': 3}

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f'mt_perception_host_{name}', labels)

    assert value('waiting') == 7
    edges = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, '+Inf')
    counts = [value('seconds_bucket', stage='queue', le=str(edge)) for edge in edges]
    assert counts == [0] * 4 + [1] * 9
    counts = [value('batch_size_bucket', le=f'{edge}.0') for edge in (1, 2, 4, 8, 16, 32)]
    assert counts == [0, 0, 1, 1, 1, 1]


def test_addresses() -> None:
    hosts = ('localhost', '::1', '127.0.0.2', '0.0.0.0', '::', 'robot')
    assert [Address(host).is_loopback for host in hosts] == [True] * 3 + [False] * 3
    assert (Address().port, Address().metrics_port) == (8001, 0)
    assert address_text('::1', 8001) == '[::1]:8001'
    assert address_text('robot', 1) == 'robot:1'


def test_a_host_with_a_token_file_is_not_open(tmp_path: Path) -> None:
    token = tmp_path / 'token'
    token.write_text('x' * 32)
    token.chmod(0o600)
    outside = HostSettings(tmp_path, address=Address('robot'))
    assert [warning[:5] for warning in outside.warnings()] == ['robot', 'every']
    assert [w[:5] for w in replace(outside, token_file=token).warnings()] == ['robot']
    token.chmod(0o644)
    (exposed,) = HostSettings(tmp_path, token_file=token).warnings()
    assert 'chmod 600' in exposed


def test_abandoned_threads_are_counted_until_they_end() -> None:
    go_on = threading.Event()

    async def everything() -> None:
        threads = WorkerThreads('x', 1)
        assert await threads.run(lambda: 3, None) == 3
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0, 10.0)
        assert not threads.exhausted
        with pytest.raises(OverrunError, match=r'exceeded its limit of 0\.01 s'):
            await threads.run(lambda: go_on.wait(30), 0.01)
        assert threads.exhausted
        with pytest.raises(OverrunError, match='1 overrunning threads'):
            await threads.run(lambda: 4, 10.0)
        go_on.set()
        while threads.exhausted:
            await asyncio.sleep(0.001)
        assert await threads.run(lambda: 5, 10.0) == 5

    asyncio.run(everything())


def test_the_port_of_metrics_is_free_again_after_the_end() -> None:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    stop = HostMetrics().serve('127.0.0.1', port)
    with pytest.raises(OffloadError, match=f'cannot be served at 127.0.0.1:{port}'):
        HostMetrics().serve('127.0.0.1', port)
    stop()
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', port))


def test_a_model_without_a_split_has_a_digest_of_its_files(tmp_path: Path) -> None:
    """So that robot and host notice whether their folders are equal."""
    plain = read_manifest(write_tiny_model(tmp_path / 'a'))
    again = read_manifest(write_tiny_model(tmp_path / 'b'))
    other = read_manifest(write_tiny_model(tmp_path / 'c', replace={'depth': fragile_head()}))
    assert len(model_digest(plain)) == 16
    assert model_digest(plain) == model_digest(again) != model_digest(other)
