# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's end of the link: requests out, replies in, and what they tell about the host.

Everything is decided in the caller's thread; gRPC's threads only note when something happened.
"""

from __future__ import annotations

import math
import threading
import time
import zlib
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ProtocolError
from mt_perception.offload.circuit_breaker import BreakerState, CircuitBreaker
from mt_perception.offload.endpoint import Endpoint, connect
from mt_perception.offload.failures import Failure, bad_reply, failure_of, late
from mt_perception.offload.link_estimate import LinkEstimate, LinkState, RobustAverage
from mt_perception.offload.protocol import (
    MODEL_INFER,
    SERVICE,
    InferenceRequest,
    InferenceResponse,
    parse_response,
    serialize_request,
)

MODEL_READY = f'/{SERVICE}/ModelReady'
PING_S = 1.0
"""Between two pings; each is 100 bytes."""

_PING_TIMEOUT_S = 2.0
_MAX_IN_FLIGHT = 4
"""Requests that gRPC has not let go of yet; one frame is sent at a time, the others were given
up."""

_MEASURED_EVERY = 16
"""What a reply takes on the wire is found by deflating it, of every so manieth."""


class Call:
    """A request on its way.

    Attributes:
        request: What was asked.
        size: Bytes that went out.
        sent_s: When, monotonic.
        done_s: When its fate was known; NaN before.
    """

    def __init__(self, request: InferenceRequest, size: int, sent_s: float, future: Any) -> None:
        self.request = request
        self.size = size
        self.sent_s = sent_s
        self.done_s = math.nan
        self.future = future
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        """Whether its fate is known."""
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for its fate; False if it is still unknown after so long."""
        return self._done.wait(max(0.0, seconds))

    def note_done(self, future: Any) -> None:
        """Called by gRPC, in one of its threads."""
        self.done_s = time.monotonic()
        self._done.set()


@dataclass(frozen=True)
class _Ping:
    """What became of a ping."""

    elapsed_s: float
    now_s: float
    failure: Failure | None


class InferenceClient:
    """Exchanges messages with one remote host about one model.

    Args:
        endpoint: Where it is.
        model: Name of the model.
        breaker: Leaves a failing host alone.

    Raises:
        OffloadError: The endpoint's files cannot be used.
    """

    def __init__(self, endpoint: Endpoint, model: str, breaker: CircuitBreaker) -> None:
        self.endpoint = endpoint
        self.breaker = breaker
        self.failures: Counter[str] = Counter()
        self.last_failure: Failure | None = None
        self.link = LinkEstimate()
        self._connection = connect(endpoint)
        channel = self._connection.channel
        self._infer: Any = channel.unary_unary(MODEL_INFER)
        self._model_ready: Any = channel.unary_unary(MODEL_READY)
        # Without a version: a payload's digest names the weights; hosts count in their own way.
        self._ping_message = pb.ModelReadyRequest(name=model).SerializeToString()
        self._in_flight: set[Call] = set()
        self._pings: deque[_Ping] = deque()
        self._pinging = False
        self._pinged_s = -math.inf
        self._reachable = False
        self._on_trial = False
        self._reply_bytes = RobustAverage()
        self._replies = 0

    @property
    def on_trial(self) -> bool:
        """Whether the next frame decides if the breaker closes."""
        return self._on_trial

    @property
    def in_flight(self) -> int:
        """Requests that gRPC has not let go of."""
        return len(self._in_flight)

    @property
    def reply_bytes(self) -> float:
        """What a reply usually takes on the wire."""
        return self._reply_bytes.value if self._reply_bytes.samples else 0.0

    def state(self, now_s: float) -> LinkState:
        """What is thought of the link."""
        return self.link.state(now_s)

    def gate(self, now_s: float) -> str:
        """Whether a frame may be sent now: empty if so, else the reason why not."""
        self._settle_pings()
        if self.breaker.state is BreakerState.CLOSED:
            self._ping_if_due(now_s)
            if not self._reachable:
                return 'not_connected'
            return '' if len(self._in_flight) < _MAX_IN_FLIGHT else 'in_flight'
        if self._on_trial:
            return ''
        # A frame is only risked on a host that says it is ready.
        if not self._pinging and self.breaker.take(now_s):
            self._ping(now_s)
        return 'breaker_open'

    def connected(self, seconds: float) -> bool:
        """Wait until the host has said that it is ready; False if it does not in time."""
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            if not self.gate(now_s):
                return True
            time.sleep(0.01)
        return False

    def send(self, request: InferenceRequest, timeout_s: float) -> Call:
        """Send a request; it is cancelled at both ends when the time is over."""
        message = serialize_request(request)
        now_s = time.monotonic()
        future = self._infer.future(message, timeout=timeout_s, metadata=self._connection.metadata)
        call = Call(request, len(message), now_s, future)
        self.link.sent(now_s, call.size)
        self._in_flight.add(call)

        def on_done(done: Any) -> None:
            call.note_done(done)
            self._in_flight.discard(call)

        future.add_done_callback(on_done)
        return call

    def receive(self, call: Call) -> InferenceResponse | Failure:
        """What became of a call that is done."""
        failure: Failure
        try:
            message: bytes = call.future.result()
            reply = parse_response(message, call.request)
        except grpc.RpcError as error:
            failure = failure_of(error, self.endpoint)
        except grpc.FutureCancelledError:
            failure = late(self.endpoint.address)
        except ProtocolError as error:
            failure = bad_reply(error, self.endpoint.address)
        else:
            self._learn(call, len(message), message, reply)
            return reply
        self._failed(call, failure, call.done_s)
        return failure

    def refuse(self, call: Call, error: ProtocolError) -> Failure:
        """A reply was well-formed, but cannot be used."""
        failure = bad_reply(error, self.endpoint.address)
        self._failed(call, failure, call.done_s)
        return failure

    def accept(self) -> None:
        """A reply was used."""
        self._on_trial = False
        self.breaker.succeeded()

    def give_up(self, call: Call) -> Failure:
        """Cancel a call that is not done in time; whatever comes of it is thrown away."""
        call.future.cancel()
        failure = late(self.endpoint.address)
        self._failed(call, failure, time.monotonic())
        return failure

    def close(self) -> None:
        """Cancel what is on its way and close the connection."""
        for call in tuple(self._in_flight):
            call.future.cancel()
        self._connection.channel.close()

    def _failed(self, call: Call, failure: Failure, now_s: float) -> None:
        self.failures[failure.reason] += 1
        self.last_failure = failure
        self._on_trial = False
        elapsed_s = now_s - call.sent_s
        self.link.failed(now_s, elapsed_s, call.size, timed_out=failure.timed_out)
        self.breaker.failed(now_s)

    def _learn(self, call: Call, size: int, message: bytes, reply: InferenceResponse) -> None:
        if self._replies % _MEASURED_EVERY == 0:
            self._reply_bytes.add(min(size, len(zlib.compress(message, 1))))
        self._replies += 1
        remote_s = sum(reply.server_ms.values()) * 1e-3 if reply.server_ms else None
        self.link.answered(
            call.done_s,
            call.done_s - call.sent_s,
            call.size + round(self.reply_bytes),
            remote_s,
        )

    def _ping_if_due(self, now_s: float) -> None:
        if not self._pinging and now_s - self._pinged_s >= PING_S:
            self._ping(now_s)

    def _ping(self, now_s: float) -> None:
        """Ask whether the model is ready, without waiting for the answer."""
        self._pinging = True
        self._pinged_s = now_s
        future = self._model_ready.future(
            self._ping_message, timeout=_PING_TIMEOUT_S, metadata=self._connection.metadata
        )

        def on_done(done: Any) -> None:
            done_s = time.monotonic()
            self._pings.append(_Ping(done_s - now_s, done_s, self._ping_failure(done)))

        future.add_done_callback(on_done)

    def _ping_failure(self, done: Any) -> Failure | None:
        address = self.endpoint.address
        try:
            answer = pb.ModelReadyResponse.FromString(done.result())
        except grpc.RpcError as error:
            return failure_of(error, self.endpoint)
        except grpc.FutureCancelledError:
            return late(address)
        except Exception as error:
            # protobuf's DecodeError, or whatever a foreign host provokes.
            return bad_reply(error, address)
        if answer.ready:
            return None
        return Failure(
            'not_ready',
            f'remote host {address}: its model is not ready: still loading, or another one',
        )

    def _settle_pings(self) -> None:
        """Take in what became of pings since the last frame."""
        while self._pings:
            ping = self._pings.popleft()
            self._pinging = False
            on_trial = self.breaker.state is BreakerState.HALF_OPEN
            if ping.failure is not None:
                self._reachable = False
                self.failures[ping.failure.reason] += 1
                self.last_failure = ping.failure
                self.breaker.failed(ping.now_s)
                continue
            # The first one also opened the connection, which takes two round trips or more.
            if self._reachable:
                self.link.pinged(ping.elapsed_s)
            self._reachable = True
            self._on_trial = on_trial
