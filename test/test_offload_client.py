# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The client against hosts that behave and hosts that do not: every frame has its results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hosts import running_host
from odd_host import OddHost
from offload_faults import connected
from tiny_cut import write_tiny_cut
from tiny_model import write_tiny_model
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ModelError
from mt_perception.execution.options import Options
from mt_perception.offload.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerSettings,
)
from mt_perception.offload.client import OffloadClient, offload
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.inference_client import InferenceClient
from mt_perception.offload.link_estimate import LinkState
from mt_perception.offload.settings import OffloadSettings
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame, Result

COLOURS = {'red': (0, 0, 255), 'green': (0, 255, 0), 'blue': (255, 0, 0)}

PATIENCE_MS = 20_000.0
"""A deadline that no machine misses, where a test is not about deadlines."""
MINUTE_MS = 60_000.0


@pytest.fixture
def odd(folder: Path) -> Iterator[OddHost]:
    with OddHost(folder) as host:
        yield host


def patch(colour: str) -> np.ndarray:
    """A grey image with a coloured square, for the model that sees colours."""
    image = np.full((96, 128, 3), 128, np.uint8)
    image[32:64, 48:80] = COLOURS[colour]
    return image


@contextmanager
def robot(
    folder: Path,
    address: str,
    mode: str = 'always',
    deadline_ms: float = PATIENCE_MS,
    wait: bool = True,
    **breaker: Any,
) -> Iterator[tuple[Pipeline, OffloadClient]]:
    """A pipeline that has seen one frame, and its client."""
    limits = CircuitBreakerSettings(**{'failures': 1000, **breaker})
    with connected(folder, [address], deadline_ms, mode, limits, int(wait)) as (pipeline, client):
        pipeline.run(Frame(patch('red')))
        yield pipeline, client


def same(a: Result, b: Result, steps: float = 0.0) -> None:
    """Two results agree to what precision allows; depth may differ by so many metres."""
    assert a.detections is not None
    assert b.detections is not None
    assert a.depth is not None
    assert b.depth is not None
    assert a.segmentation is not None
    assert b.segmentation is not None
    np.testing.assert_array_equal(a.detections.class_ids, b.detections.class_ids)
    np.testing.assert_allclose(a.detections.boxes, b.detections.boxes, rtol=2e-4, atol=1e-3)
    np.testing.assert_array_equal(a.segmentation.class_ids, b.segmentation.class_ids)
    np.testing.assert_allclose(a.depth.depth, b.depth.depth, rtol=3e-2, atol=steps)


def facts(result: Result) -> dict[str, Any]:
    return result.execution.values()


def test_a_frame_finished_by_the_host_is_as_good(folder: Path) -> None:
    with (
        running_host(folder) as host,
        robot(folder, host.target) as (pipeline, client),
    ):
        for colour in ('red', 'blue', 'green'):
            frame = Frame(patch(colour), 7, 'camera')
            here = Pipeline.load(folder).run(frame)
            there = pipeline.run(frame)
            same(here, there, steps=0.01)
            assert there.stamp_ns == 7
            assert not there.failures
            assert facts(there)['offload.remote'] is True
            assert facts(there)['offload.local_run'] is False
            assert facts(there)['offload.payload_bytes'] > 40
            report = there.execution.offload
            assert 0 < report.encode_ms < MINUTE_MS
            assert MINUTE_MS > report.reply_ms >= report.server_ms['compute'] > 0
            assert 0 <= report.server_ms['queue'] < MINUTE_MS
        assert client.frames_remote == 3
        assert client.frames_local == 1


def test_the_host_gets_the_frames_stamp_and_is_asked_for_what_is_wanted(
    folder: Path, odd: OddHost
) -> None:
    with robot(folder, odd.address) as (pipeline, _):
        pipeline.run(Frame(patch('red')), ['depth'])
        result = pipeline.run(Frame(patch('red')), ['depth'])
        assert odd.requests[-1].tensors == ('depth/depth_per_focal',)
        assert result.depth is not None
        assert result.detections is None
        pipeline.options = Options(score_threshold=0.7)
        pipeline.run(Frame(patch('red')))
        assert odd.requests[-1].min_score == 0.7
        ids = [request.request_id for request in odd.requests]
        assert len(set(ids)) == len(ids)


@pytest.fixture
def slow_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Robots request what they request on a link of 1 Mbit/s."""
    monkeypatch.setattr(LinkState, 'precision', property(lambda self: 0.03))


@pytest.mark.usefixtures('slow_link')
def test_a_slow_link_carries_compact_responses(folder: Path) -> None:
    frame = Frame(patch('red'))
    with running_host(folder) as host, robot(folder, host.target) as (pipeline, client):
        here = Pipeline.load(folder).run(frame)
        for _ in range(3):
            there = pipeline.run(frame)
            same(here, there, steps=0.1)
            assert facts(there)['offload.remote'] is True
        assert client.hosts.preferred.failures == {}
        pipeline.run(frame, ['depth'])
        depth = pipeline.run(frame, ['depth'])
        assert depth.depth is not None
        assert depth.execution.offload.remote


@pytest.mark.usefixtures('slow_link')
def test_only_hosts_with_the_compact_form_are_asked_for_it(folder: Path, odd: OddHost) -> None:
    def without(reply: pb.ModelInferResponse) -> pb.ModelInferResponse:
        reply.parameters.pop('compact', None)
        return reply

    with robot(folder, odd.address) as (pipeline, client):
        odd.bend = without
        for _ in range(3):
            assert facts(pipeline.run(Frame(patch('red'))))['offload.remote'] is True
        assert [request.compact for request in odd.requests] == [False] * 3
        odd.bend = lambda reply: reply
        for _ in range(3):
            assert facts(pipeline.run(Frame(patch('red'))))['offload.remote'] is True
        assert [request.compact for request in odd.requests[3:]] == [False, True, True]
        # A host that fails may have been replaced by an older one.
        odd.code = grpc.StatusCode.INVALID_ARGUMENT
        pipeline.run(Frame(patch('red')))
        odd.code = None
        pipeline.run(Frame(patch('red')))
        assert [request.compact for request in odd.requests[6:]] == [True, False]
        assert client.frames_remote == 7


def test_a_fast_link_carries_plain_responses(
    folder: Path, odd: OddHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LinkState, 'precision', property(lambda self: 0.01))
    with robot(folder, odd.address) as (pipeline, _):
        for _ in range(3):
            assert facts(pipeline.run(Frame(patch('red'))))['offload.remote'] is True
        assert [request.compact for request in odd.requests] == [False] * 3


def test_names_are_sent_only_for_a_part_of_the_tensors(folder: Path, odd: OddHost) -> None:
    with robot(folder, odd.address) as (pipeline, _):
        pipeline.run(Frame(patch('red')))
        pipeline.run(Frame(patch('red')), ['depth'])
        pipeline.run(Frame(patch('red')), ['depth'])
        assert odd.requests[0].tensors == ()
        assert odd.requests[-1].tensors == ('depth/depth_per_focal',)


def test_what_the_robot_did_is_counted(folder: Path, odd: OddHost) -> None:
    with robot(folder, odd.address) as (pipeline, client):
        remote = pipeline.run(Frame(patch('red'))).execution
        assert remote.blocks == ('encoder',)
        assert (
            0
            < remote.macs
            == pipeline.manifest.macs_at(client._encoder.cut.encoder.macs, remote.network_size)
        )
        odd.code = grpc.StatusCode.INTERNAL
        both = pipeline.run(Frame(patch('red'))).execution
        assert both.blocks[0] == 'encoder'
        assert set(both.blocks[1:]) == {'trunk', 'detection', 'segmentation', 'depth'}


def test_a_conditional_task_is_left_out_by_what_the_host_found(folder: Path, odd: OddHost) -> None:
    with robot(folder, odd.address) as (pipeline, _):
        pipeline.options = Options(conditions=('depth if detection finds blue',))
        for colour, served in (('red', False), ('blue', True)):
            pipeline.run(Frame(patch(colour)))
            result = pipeline.run(Frame(patch(colour)))
            assert facts(result)['offload.remote'] is True
            assert (result.depth is not None) is served
            assert not result.failures


Bent = Callable[[pb.ModelInferResponse], Any]


def changed(**fields: str) -> Bent:
    def bend(reply: pb.ModelInferResponse) -> pb.ModelInferResponse:
        for name, value in fields.items():
            setattr(reply, name, value)
        return reply

    return bend


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Bent:
    """Change one output of a reply, and its shape and type with it."""

    def bend(reply: pb.ModelInferResponse) -> pb.ModelInferResponse:
        kinds = {'FP32': np.float32, 'INT64': np.int64, 'UINT8': np.uint8, 'UINT16': np.uint16}
        for i, output in enumerate(reply.outputs):
            if output.name == name:
                raw = reply.raw_output_contents[i]
                value = np.frombuffer(raw, kinds[output.datatype]).reshape(tuple(output.shape))
                made = change(value.copy())
                named = {np.dtype(kind): name for name, kind in kinds.items()}
                output.datatype = named[made.dtype]
                del output.shape[:]
                output.shape.extend(made.shape)
                reply.raw_output_contents[i] = made.tobytes()
        return reply

    return bend


def without_an_output(reply: pb.ModelInferResponse) -> pb.ModelInferResponse:
    del reply.outputs[0]
    del reply.raw_output_contents[0]
    return reply


def depth_step(value: float) -> Bent:
    def bend(reply: pb.ModelInferResponse) -> pb.ModelInferResponse:
        for output in reply.outputs:
            if 'depth_step' in output.parameters:
                output.parameters['depth_step'].double_param = value
        return reply

    return bend


def filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.full_like(array, value)


BENT: dict[str, Bent] = {
    'another id': changed(id='somebody-elses'),
    'no id': changed(id=''),
    'another model': changed(model_name='foreign'),
    'no reply': lambda reply: b'',
    'noise': lambda reply: bytes(range(256)) * 20,
    'truncated': lambda reply: reply.SerializeToString()[:-3],
    'an output is missing': without_an_output,
    'scores that are no numbers': tensor('detection/scores', filled(np.nan)),
    'infinite boxes': tensor('detection/boxes', filled(np.inf)),
    'classes without a label': tensor('detection/class_ids', filled(99)),
    'segments without a label': tensor('segmentation/class_ids', filled(77)),
    'fewer scores than boxes': tensor('detection/scores', lambda a: a[:, 1:]),
    'boxes of three numbers': tensor('detection/boxes', lambda a: a[..., :3]),
    'a map of four axes': tensor('segmentation/class_ids', lambda a: a[None]),
    'a map without pixels': tensor('segmentation/class_ids', lambda a: a[:, :0]),
    'a map larger than the image': tensor(
        'segmentation/class_ids', lambda a: np.zeros((1, 4000, 4000), np.uint8)
    ),
    'depth of another type': tensor('depth/depth_per_focal', lambda a: a.astype(np.float32)),
    'depth of an impossible step': depth_step(-1.0),
    'infinite depth': depth_step(0.99999),
}


@pytest.mark.parametrize('how', BENT)
def test_a_reply_that_is_not_one_is_replaced_by_a_local_result(
    how: str, folder: Path, odd: OddHost
) -> None:
    if how == 'infinite depth':
        # Steps up to 65535 of 1 each are e^65535.
        odd.bend = _high_steps
    else:
        odd.bend = BENT[how]
    with robot(folder, odd.address) as (pipeline, client):
        frame = Frame(patch('blue'))
        result = pipeline.run(frame)
        assert odd.requests, 'it was never asked'
        same(Pipeline.load(folder).run(frame), result)
        assert facts(result)['offload.remote'] is False
        assert facts(result)['offload.failure'] == 'bad_reply'
        assert client.hosts.preferred.failures['bad_reply'] == 1
        assert not result.failures
        # The next good one is taken.
        odd.bend = lambda reply: reply
        assert facts(pipeline.run(frame))['offload.remote'] is True


def _high_steps(reply: pb.ModelInferResponse) -> pb.ModelInferResponse:
    return depth_step(0.999)(
        tensor('depth/depth_per_focal', lambda a: np.full(a.shape, 30_000, np.uint16))(reply)
    )


def test_the_reply_to_an_earlier_frame_is_not_taken_for_this_one(
    folder: Path, odd: OddHost
) -> None:
    """Duplicates, and replies in another order than the requests (FAULTS 55)."""
    kept: list[pb.ModelInferResponse] = []

    def bend(reply: pb.ModelInferResponse) -> pb.ModelInferResponse:
        kept.append(reply)
        return kept[max(0, len(kept) - 2)]

    odd.bend = bend
    with robot(folder, odd.address) as (pipeline, client):
        for colour in ('red', 'blue', 'green', 'blue'):
            frame = Frame(patch(colour))
            same(Pipeline.load(folder).run(frame), pipeline.run(frame), steps=0.01)
        assert client.frames_remote == 1
        assert client.hosts.preferred.failures['bad_reply'] == 3


def test_a_late_reply_is_thrown_away_and_the_local_result_given(
    folder: Path, odd: OddHost
) -> None:
    with robot(folder, odd.address, deadline_ms=400) as (pipeline, _):
        odd.held.clear()
        late = pipeline.run(Frame(patch('red')))
        assert facts(late)['offload.remote'] is False
        assert facts(late)['offload.local_run'] is True
        assert facts(late)['offload.failure'] == 'late'
        same(Pipeline.load(folder).run(Frame(patch('red'))), late)
        odd.held.set()
        for colour in ('blue', 'green'):
            frame = Frame(patch(colour))
            same(Pipeline.load(folder).run(frame), pipeline.run(frame), steps=0.01)


def test_a_reply_that_comes_while_the_local_run_is_on_is_taken(folder: Path, odd: OddHost) -> None:
    class SlowRunner:
        """It takes half a second, in which the host answers."""

        def __init__(self, runner: Any) -> None:
            self.runner = runner

        def run(self, stage: Any, run: Any) -> None:
            odd.held.set()
            time.sleep(0.5)
            self.runner.run(stage, run)

    with robot(folder, odd.address, deadline_ms=3000) as (pipeline, client):
        client._local = SlowRunner(client._local)
        pipeline.run(Frame(patch('red')), ['depth'])
        odd.held.clear()
        result = pipeline.run(Frame(patch('red')), ['depth'])
        assert facts(result)['offload.local_run'] is True
        assert facts(result)['offload.remote'] is True


@pytest.mark.parametrize(
    ('code', 'reason'),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 'unauthenticated'),
        (grpc.StatusCode.NOT_FOUND, 'no_model'),
        (grpc.StatusCode.INVALID_ARGUMENT, 'rejected'),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 'overloaded'),
        (grpc.StatusCode.UNAVAILABLE, 'unavailable'),
        (grpc.StatusCode.INTERNAL, 'internal'),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 'late'),
    ],
)
def test_a_host_that_refuses(
    code: grpc.StatusCode, reason: str, folder: Path, odd: OddHost
) -> None:
    odd.code = code
    with robot(folder, odd.address) as (pipeline, client):
        result = pipeline.run(Frame(patch('green')))
        same(Pipeline.load(folder).run(Frame(patch('green'))), result)
        assert facts(result)['offload.failure'] == reason
        assert client.hosts.preferred.last_failure is not None
        assert odd.address in client.hosts.preferred.last_failure.sentence


def test_the_breaker_spares_a_failing_host_and_comes_back(folder: Path, odd: OddHost) -> None:
    odd.code = grpc.StatusCode.INTERNAL
    with robot(folder, odd.address, failures=3, first_s=0.3) as (pipeline, client):
        frame = Frame(patch('red'))
        for _ in range(3):
            pipeline.run(frame)
        assert client.hosts.preferred.breaker.state is BreakerState.OPEN
        asked = len(odd.requests)
        result = pipeline.run(frame)
        assert len(odd.requests) == asked == 3
        assert facts(result)['offload.reason'] == 'breaker_open'
        assert facts(result)['offload.breaker'] == 'open'
        # As long as the model is not ready not even one frame is risked.
        odd.ready = False
        until(lambda: pipeline.run(frame) and client.hosts.preferred.failures['not_ready'] > 0)
        assert len(odd.requests) == asked
        odd.ready, odd.code = True, None
        until(lambda: facts(pipeline.run(frame))['offload.remote'])
        assert client.hosts.preferred.breaker.state is BreakerState.CLOSED


def test_a_trial_that_fails_opens_it_again(folder: Path, odd: OddHost) -> None:
    odd.code = grpc.StatusCode.INTERNAL
    with robot(folder, odd.address, failures=1, first_s=0.05) as (pipeline, client):
        frame = Frame(patch('red'))
        until(lambda: pipeline.run(frame) and len(odd.requests) >= 3)
        assert client.hosts.preferred.breaker.state is BreakerState.OPEN
        assert client.hosts.preferred.failures['internal'] == len(odd.requests)


def test_what_is_given_up_does_not_pile_up(folder: Path, odd: OddHost) -> None:
    """In-flight requests are bounded, whatever becomes of them (FAULTS 62)."""
    with robot(folder, odd.address, deadline_ms=150) as (pipeline, client):
        odd.held.clear()
        threads = threading.active_count()
        most = 0
        for _ in range(30):
            pipeline.run(Frame(patch('red')))
            most = max(most, client.hosts.preferred.in_flight)
        assert most <= 4
        # The host's own threads are in this process, too; it has 32.
        assert threading.active_count() <= threads + 32


def test_a_fifth_request_waits_for_one_to_end(folder: Path, odd: OddHost) -> None:
    with robot(folder, odd.address) as (pipeline, client):
        pipeline.run(Frame(patch('red')))
        host, request = client.hosts.preferred, odd.requests[-1]
        odd.held.clear()
        for _ in range(4):
            assert not host.unavailable(time.monotonic())
            host.send(request, 30.0)
        assert host.unavailable(time.monotonic()) == 'in_flight'
        odd.held.set()
        until(lambda: not host.unavailable(time.monotonic()))


def test_never_does_not_even_connect(folder: Path, odd: OddHost) -> None:
    with robot(folder, odd.address, mode='never', wait=False) as (pipeline, client):
        for _ in range(5):
            result = pipeline.run(Frame(patch('red')))
            assert facts(result)['offload.reason'] == 'never'
            report = result.execution.offload
            assert report is not None
            assert (report.remote, report.failure, report.rate) == (False, None, None)
        assert not odd.requests
        assert not odd.pings
        assert client.frames_local == 6


def test_auto_sends_where_the_host_is_more_accurate(tmp_path: Path) -> None:
    def accurate(manifest: dict[str, Any]) -> None:
        rows = ('detection', 0.3), ('segmentation', 0.4), ('depth', 0.1)
        manifest['accuracy'] = [
            {'task': task, 'metric': 'm', 'value': value, 'data': 'd'} for task, value in rows
        ]
        better = {'detection': 0.33, 'segmentation': 0.44, 'depth': 0.09}
        for rate in manifest['cut']['rates']:
            rate['accuracy'] = better

    folder = write_tiny_cut(tmp_path / 'tiny', edit=accurate)
    with (
        running_host(folder) as host,
        robot(folder, host.target, mode='auto') as (pipeline, client),
    ):
        frame = Frame(patch('red'))
        until(lambda: facts(pipeline.run(frame))['offload.reason'] == 'remote')
        assert facts(pipeline.run(frame))['offload.remote'] is True
        # Accuracy may take its time, but not more than there is.
        client.settings = replace(client.settings, deadline_ms=0.5)
        assert facts(pipeline.run(frame))['offload.remote'] is False


def test_auto_stays_here_where_the_host_is_no_better(folder: Path) -> None:
    with (
        running_host(folder) as host,
        robot(folder, host.target, mode='auto') as (pipeline, client),
    ):
        frame = Frame(patch('red'))
        reasons = [facts(pipeline.run(frame))['offload.reason'] for _ in range(40)]
        # This network takes less time than a round trip.
        assert reasons[-1] in {'local_is_better', 'not_steady'}
        assert client.frames_remote <= 3


def test_a_model_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / 'tiny')
    pipeline = Pipeline.load(folder)
    with pytest.raises(ModelError, match='cut'):
        offload(pipeline, OffloadSettings([Endpoint('127.0.0.1:8001')]))


def test_addresses_are_enough_and_leaving_returns_to_local_runs(folder: Path) -> None:
    pipeline = Pipeline.load(folder)
    local = pipeline.runner
    with running_host(folder) as host, offload(pipeline, [host.target]) as client:
        assert client.hosts.wait_ready(60)
        assert pipeline.runner is client
        assert pipeline.run(patch('red')).execution.offload is not None
    assert pipeline.runner is local
    assert pipeline.run(patch('red')).execution.offload is None


def test_a_broken_encoder_costs_no_frame(folder: Path, odd: OddHost) -> None:
    with robot(folder, odd.address) as (pipeline, client):

        def broken(*arguments: Any) -> Any:
            raise RuntimeError('it does not fit into memory')

        client._key_frames.payload = broken  # type: ignore[method-assign, union-attr]
        result = pipeline.run(Frame(patch('red')))
        assert not result.failures
        assert 'memory' in facts(result)['offload.failure']


def test_closing_ends_what_is_on_its_way(folder: Path, odd: OddHost) -> None:
    with robot(folder, odd.address, deadline_ms=100) as (pipeline, client):
        odd.held.clear()
        pipeline.run(Frame(patch('red')))
        client.close()
        until(lambda: not client.hosts.preferred.in_flight)


def test_a_host_that_is_alive_is_not_yet_ready(folder: Path) -> None:
    with OddHost(folder) as host:
        host.ready = False
        client = InferenceClient(Endpoint(host.address), 'tiny', CircuitBreaker())
        assert not client.wait_ready(0.5)
        host.ready = True
        assert client.wait_ready(60)
        client.close()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, 'it never came to pass'
        time.sleep(0.01)
