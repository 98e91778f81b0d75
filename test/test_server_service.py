# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The calls of a host and its dispatcher without a connection: who asks, what is said, counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from tiny_cut import write_tiny_cut
from tritonclient.grpc import service_pb2 as pb

from mt_perception import __version__
from mt_perception.errors import OffloadError, PayloadError, PerceptionError
from mt_perception.model.folder import read_manifest
from mt_perception.model.manifest import Manifest
from mt_perception.offload.payload import (
    DIFFERENCE,
    JPEG,
    SYMBOLS,
    Payload,
    difference_body,
    pack,
)
from mt_perception.offload.protocol import (
    SERVICE,
    InferenceRequest,
    parse_response,
    serialize_request,
)
from mt_perception.offload.split_model import model_digest
from mt_perception.server import dispatcher as dispatching
from mt_perception.server.authentication import Tokens
from mt_perception.server.dispatcher import Completion, DeadlineExceededError, Dispatcher
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.served_model import AdmittedRequest, InferenceResult
from mt_perception.server.service import InferenceService

TENSORS = {
    'depth/depth_per_focal': np.full((1, 4, 4), 0.5, np.float32),
    'detection/boxes': np.float32([[[1, 2, 3, 4]]]),
}
NEEDED = tuple(TENSORS)


@pytest.fixture(scope='module')
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(write_tiny_cut(tmp_path_factory.mktemp('model')))


class AbortError(Exception):
    """A call that was refused."""


class Call:
    """A call of a client, with one message."""

    def __init__(
        self,
        message: bytes = b'',
        remaining_s: float | None = 30.0,
        token: str = '',
        certificate: bytes = b'',
        peer: str = 'ipv4:1.2.3.4:5',
    ) -> None:
        self.message, self.remaining_s, self._peer = message, remaining_s, peer
        self.metadata = (('authorization', token),) if token else None
        self.names = {'x509_common_name': [certificate]} if certificate else {}

    async def read(self) -> bytes:
        return self.message

    def time_remaining(self) -> float | None:
        return self.remaining_s

    def invocation_metadata(self) -> object:
        return self.metadata

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return self.names

    def peer(self) -> str:
        return self._peer

    async def abort(self, code: grpc.StatusCode, text: str) -> None:
        raise AbortError(code.name, text)


class Host:
    """A service whose dispatcher returns the same tensors for each request."""

    def __init__(self, manifest: Manifest | None, tokens: Tokens | None = None) -> None:
        self.available, self.answers = True, True
        self.seen: list[tuple[str, AdmittedRequest, float, float | None]] = []
        self.metrics = HostMetrics()
        self.backend: Any = SimpleNamespace(manifest=manifest)
        dispatcher: Any = self
        limits = HostLimits(answer_s=7.0)
        self.service = InferenceService(self.backend, dispatcher, limits, self.metrics, tokens)
        self.service.accepting = True

    async def complete(
        self, client: str, request: AdmittedRequest, deadline_s: float
    ) -> Completion:
        open_calls = self.value('open_calls')
        self.seen.append((client, request, deadline_s - time.monotonic(), open_calls))
        if not self.answers:
            await asyncio.sleep(30)
        return Completion(TENSORS, 0.0015, 0.002)

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f'mt_perception_host_{name}')

    def call(self, name: str, call: Call) -> bytes:
        details: Any = SimpleNamespace(method=f'/{SERVICE}/{name}', invocation_metadata=())
        handler: Any = self.service.handler().service(details)
        reply: bytes = asyncio.run(handler.stream_unary(None, call))
        return reply

    def refusal(self, name: str, call: Call) -> tuple[str, str]:
        with pytest.raises(AbortError) as refused:
            self.call(name, call)
        code, text = refused.value.args
        return code, text


def features(manifest: Manifest, **changes: Any) -> Payload:
    made = Payload(SYMBOLS, 1, model_digest(manifest), (3, 8, 8), 5, 'camera', b'code')
    return replace(made, **changes)


def request(payload: Payload, **changes: Any) -> InferenceRequest:
    return replace(InferenceRequest('tiny', '', 'frame 7', pack(payload), NEEDED), **changes)


def test_an_answer_and_what_is_counted(manifest: Manifest) -> None:
    host, asked = Host(manifest), request(features(manifest))
    message = serialize_request(asked)
    reply = host.call('ModelInfer', Call(message))
    found = parse_response(reply, asked)
    assert found.server_ms == {'queue_ms': 1.5, 'compute_ms': 2.0}
    assert (found.kept, found.compact) == (True, True)
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(found.tensors[name], value)
    assert host.metrics.outcomes() == {'OK': 1}
    assert host.value('received_bytes_total') == len(message)
    assert host.value('sent_bytes_total') == len(reply)
    ((client, admitted, wait_s, open_calls),) = host.seen
    assert (client, admitted.payload.shape, admitted.tensors) == (
        'ipv4:1.2.3.4:5', (3, 8, 8), NEEDED,
    )  # fmt: skip
    assert wait_s == pytest.approx(30, abs=5)
    assert (open_calls, host.value('open_calls')) == (1, 0)
    host.call('ModelInfer', Call(message, remaining_s=None))
    assert host.seen[-1][2] == pytest.approx(7, abs=5)
    assert host.metrics.outcomes() == {'OK': 2}
    # Only depth is compressed with an error, and only where one is allowed.
    coarse = replace(asked, precision=0.02)
    parsed = pb.ModelInferResponse.FromString(
        host.call('ModelInfer', Call(serialize_request(coarse)))
    )
    assert [bool(output.parameters) for output in parsed.outputs] == [True, False]


def test_a_client_is_its_certificate_its_token_or_its_connection(manifest: Manifest) -> None:
    tokens = Tokens({'t' * 32: 'named', 'u' * 32: 'other'})
    message = serialize_request(request(features(manifest)))
    right = 'Bearer ' + 't' * 32
    for found, call in (
        ('named', Call(message, token=right)),
        ('other', Call(message, token='bearer ' + 'u' * 32)),
        ('robot', Call(message, token=right, certificate=b'robot')),
    ):
        host = Host(manifest, tokens)
        host.call('ModelInfer', call)
        assert host.seen[0][0] == found
    host = Host(manifest)
    host.call('ModelInfer', Call(message, certificate=b'robot'))
    host.call('ModelInfer', Call(message, peer='ipv4:1.2.3.4:6'))
    assert [seen[0] for seen in host.seen] == ['robot', 'ipv4:1.2.3.4:6']
    host = Host(manifest, tokens)
    for call in (Call(message), Call(message, token='Basic ' + 't' * 32)):
        assert host.refusal('ModelInfer', call) == (
            'UNAUTHENTICATED',
            'the token is missing or unknown; send "authorization: Bearer TOKEN"',
        )
    assert host.metrics.outcomes() == {'UNAUTHENTICATED': 2}
    named = pb.ModelMetadataRequest(name='tiny').SerializeToString()
    assert host.refusal('ModelMetadata', Call(named))[0] == 'UNAUTHENTICATED'
    assert host.call('ModelMetadata', Call(named, token=right))
    # Robots ask before they have a token whether the host is ready.
    for name in ('ServerLive', 'ServerReady', 'ModelReady', 'ServerMetadata'):
        host.call(name, Call())


def test_a_host_that_is_not_ready_says_why(manifest: Manifest) -> None:
    message = serialize_request(request(features(manifest)))

    def states(host: Host) -> tuple[bool, bool, bool]:
        named = pb.ModelReadyRequest(name='tiny').SerializeToString()
        return (
            pb.ServerLiveResponse.FromString(host.call('ServerLive', Call())).live,
            pb.ServerReadyResponse.FromString(host.call('ServerReady', Call())).ready,
            pb.ModelReadyResponse.FromString(host.call('ModelReady', Call(named))).ready,
        )

    loading, stopping, broken, ready = Host(None), Host(manifest), Host(manifest), Host(manifest)
    stopping.service.accepting = False
    broken.available = False
    for host, says in (
        (loading, 'the model is still being loaded'),
        (stopping, 'the host is starting or stopping'),
        (broken, 'no worker of the host is available; try again later'),
    ):
        assert host.refusal('ModelInfer', Call(message)) == ('UNAVAILABLE', says)
        assert host.refusal('ModelMetadata', Call()) == ('UNAVAILABLE', says)
        assert host.metrics.outcomes() == {'UNAVAILABLE': 1}
        assert host.service.ready == (host is loading)
    assert states(loading) == (True, True, False)
    assert states(stopping) == states(broken) == (True, False, False)
    assert states(ready) == (True, True, True)
    for name, version, expected in (
        ('tiny', manifest.version, True), ('tiny', '99', False), ('big', '', False),
    ):  # fmt: skip
        asked = pb.ModelReadyRequest(name=name, version=version).SerializeToString()
        reply = pb.ModelReadyResponse.FromString(ready.call('ModelReady', Call(asked)))
        assert reply.ready == expected


def test_metadata_are_whole(manifest: Manifest) -> None:
    host = Host(manifest)
    found = pb.ServerMetadataResponse.FromString(host.call('ServerMetadata', Call()))
    assert (found.name, found.version) == ('mt_perception', __version__)
    asked = pb.ModelMetadataRequest(name='tiny').SerializeToString()
    model = pb.ModelMetadataResponse.FromString(host.call('ModelMetadata', Call(asked)))
    assert (model.name, list(model.versions), model.platform) == (
        'tiny', [manifest.version], 'onnxruntime',
    )  # fmt: skip
    tensors = [(t.name, t.datatype, list(t.shape)) for t in (*model.inputs, *model.outputs)]
    assert tensors[0] == ('payload', 'UINT8', [1, -1])
    assert sorted(tensors[1:]) == [
        ('depth/depth_per_focal', 'FP32', [1, -1, -1]),
        ('detection/boxes', 'FP32', [1, -1, 4]),
        ('detection/class_ids', 'INT64', [1, -1]),
        ('detection/scores', 'FP32', [1, -1]),
        ('segmentation/class_ids', 'UINT8', [1, -1, -1]),
    ]
    other = pb.ModelMetadataRequest(name='big').SerializeToString()
    assert host.refusal('ModelMetadata', Call(other)) == (
        'NOT_FOUND', f'this host serves tiny {manifest.version}',
    )  # fmt: skip


def test_a_late_request_and_one_without_time(manifest: Manifest) -> None:
    host = Host(manifest)
    host.answers = False
    message = serialize_request(request(features(manifest)))
    for remaining_s, told in ((0.01, 10), (-1.0, 0)):
        assert host.refusal('ModelInfer', Call(message, remaining_s)) == (
            'DEADLINE_EXCEEDED', f'no result within {told} ms; the host is busy',
        )  # fmt: skip
    assert host.value('open_calls') == 0


def test_differences_refer_to_features_of_the_same_client(manifest: Manifest) -> None:
    host, key = Host(manifest), features(manifest)
    later = features(manifest, kind=DIFFERENCE, body=difference_body(key.checksum, b'more'))
    picture = features(
        manifest, kind=JPEG, rate=0, shape=(3, 64, 64),
        body=cv2.imencode('.jpg', np.zeros((64, 64, 3), np.uint8))[1].tobytes(),
    )  # fmt: skip

    def kept(payload: Payload, peer: str = 'a:1') -> bool:
        asked = request(payload)
        reply = host.call('ModelInfer', Call(serialize_request(asked), peer=peer))
        return parse_response(reply, asked).kept

    assert kept(key)
    assert not kept(later)
    assert host.seen[-1][1].reference == key
    assert not kept(picture)
    refused = host.refusal('ModelInfer', Call(serialize_request(request(later)), peer='b:1'))
    assert refused[0] == 'INVALID_ARGUMENT'
    assert 'is not stored' in refused[1]
    assert host.metrics.outcomes() == {'OK': 3, 'INVALID_ARGUMENT': 1}


# The dispatcher


class Machine:
    """A backend that returns what a test tells it to."""

    available = True

    def __init__(
        self, answer: Callable[[Sequence[Any]], list[InferenceResult]], workers: int = 2
    ) -> None:
        self.answer, self.workers = answer, workers
        self.runs: list[tuple[int, float]] = []

    async def run(self, requests: Sequence[Any], limit_s: float) -> list[InferenceResult]:
        self.runs.append((len(requests), limit_s))
        return self.answer(requests)


def dispatched(
    machine: Machine,
    use: Callable[[Dispatcher, HostMetrics], Coroutine[Any, Any, None]],
    **limits: float,
) -> None:
    async def everything() -> None:
        metrics = HostMetrics()
        backend: Any = machine
        given: Any = {'batch': 3, 'batch_wait_ms': 0.0, 'run_s': 2.0, **limits}
        dispatcher = Dispatcher(backend, HostLimits(**given), metrics)
        assert not dispatcher.available
        dispatcher.start()
        await use(dispatcher, metrics)
        await asyncio.wait_for(dispatcher.idle(), 10)
        await dispatcher.stop()
        assert not dispatcher.available

    asyncio.run(everything())


def asked(key: object = 'k') -> Any:
    return SimpleNamespace(key=key)


def value(metrics: HostMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f'mt_perception_host_{name}', labels)


def test_a_batch_its_times_and_the_error_of_one() -> None:
    bad = PayloadError('shape', 'one is bad')

    async def use(dispatcher: Dispatcher, metrics: HostMetrics) -> None:
        assert dispatcher.available
        end_s = time.monotonic() + 60
        calls = [dispatcher.complete(name, asked(), end_s) for name in 'abc']
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        assert (dispatcher.waiting, value(metrics, 'waiting'), value(metrics, 'clients')) == (
            3, 3, 3,
        )  # fmt: skip
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, Completion)
        assert isinstance(third, Completion)
        assert (first.tensors, second, third.tensors) == ({'x': 0}, bad, {'x': 2})
        assert 0 <= first.queue_s < 5
        assert 0 <= first.compute_s < 5
        assert machine.runs == [(3, 6.0)]
        assert value(metrics, 'workers') == 2
        assert value(metrics, 'batch_size_sum') == 3
        assert value(metrics, 'seconds_count', stage='queue') == 2
        assert value(metrics, 'seconds_count', stage='compute') == 2
        assert (dispatcher.waiting, value(metrics, 'clients')) == (0, 0)
        with pytest.raises(
            DeadlineExceededError, match=r'the deadline passed after \d+ ms in the queue'
        ):
            await dispatcher.complete('a', asked(), time.monotonic() - 1)
        assert len(machine.runs) == 1
        assert dispatcher.failure == ''
        machine.available = False
        assert not dispatcher.available

    machine = Machine(lambda requests: [{'x': 0}, bad, {'x': 2}])  # type: ignore[dict-item]
    dispatched(machine, use)


def failing(error: Exception) -> Callable[[Sequence[Any]], list[InferenceResult]]:
    def answer(requests: Sequence[Any]) -> list[InferenceResult]:
        raise error

    return answer


@pytest.mark.parametrize(
    ('answer', 'says', 'reported'),
    [
        (
            lambda requests: [],
            "the backend failed: RuntimeError('the backend returned 0 results for 1 requests')",
            'a worker failed: RuntimeError: the backend returned 0 results for 1 requests',
        ),
        (failing(OffloadError('lost')), 'lost', ''),
        (
            failing(ValueError('x' * 400)),
            f"the backend failed: ValueError('{'x' * 400}')",
            f'a worker failed: ValueError: {"x" * 400}'[:300],
        ),
    ],
    ids=['too few', 'known', 'unknown'],
)
def test_a_failing_backend_is_reported_for_a_minute(
    answer: Callable[[Sequence[Any]], list[InferenceResult]],
    says: str,
    reported: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(dispatching, 'time', SimpleNamespace(monotonic=lambda: now[0]))

    async def use(dispatcher: Dispatcher, metrics: HostMetrics) -> None:
        with pytest.raises(PerceptionError) as failed:
            await dispatcher.complete('a', asked(), 200.0)
        assert str(failed.value) == says
        assert dispatcher.failure == reported
        assert value(metrics, 'worker_failures_total') == bool(reported)
        now[0] = 159.0
        assert dispatcher.failure == reported
        now[0] = 160.0
        assert dispatcher.failure == ''

    dispatched(Machine(answer), use)


def test_the_deadline_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(dispatching, 'time', SimpleNamespace(monotonic=lambda: now[0]))

    async def use(dispatcher: Dispatcher, metrics: HostMetrics) -> None:
        call = asyncio.ensure_future(dispatcher.complete('a', asked(), 100.5))
        await asyncio.sleep(0)
        now[0] = 100.25
        found = await call
        assert (found.queue_s, found.compute_s) == (0.25, 0.0)
        call = asyncio.ensure_future(dispatcher.complete('a', asked(), 100.5))
        await asyncio.sleep(0)
        now[0] = 100.5
        with pytest.raises(DeadlineExceededError, match='passed after 250 ms in the queue'):
            await call

    dispatched(Machine(lambda requests: [{}] * len(requests)), use)


@pytest.mark.parametrize(('batch', 'runs'), [(3, [2]), (1, [1, 1])])
def test_a_request_waits_for_others_of_its_batch(batch: int, runs: list[int]) -> None:
    async def use(dispatcher: Dispatcher, metrics: HostMetrics) -> None:
        first = asyncio.ensure_future(dispatcher.complete('a', asked(), time.monotonic() + 60))
        await asyncio.sleep(0.02)
        assert len(machine.runs) == (batch == 1)
        await asyncio.gather(first, dispatcher.complete('b', asked(), time.monotonic() + 60))
        assert [count for count, _ in machine.runs] == runs

    machine = Machine(lambda requests: [{}] * len(requests), workers=1)
    dispatched(machine, use, batch=batch, batch_wait_ms=500)
