# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Requests to hosts by a clock of our own: pings, trials, late and hedged requests."""

from __future__ import annotations

import zlib
from typing import Any

import grpc
import numpy as np
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "offload"')
from offload_clock import BREAKER, READY, REPLY, REQUEST, VALUES, Refusal, World
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ProtocolError
from mt_perception.offload.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
)
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.failures import Failure
from mt_perception.offload.host_pool import HedgedRequest, HostPool
from mt_perception.offload.inference_client import InferenceCall, InferenceClient
from mt_perception.offload.protocol import (
    COMPACT,
    InferenceRequest,
    InferenceResponse,
    serialize_response,
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def client_of(world: World, ready: bool = True) -> InferenceClient:
    made = InferenceClient(Endpoint('a:1'), 'tiny', CircuitBreaker(BREAKER))
    if ready:
        assert made.unavailable(world.now_s) == 'not_connected'
        world.pings()[0].finish(READY)
        assert made.unavailable(world.now_s) == ''
    return made


def answered(world: World, client: InferenceClient, after_s: float, **changes: Any) -> None:
    """A request whose response arrives after this time, and is used."""
    call = client.send(REQUEST, 1.0)
    world.now_s += after_s
    world.sent()[-1].finish(**changes)
    assert isinstance(client.result(call), InferenceResponse)
    client.confirm()


def test_pings_open_the_way_and_measure_it_once_a_second(world: World) -> None:
    client = client_of(world, ready=False)
    assert [client.unavailable(1000.0) for _ in range(2)] == ['not_connected'] * 2
    (ping,) = world.pings()
    assert pb.ModelReadyRequest.FromString(ping.message).name == 'tiny'
    assert (ping.timeout, ping.metadata) == (2.0, (('k', 'v'),))
    world.now_s = 1000.25
    ping.finish(READY)
    assert client.unavailable(1000.25) == ''
    assert np.isnan(client.link_state(1000.25).round_trip_s), 'it also connected'
    assert client.unavailable(1000.999) == ''
    assert len(world.pings()) == 1
    world.now_s = 1001.0
    assert client.unavailable(1001.0) == ''
    world.now_s = 1001.0625
    world.pings()[1].finish(READY)
    assert client.unavailable(1001.0625) == ''
    assert client.link_state(1001.1).round_trip_s == pytest.approx(0.0625)
    assert not client.failures
    assert not client.on_trial


def test_a_host_that_fails_is_tried_by_a_ping_and_then_by_a_frame(world: World) -> None:
    client = client_of(world, ready=False)
    for number, (expected, why) in enumerate(
        (
            ('not_connected', 'it is loading a model, starting or stopping'),
            ('breaker_open', 'no worker'),
        )
    ):
        client.unavailable(world.now_s)
        world.pings()[number].finish(pb.ModelReadyResponse().SerializeToString())
        (question,) = world.calls['a', 'ModelMetadata'][number:]
        assert (question.timeout, question.metadata) == (2.0, (('k', 'v'),))
        assert pb.ModelMetadataRequest.FromString(question.message).name == 'tiny'
        question.finish(Refusal(grpc.StatusCode.UNAVAILABLE, 'no worker') if number else b'')
        world.now_s += 1.0
        found = client.unavailable(world.now_s - 0.75)
        assert found == expected
        assert client.last_failure == Failure('not_ready', f'remote host a:1 is not ready: {why}')
    assert client.failures == {'not_ready': 2}
    opened_s = world.now_s - 1.0
    assert client.breaker.state is BreakerState.OPEN
    assert client.unavailable(opened_s + 0.99) == 'breaker_open'
    assert len(world.pings()) == 2
    for _ in range(2):
        assert client.unavailable(opened_s + 1.0) == 'breaker_open'
    assert len(world.pings()) == 3
    world.pings()[2].finish(READY)
    assert client.unavailable(opened_s + 1.1) == ''
    assert client.on_trial
    world.now_s = opened_s + 2
    answered(world, client, 0.125)
    assert (client.on_trial, client.breaker.state) == (False, BreakerState.CLOSED)
    assert client.unavailable(world.now_s) == ''


@pytest.mark.parametrize(
    ('outcome', 'reason'),
    [
        (grpc.FutureCancelledError(), 'late'),
        (b'\xff', 'bad_reply'),
        (ValueError('what gRPC makes of it'), 'bad_reply'),
    ],
)
def test_a_ping_or_an_answer_that_is_none(
    outcome: bytes | Exception, reason: str, world: World
) -> None:
    client = client_of(world)
    call = client.send(REQUEST, 1.0)
    world.sent()[0].finish(outcome)
    found = client.result(call)
    assert isinstance(found, Failure)
    assert (found.reason, client.last_failure) == (reason, found)
    assert client.failures == {reason: 1}
    assert client.breaker.failures == 1
    world.now_s += 1
    client.unavailable(world.now_s)
    world.pings()[1].finish(outcome)
    assert client.unavailable(world.now_s) == 'breaker_open'
    assert client.failures == {reason: 2}


def test_requests_are_counted_until_they_end(world: World) -> None:
    client, ended = client_of(world), []
    calls = [client.send(REQUEST, 0.5, lambda: ended.append(1)) for _ in range(3)]
    assert (client.in_flight, client.unavailable(world.now_s)) == (3, '')
    calls.append(client.send(REQUEST, 0.5))
    assert (client.in_flight, client.unavailable(world.now_s)) == (4, 'in_flight')
    first = world.sent()[0]
    assert (first.timeout, first.metadata) == (0.5, (('k', 'v'),))
    assert calls[0].size == len(first.message)
    assert not calls[0].done
    assert not calls[0].wait(-1.0)
    world.now_s += 0.25
    first.finish()
    assert calls[0].done
    assert calls[0].wait(0.0)
    assert (calls[0].sent_s, calls[0].done_s, ended) == (1000.0, 1000.25, [1])
    assert (client.in_flight, client.unavailable(world.now_s)) == (3, '')
    client.close()
    assert [future.was_cancelled for future in world.sent()] == [False, True, True, True]
    assert world.closed == ['a']


def test_what_is_learnt_of_answers(world: World) -> None:
    client = client_of(world)
    assert client.reply_bytes == 0
    deflated = len(zlib.compress(REPLY, 1))
    times = (0.5, 0.25, 0.125, 0.75, 0.375, 1.0, 0.625, 0.875, 1.5, 1.25)
    for number, seconds in enumerate(times, 1):
        answered(world, client, seconds)
        assert client.reply_bytes == pytest.approx(min(len(REPLY), deflated))
        ordered = sorted(times[:number])
        late_s = ordered[-(-9 * number // 10) - 1] if number >= 5 else 0.1
        assert client.late_after_s == late_s
    state = client.link_state(world.now_s)
    assert state.age_s == 0
    assert state.remote_s == pytest.approx(0.004)
    assert state.failure_rate == 0
    for _ in range(6):
        answered(world, client, 0.25, outcome=serialize_response(
            REQUEST, InferenceResponse({'a': np.random.default_rng(0).random((1, 99))
                                        .astype(np.float32)})))  # fmt: skip
    assert client.reply_bytes == pytest.approx(min(len(REPLY), deflated)), 'every 16th is measured'
    answered(world, client, 0.25, outcome=serialize_response(
        REQUEST, InferenceResponse({'a': np.zeros((1, 9999), np.float32)})))  # fmt: skip
    assert client.reply_bytes != pytest.approx(min(len(REPLY), deflated))


def test_the_compact_form_is_for_coarse_depth_of_a_host_that_has_it(world: World) -> None:
    client = client_of(world)

    def compact(precision: float) -> bool:
        client.send(InferenceRequest('tiny', '', 'x', b'', (), 0.0, precision), 1.0)
        message = pb.ModelInferRequest.FromString(world.sent()[-1].message)
        world.sent()[-1].finish(ValueError())
        return COMPACT in [output.name for output in message.outputs]

    assert not compact(0.5)
    answered(world, client, 0.25)
    assert [compact(precision) for precision in (0.02, 0.5, 0.019)] == [True, True, False]
    assert isinstance(client.cancel(client.send(REQUEST, 1.0)), Failure)
    assert not compact(0.5), 'after a failure it may be an older host'


def test_another_host_was_first(world: World) -> None:
    client = client_of(world)
    for after_s, late in ((0.0625, False), (0.1, False), (0.125, True)):
        call = client.send(REQUEST, 1.0)
        start_s, world.now_s = world.now_s, world.now_s + after_s
        world.now_s = start_s + after_s
        client.supersede(call)
        assert world.sent()[-1].was_cancelled
        if after_s != 0.1:
            assert client.is_late == late
    assert not client.failures
    assert client.breaker.failures == 0
    answered(world, client, 0.0625)
    assert not client.is_late, 'a used response clears it'
    failure = client.cancel(client.send(REQUEST, 1.0))
    assert failure == Failure('late', 'remote host a:1: no reply within the deadline')
    rejected = client.reject(client.send(REQUEST, 1.0), ProtocolError('too wide'))
    assert rejected.sentence == 'remote host a:1: its response is invalid: too wide'
    assert client.failures == {'late': 1, 'bad_reply': 1}
    assert client.link_state(world.now_s).failure_rate > 0


# Several hosts


def pool_of(world: World, *names: str) -> HostPool:
    pool = HostPool([Endpoint(f'{name}:1') for name in names], 'tiny', BREAKER)
    pool.available(world.now_s)
    for name in names:
        world.pings(name)[0].finish(READY)
    found, why = pool.available(world.now_s)
    assert ([client.endpoint.address for client in found], why) == (
        [f'{name}:1' for name in names], '',
    )  # fmt: skip
    return pool


def sent(world: World, pool: HostPool, valid: bool = True) -> HedgedRequest:
    def validate(response: InferenceResponse) -> None:
        if not valid:
            raise ProtocolError('not usable')

    return pool.send(pool.clients, REQUEST, world.now_s + 1.0, validate)


def test_the_first_answer_in_time_needs_no_other_host(world: World) -> None:
    pool = pool_of(world, 'a', 'b')
    request = sent(world, pool)
    assert world.sent('a')[0].timeout == 1.0
    world.due.append((1000.0625, world.sent('a')[0].finish))
    response = request.wait(1001.0)
    assert response is not None
    np.testing.assert_array_equal(response.tensors['a'], VALUES)
    assert (request.sent, request.done_s, request.failure) == (1, 1000.0625, None)
    assert request.winner is pool.clients[0]
    assert (pool.hedges, world.sent('b')) == (0, [])
    assert request.wait(2000.0) is None
    assert world.now_s == 1000.0625, 'nothing is left to wait for'


def test_a_late_host_is_hedged_and_the_loser_cancelled(world: World) -> None:
    pool = pool_of(world, 'a', 'b', 'c')
    request = sent(world, pool)
    assert request.wait(1000.0) is None
    assert request.wait(1000.0625) is None
    assert world.now_s == 1000.0625
    world.due.append((1000.15, lambda: world.sent('b')[0].finish()))
    assert request.wait(1000.5) is not None
    assert world.now_s == 1000.15
    assert world.sent('b')[0].timeout == pytest.approx(0.9), 'a tenth of a second later'
    assert (request.sent, pool.hedges, world.sent('c')) == (2, 1, [])
    assert request.winner is pool.clients[1]
    assert (world.sent('a')[0].was_cancelled, world.sent('b')[0].was_cancelled) == (True, False)
    assert pool.clients[0].is_late
    assert not pool.failures
    assert pool.preferred is pool.clients[1]


def test_hosts_that_fail_cost_no_hedge(world: World) -> None:
    pool = pool_of(world, 'a', 'b')
    request = sent(world, pool)
    world.sent('a')[0].finish(ValueError('broken'))
    assert request.wait(1000.0) is None
    assert (request.sent, pool.hedges) == (2, 0)
    assert request.failure is not None
    world.sent('b')[0].finish(ValueError('broken too'))
    assert request.wait(2000.0) is None
    assert 'broken too' in request.failure.sentence
    assert (pool.failures, pool.in_flight) == ({'bad_reply': 2}, 0)
    assert request.cancel() == request.failure
    request = sent(world, pool, valid=False)
    world.sent('a')[1].finish()
    assert request.wait(1000.0) is None
    assert 'not usable' in request.failure.sentence  # type: ignore[union-attr]
    assert pool.in_flight == 1
    failure = request.cancel()
    assert failure.reason == 'late'
    assert world.sent('b')[1].was_cancelled
    assert pool.last_failure is not None
    pool.close()
    assert world.closed == ['a', 'b']


def test_hedges_are_saved_up_to_four(world: World) -> None:
    pool = pool_of(world, 'a', 'b')
    hedged = []
    for _ in range(12):
        before = pool.hedges
        request = sent(world, pool)
        request.wait(world.now_s + 0.2)
        hedged.append(pool.hedges - before)
        request.cancel()
    assert hedged == [1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0]


def test_the_reason_is_that_of_the_preferred_host(world: World) -> None:
    pool = HostPool([Endpoint('a:1'), Endpoint('b:1')], 'tiny', BREAKER)
    assert pool.available(world.now_s) == ([], 'not_connected')
    assert not pool.wait_ready(0.0)
    world.due.append((1000.05, lambda: world.pings('b')[0].finish(READY)))
    assert pool.wait_ready(1.0)
    found, why = pool.available(world.now_s)
    assert ([client.endpoint.address for client in found], why) == (['b:1'], '')
    calls: list[InferenceCall] = [found[0].send(REQUEST, 1.0) for _ in range(4)]
    assert pool.available(world.now_s) == ([], 'not_connected')
    assert pool.in_flight == len(calls)
    assert not pool.wait_ready(0.05)
    assert found[0].wait_ready(0.0) is False
