# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host over real sockets: what it answers, what it refuses, and in which state."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from hosts import GatedBackend, eventually, running_host
from onnx import helper
from plain_client import Robot, image, robot
from tiny_model import tiny_blocks, write_tiny_model
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from mt_perception.execution.frame_run import run_plan
from mt_perception.offload.message_limits import MAX_REQUEST_BYTES
from mt_perception.offload.protocol import serialize_request
from mt_perception.offload.split_model import RemoteModel
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan
from mt_perception.server.limits import HostLimits

Code = grpc.StatusCode


@pytest.fixture(scope='module')
def host(folder: Path) -> Any:
    with running_host(folder) as running:
        yield running


@pytest.fixture
def client(host: Any, folder: Path) -> Any:
    with robot(host.target, folder) as made:
        yield made


@pytest.mark.parametrize('rate', [0, 1, 2])
def test_the_host_makes_what_the_robot_would_make_of_the_same_symbols(
    rate: int, client: Robot, folder: Path
) -> None:
    request = client.request(image(), rate)
    found = client.ask(request)
    assert client.half is not None
    local = RemoteModel(folder)
    latent = local.latent(client.half.payload(image()[None], rate))
    expected = local.run(latent[None], local.manifest.tasks)
    assert found.tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found.tensors[name], value)
    assert found.server_ms.keys() == {'queue_ms', 'compute_ms'}
    assert all(0 <= milliseconds < 60_000 for milliseconds in found.server_ms.values())


def test_a_picture_gets_the_whole_network(client: Robot, folder: Path) -> None:
    found = client.ask(client.request_of(client.picture(image())))
    runner = Pipeline.load(folder).runner
    manifest = client.manifest
    expected = run_plan(runner, full_plan(manifest.graph, manifest.tasks), image()[None]).tensors
    assert found.tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found.tensors[name], value)


def test_a_small_reply_leads_to_the_same_detections(client: Robot) -> None:
    whole = client.ask(client.request(image(), 2))
    small = client.ask(client.request(image(), 2, min_score=0.5, precision=1e-3))
    keep = whole.tensors['detection/scores'][0] >= 0.5
    assert 0 < keep.sum() < keep.size
    for name, error in (('boxes', 1e-5), ('scores', 1e-5), ('class_ids', 0)):
        tensor = f'detection/{name}'
        expected = whole.tensors[tensor][:, keep]
        np.testing.assert_allclose(small.tensors[tensor], expected, rtol=error)
    depth = 'depth/depth_per_focal'
    np.testing.assert_allclose(small.tensors[depth], whole.tensors[depth], rtol=1.01e-3)


def test_only_what_is_asked_for_is_answered(client: Robot) -> None:
    wanted = ('segmentation/class_ids', 'detection/scores')
    assert set(client.ask(client.request(image(), tensors=wanted)).tensors) == set(wanted)


def test_frames_of_any_size_that_the_model_takes(client: Robot) -> None:
    found = client.ask(client.request(image(1, (48, 96)), 1))
    assert found.tensors['depth/depth_per_focal'].shape == (1, 6, 12)


def damaged(client: Robot, **changes: Any) -> Any:
    assert client.half is not None
    payload = client.half.payload(image()[None], 0)
    return client.request_of(dataclasses.replace(payload, **changes))


REFUSED = {
    'another model': (lambda c: c.request(image(), model='big'), Code.NOT_FOUND, 'serves tiny 1'),
    'another version': (lambda c: c.request(image(), version='2'), Code.NOT_FOUND, 'not tiny 2'),
    'other weights': (
        lambda c: damaged(c, digest=bytes(16)),
        Code.INVALID_ARGUMENT,
        'copy the same model folder',
    ),
    'another split point': (
        lambda c: damaged(c, shape=(4, 8, 8)),
        Code.INVALID_ARGUMENT,
        '4 channels',
    ),
    'size beyond the model': (
        lambda c: damaged(c, shape=(3, 8, 500)),
        Code.INVALID_ARGUMENT,
        '4000x64',
    ),
    'unknown rate': (lambda c: damaged(c, rate=9), Code.INVALID_ARGUMENT, 'no cut with rate 9'),
    'other symbols': (
        lambda c: damaged(c, body=b'\1\2\3\4'),
        Code.INVALID_ARGUMENT,
        'more bytes than',
    ),
    'a picture of another size': (
        lambda c: c.request_of(dataclasses.replace(c.picture(image()), shape=(3, 32, 32))),
        Code.INVALID_ARGUMENT,
        'its payload 32x32',
    ),
    'a picture that is none': (
        lambda c: c.request_of(dataclasses.replace(c.picture(image()), body=b'GIF89a')),
        Code.INVALID_ARGUMENT,
        'GIF',
    ),
    'unknown tensor': (
        lambda c: c.request(image(), tensors=('trunk/s8',)),
        Code.INVALID_ARGUMENT,
        "tensor 'trunk/s8' does not exist",
    ),
    'a changed byte': (
        lambda c: serialize_request(c.request(image()))[:-1] + b'\xa5',
        Code.INVALID_ARGUMENT,
        'checksum',
    ),
    'no message at all': (lambda c: b'', Code.INVALID_ARGUMENT, 'expected one input'),
}


@pytest.mark.parametrize('fault', REFUSED)
def test_what_is_wrong_is_named_and_the_next_request_works(fault: str, client: Robot) -> None:
    make, expected, sentence = REFUSED[fault]
    status, found = client.refused(make(client))
    assert status == expected
    assert sentence in found
    assert client.ask(client.request(image())).tensors


def test_a_compressed_request_is_not_inflated(client: Robot) -> None:
    """What has 64 kB on the link could be a gigabyte in memory; row 58 of the faults."""
    status, sentence = client.refused(bytes(1 << 26), compression=grpc.Compression.Gzip)
    assert status == Code.INVALID_ARGUMENT
    assert 'at byte' in sentence, 'it looked at the compressed bytes'


def test_a_request_that_is_too_large_is_not_read(client: Robot) -> None:
    status, sentence = client.refused(bytes(MAX_REQUEST_BYTES + 1))
    assert status == Code.RESOURCE_EXHAUSTED
    assert 'larger than max' in sentence


def test_a_network_that_gives_nan_gives_an_error(tmp_path: Path) -> None:
    """Row 66 of the faults."""
    broken = _with_nan(tiny_blocks()['depth'])
    folder = write_tiny_model(tmp_path / 'nan', replace={'depth': broken})
    with running_host(folder) as running, robot(running.target, folder) as client:
        status, sentence = client.refused(client.request(image()))
        assert (status, 'not finite' in sentence) == (Code.INTERNAL, True)
        wanted = ('segmentation/class_ids',)
        assert client.ask(client.request(image(), tensors=wanted)).tensors


def _with_nan(proto: Any) -> Any:
    """The same graph, whose output is multiplied with nothing and divided by it."""
    graph = proto.graph
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = ['before' if name == output.name else name for name in node.output]
    graph.node.append(helper.make_node('Sub', ['before', 'before'], ['nothing']))
    graph.node.append(helper.make_node('Div', ['nothing', 'nothing'], [output.name]))
    return proto


def test_live_ready_and_model_ready_differ_while_loading(folder: Path) -> None:
    """Row 67 of the faults."""
    backend = GatedBackend(folder)
    with (
        running_host(folder, backend, wait_ready=False) as running,
        robot(running.target, folder) as client,
    ):
        stub = GRPCInferenceServiceStub(client.channel)
        health = client.channel.unary_unary('/grpc.health.v1.Health/Check')

        def states() -> tuple[bool, bool, bool, bytes]:
            name = pb.ModelReadyRequest(name='tiny')
            return (
                stub.ServerLive(pb.ServerLiveRequest()).live,
                stub.ServerReady(pb.ServerReadyRequest()).ready,
                stub.ModelReady(name).ready,
                health(b''),
            )

        assert states() == (True, False, False, b'\x08\x02')
        status, sentence = client.refused(client.request(image()))
        assert (status, sentence) == (Code.UNAVAILABLE, 'the model is still being loaded')
        backend.may_load.set()
        backend.may_run.set()
        assert eventually(lambda: running.host.ready)
        assert states() == (True, True, True, b'\x08\x01')
        assert not stub.ModelReady(pb.ModelReadyRequest(name='big')).ready
        assert not stub.ModelReady(pb.ModelReadyRequest(name='tiny', version='7')).ready
        assert client.ask(client.request(image())).tensors


def test_metadata_name_the_tensors(client: Robot) -> None:
    stub = GRPCInferenceServiceStub(client.channel)
    server = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert server.name == 'mt_perception'
    found = stub.ModelMetadata(pb.ModelMetadataRequest(name='tiny'))
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [
        ('payload', 'UINT8', [1, -1])
    ]
    assert {(t.name, t.datatype, tuple(t.shape)) for t in found.outputs} == {
        ('detection/boxes', 'FP32', (1, -1, 4)),
        ('detection/scores', 'FP32', (1, -1)),
        ('detection/class_ids', 'INT64', (1, -1)),
        ('segmentation/class_ids', 'UINT8', (1, -1, -1)),
        ('depth/depth_per_focal', 'FP32', (1, -1, -1)),
    }
    answer = client.ask(client.request(image()))
    for tensor in found.outputs:
        value = answer.tensors[tensor.name]
        assert value.ndim == len(tensor.shape)
        assert all(
            said in (-1, size) for said, size in zip(tensor.shape, value.shape, strict=True)
        )
    with pytest.raises(grpc.RpcError, match='this host serves tiny 1'):
        stub.ModelMetadata(pb.ModelMetadataRequest(name='big'))
    with pytest.raises(grpc.RpcError, match='UNIMPLEMENTED'):
        stub.RepositoryIndex(pb.RepositoryIndexRequest())


def test_broken_small_messages_are_refused(client: Robot) -> None:
    for method in ('ServerLive', 'ModelReady', 'ModelMetadata'):
        call = client.channel.unary_unary(f'/inference.GRPCInferenceService/{method}')
        for message in (b'\xff', bytes(100_000), b'\x0a\x7f'):
            with pytest.raises(grpc.RpcError) as refused:
                call(message)
            assert refused.value.code() == Code.INVALID_ARGUMENT
            assert f'no {method}Request' in refused.value.details()


def test_frames_of_several_robots_become_one_batch(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    limits = HostLimits(batch=8, batch_wait_ms=0)
    with running_host(folder, backend, limits=limits) as running:
        robots = [Robot(running.target, folder) for _ in range(5)]
        requests = [
            r.request(image(i, (64, 64) if i < 4 else (32, 64)), request_id=str(i))
            for i, r in enumerate(robots)
        ]
        with ThreadPoolExecutor(6) as pool:
            first = pool.submit(robots[0].ask, requests[0])
            assert backend.started.wait(30)
            others = [
                pool.submit(r.ask, request)
                for r, request in zip(robots[1:], requests[1:], strict=True)
            ]
            assert eventually(lambda: running.host.waiting == 4)
            backend.may_run.set()
            answers = [future.result() for future in (first, *others)]
        assert [len(batch) for batch in backend.ran] in ([1, 3, 1], [1, 1, 3])
        for r, request, answer in zip(robots, requests, answers, strict=True):
            alone = r.ask(request)
            for name, value in alone.tensors.items():
                np.testing.assert_allclose(answer.tensors[name], value, atol=1e-5)
            r.close()


def test_one_bad_frame_does_not_spoil_a_batch(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    with running_host(folder, backend, limits=HostLimits(batch=8, batch_wait_ms=0)) as running:
        first, good, bad = (Robot(running.target, folder) for _ in range(3))
        with ThreadPoolExecutor(3) as pool:
            started = pool.submit(first.ask, first.request(image()))
            assert backend.started.wait(30)
            refused = pool.submit(bad.refused, damaged(bad, body=b'\x01\x02\x03\x04'))
            answered = pool.submit(good.ask, good.request(image()))
            assert eventually(lambda: running.host.waiting == 2)
            backend.may_run.set()
            assert refused.result()[0] == Code.INVALID_ARGUMENT
            assert answered.result().tensors
            assert started.result().tensors
        assert len(backend.ran[1]) == 2
        for each in (first, good, bad):
            each.close()


def test_a_frame_that_is_too_late_is_not_computed(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    with running_host(folder, backend) as running, robot(running.target, folder) as client:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(client.ask, client.request(image(), request_id='first'))
            assert backend.started.wait(30)
            late = client.request(image(), request_id='late')
            status, _ = client.refused(late, timeout=0.2)
            assert status == Code.DEADLINE_EXCEEDED
            assert eventually(lambda: running.host.waiting == 0)
            backend.may_run.set()
            assert first.result().tensors
        assert client.ask(client.request(image(), request_id='next')).tensors
        assert backend.ran == [['first'], ['next']]


def test_a_cancelled_frame_is_not_computed(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    with running_host(folder, backend) as running, robot(running.target, folder) as client:

        def begin(name: str) -> Any:
            return client.infer.future(serialize_request(client.request(image(), request_id=name)))

        first = begin('first')
        assert backend.started.wait(30)
        stale = begin('stale')
        assert eventually(lambda: running.host.waiting == 1)
        stale.cancel()
        assert eventually(lambda: running.host.waiting == 0)
        backend.may_run.set()
        assert first.result()
        assert client.ask(client.request(image(), request_id='next')).tensors
        assert backend.ran == [['first'], ['next']]
        assert eventually(lambda: running.outcomes().get('CANCELLED') == 1)


def test_without_a_deadline_the_host_sets_one(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    limits = HostLimits(answer_s=0.1)
    with (
        running_host(folder, backend, limits=limits) as running,
        robot(running.target, folder) as client,
    ):
        status, sentence = client.refused(client.request(image()), timeout=None)
        assert status == Code.DEADLINE_EXCEEDED
        assert 'the host is busy' in sentence
        backend.may_run.set()
