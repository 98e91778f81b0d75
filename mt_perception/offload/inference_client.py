# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sends inference requests to one remote host and measures the link.

State changes in the caller's thread only; gRPC's threads record results and their times.
"""

from __future__ import annotations

import math
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ProtocolError
from mt_perception.offload.circuit_breaker import BreakerState, CircuitBreaker
from mt_perception.offload.endpoint import Endpoint, connect
from mt_perception.offload.failures import (
    NOT_READY,
    Failure,
    bad_reply,
    late,
    late_ping,
    not_ready,
    probe_addresses,
    rpc_failure,
)
from mt_perception.offload.link_estimate import LinkEstimate, LinkState, RobustAverage
from mt_perception.offload.protocol import (
    COMPACT_PRECISION,
    MODEL_INFER,
    SERVICE,
    InferenceRequest,
    InferenceResponse,
    parse_response,
    serialize_request,
)

MODEL_READY = f'/{SERVICE}/ModelReady'
MODEL_METADATA = f'/{SERVICE}/ModelMetadata'
PING_S = 1.0
"""Interval between pings of 100 bytes each."""

_PING_TIMEOUT_S = 2.0
_MAX_IN_FLIGHT = 4
"""Upper limit on unfinished requests, including cancelled ones that gRPC still holds."""

_MEASURED_EVERY = 16
"""The size of every 16th response on the wire is measured by deflating it."""

_RECENT = 64
"""Responses whose times decide when a request is late."""
_MIN_RESPONSES = 5
_LATE_UNKNOWN_S = 0.1
"""A request is late after this time where too few responses were measured."""


class InferenceCall:
    """An unfinished or finished request.

    Attributes:
        request: The request.
        size: Bytes of its message.
        sent_s: Monotonic time of sending.
        done_s: Monotonic time of the response or error; NaN before.
        future: gRPC's future.
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
        """Whether a response or an error is available."""
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until `done`; False after the given seconds."""
        return self._done.wait(max(0.0, seconds))

    def note_done(self, future: Any) -> None:
        """Record the end; gRPC calls this in one of its threads."""
        self.done_s = time.monotonic()
        self._done.set()


@dataclass(frozen=True)
class _Ping:
    """A finished ping."""

    elapsed_s: float
    now_s: float
    failure: Failure | None


class InferenceClient:
    """A client of one model on one remote host.

    Args:
        endpoint: The host.
        model: Name of the model.
        breaker: Blocks requests to a failing host.

    Attributes:
        failures: Failure reason → count.
        last_failure: The latest failure; None before the first.
        link: Estimate of round trip, bandwidth and host time.

    Raises:
        OffloadError: A certificate, key or token file cannot be used.
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
        self._model_metadata: Any = channel.unary_unary(MODEL_METADATA)
        # Without a version: the payload's digest identifies the weights.
        self._ping_message = pb.ModelReadyRequest(name=model).SerializeToString()
        self._metadata_message = pb.ModelMetadataRequest(name=model).SerializeToString()
        self._in_flight: set[InferenceCall] = set()
        self._pings: deque[_Ping] = deque()
        self._pinging = False
        self._pinged_s = -math.inf
        self._reachable = False
        self._on_trial = False
        self._late = False
        self._compact = False
        self._reply_bytes = RobustAverage()
        self._replies = 0
        self._response_s: deque[float] = deque(maxlen=_RECENT)

    @property
    def on_trial(self) -> bool:
        """Whether the next request decides if the breaker closes."""
        return self._on_trial

    @property
    def is_late(self) -> bool:
        """Whether another host answered a late request first, and no response was used since."""
        return self._late

    @property
    def in_flight(self) -> int:
        """Number of unfinished requests."""
        return len(self._in_flight)

    @property
    def reply_bytes(self) -> float:
        """Typical bytes of a response on the wire; 0 before the first."""
        return self._reply_bytes.value if self._reply_bytes.samples else 0.0

    def link_state(self, now_s: float) -> LinkState:
        """The current estimate of the link."""
        return self.link.state(now_s)

    def unavailable(self, now_s: float) -> str:
        """Reason why no request can be sent now; empty if one can."""
        self._settle_pings()
        if self.breaker.state is BreakerState.CLOSED:
            self._ping_if_due(now_s)
            if not self._reachable:
                return 'not_connected'
            return '' if len(self._in_flight) < _MAX_IN_FLIGHT else 'in_flight'
        if self._on_trial:
            return ''
        # A ping first: a frame is sent only to a host that reports ready.
        if not self._pinging and self.breaker.take(now_s):
            self._ping(now_s)
        return 'breaker_open'

    def wait_ready(self, seconds: float) -> bool:
        """Wait until the host reports ready; False after the given seconds."""
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            if not self.unavailable(now_s):
                return True
            time.sleep(0.01)
        return False

    def send(
        self,
        request: InferenceRequest,
        timeout_s: float,
        on_done: Callable[[], None] | None = None,
    ) -> InferenceCall:
        """Send a request; client and host cancel it when the timeout passes.

        Args:
            request: The request; where it is worth while, the compact form is requested of hosts
                that have it.
            timeout_s: Time limit.
            on_done: Called in a thread of gRPC when the call is done.
        """
        compact = self._compact and request.precision >= COMPACT_PRECISION
        request = replace(request, compact=compact)
        message = serialize_request(request)
        now_s = time.monotonic()
        future = self._infer.future(message, timeout=timeout_s, metadata=self._connection.metadata)
        call = InferenceCall(request, len(message), now_s, future)
        self.link.sent(now_s, call.size)
        self._in_flight.add(call)

        def finished(done: Any) -> None:
            call.note_done(done)
            self._in_flight.discard(call)
            if on_done is not None:
                on_done()

        future.add_done_callback(finished)
        return call

    def result(self, call: InferenceCall) -> InferenceResponse | Failure:
        """The response or failure of a finished request."""
        failure: Failure
        try:
            message: bytes = call.future.result()
            reply = parse_response(message, call.request)
        except grpc.RpcError as error:
            failure = rpc_failure(error, self.endpoint)
        except grpc.FutureCancelledError:
            failure = late(self.endpoint.address)
        except Exception as error:
            # parse_response raises ProtocolError only; gRPC fails in many ways on foreign bytes.
            failure = bad_reply(error, self.endpoint.address)
        else:
            self._learn(call, message, reply)
            return reply
        self._failed(call, failure, call.done_s)
        return failure

    def reject(self, call: InferenceCall, error: ProtocolError) -> Failure:
        """Record a parsed response that the caller cannot use."""
        failure = bad_reply(error, self.endpoint.address)
        self._failed(call, failure, call.done_s)
        return failure

    def confirm(self) -> None:
        """Record a response that the caller used."""
        self._late = False
        self._on_trial = False
        self.breaker.succeeded()

    def cancel(self, call: InferenceCall) -> Failure:
        """Cancel a request that is late and drop its response."""
        call.future.cancel()
        failure = late(self.endpoint.address)
        self._failed(call, failure, time.monotonic())
        return failure

    def supersede(self, call: InferenceCall) -> None:
        """Cancel a request because another host answered first: no failure of this host.

        The time without a response is a lower bound for the link.
        """
        call.future.cancel()
        now_s = time.monotonic()
        self.link.superseded(now_s - call.sent_s, call.size)
        self._late = self._late or now_s - call.sent_s > self.late_after_s
        if self._on_trial:
            self._on_trial = False
            self.breaker.failed(now_s)

    @property
    def late_after_s(self) -> float:
        """Time that 90 % of the latest responses did not exceed: later is late."""
        if len(self._response_s) < _MIN_RESPONSES:
            return _LATE_UNKNOWN_S
        ordered = sorted(self._response_s)
        return ordered[math.ceil(0.9 * len(ordered)) - 1]

    def close(self) -> None:
        """Cancel unfinished requests and close the connection."""
        for call in tuple(self._in_flight):
            call.future.cancel()
        self._connection.channel.close()

    def _failed(self, call: InferenceCall, failure: Failure, now_s: float) -> None:
        self.failures[failure.reason] += 1
        self.last_failure = failure
        self._on_trial = False
        # Perhaps an older host has taken its place.
        self._compact = False
        elapsed_s = now_s - call.sent_s
        self.link.failed(now_s, elapsed_s, call.size, timed_out=failure.timed_out)
        self.breaker.failed(now_s)

    def _learn(self, call: InferenceCall, message: bytes, reply: InferenceResponse) -> None:
        if self._replies % _MEASURED_EVERY == 0:
            self._reply_bytes.add(min(len(message), len(zlib.compress(message, 1))))
        self._replies += 1
        self._compact = reply.compact
        self._response_s.append(call.done_s - call.sent_s)
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
        """Send a ping (ModelReady) without waiting for the response."""
        self._pinging = True
        self._pinged_s = now_s
        future = self._model_ready.future(
            self._ping_message, timeout=_PING_TIMEOUT_S, metadata=self._connection.metadata
        )

        def on_done(done: Any) -> None:
            done_s = time.monotonic()
            failure = self._ping_failure(done)
            if failure is not None and failure.reason == NOT_READY:
                self._ask_why(done_s - now_s)
            else:
                self._pings.append(_Ping(done_s - now_s, done_s, failure))

        future.add_done_callback(on_done)

    def _ask_why(self, elapsed_s: float) -> None:
        """Ask for the model's metadata, because its refusal says why the model is not ready."""

        def on_done(done: Any) -> None:
            error = done.exception() if done is not None and not done.cancelled() else None
            refusal = error if isinstance(error, grpc.RpcError) else None
            failure = not_ready(refusal, self.endpoint)
            self._pings.append(_Ping(elapsed_s, time.monotonic(), failure))

        try:
            future = self._model_metadata.future(
                self._metadata_message,
                timeout=_PING_TIMEOUT_S,
                metadata=self._connection.metadata,
            )
        except ValueError:
            # The channel was closed meanwhile.
            on_done(None)
        else:
            future.add_done_callback(on_done)

    def _ping_failure(self, done: Any) -> Failure | None:
        address = self.endpoint.address
        try:
            answer = pb.ModelReadyResponse.FromString(done.result())
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return late_ping(address, _PING_TIMEOUT_S)
            return probe_addresses(self.endpoint, rpc_failure(error, self.endpoint))
        except grpc.FutureCancelledError:
            return late(address)
        except Exception as error:
            # protobuf's DecodeError, or any error that a foreign host provokes.
            return bad_reply(error, address)
        return None if answer.ready else not_ready(None, self.endpoint)

    def _settle_pings(self) -> None:
        """Process the pings that finished since the last call."""
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
            # The first ping also opened the connection: two round trips or more.
            if self._reachable:
                self.link.pinged(ping.elapsed_s)
            self._reachable = True
            self._on_trial = on_trial
