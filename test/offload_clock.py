# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hosts without a connection: a clock, and calls of gRPC that a test finishes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from mt_perception.offload import host_pool, inference_client
from mt_perception.offload.circuit_breaker import CircuitBreakerSettings
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.protocol import InferenceRequest, InferenceResponse, serialize_response

REQUEST = InferenceRequest('tiny', '', 'frame 7', b'payload', ('a',))
VALUES = np.arange(200, dtype=np.float32)[None]
REPLY = serialize_response(REQUEST, InferenceResponse({'a': VALUES}, {'queue_ms': 4.0}))
READY = pb.ModelReadyResponse(ready=True).SerializeToString()
BREAKER = CircuitBreakerSettings(failures=2, first_s=1.0, jitter=0.0)


class Future:
    """A call of gRPC that a test finishes."""

    def __init__(self, message: bytes, timeout: float, metadata: object) -> None:
        self.message, self.timeout, self.metadata = message, timeout, metadata
        self.was_cancelled = False
        self._callbacks: list[Callable[[Future], None]] = []
        self._outcome: bytes | Exception = b''

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        self._callbacks.append(callback)

    def cancel(self) -> None:
        self.was_cancelled = True

    def cancelled(self) -> bool:
        return self.was_cancelled

    def exception(self) -> Exception | None:
        return self._outcome if isinstance(self._outcome, Exception) else None

    def result(self) -> bytes:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def finish(self, outcome: bytes | Exception = REPLY) -> None:
        self._outcome = outcome
        for callback in self._callbacks:
            callback(self)


class Refusal(grpc.RpcError):
    """An error that a host answers with."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__()
        self.code = lambda: code
        self.details = lambda: details


class World:
    """A clock, and the calls that reach each host; events pass time instead of waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.calls: dict[tuple[str, str], list[Future]] = {}
        self.closed: list[str] = []
        self.due: list[tuple[float, Callable[[], None]]] = []
        clock = SimpleNamespace(monotonic=lambda: self.now_s, sleep=self.sleep)
        for module in (inference_client, host_pool):
            monkeypatch.setattr(module, 'time', clock)
        monkeypatch.setattr(inference_client, 'connect', self._connect)
        event = SimpleNamespace(clear=lambda: None, set=lambda: None, wait=self.sleep)
        monkeypatch.setattr(host_pool, 'threading', SimpleNamespace(Event=lambda: event))

    def sleep(self, seconds: float) -> None:
        """Pass time until something happens."""
        end_s = self.now_s + seconds
        self.due.sort(key=lambda entry: entry[0])
        if self.due and self.due[0][0] <= end_s:
            self.now_s, act = self.due.pop(0)
            act()
        else:
            self.now_s = end_s

    def _connect(self, endpoint: Endpoint) -> Any:
        name = endpoint.address.partition(':')[0]

        def unary_unary(method: str) -> Any:
            calls = self.calls.setdefault((name, method.rpartition('/')[2]), [])

            def future(message: bytes, timeout: float, metadata: object) -> Future:
                calls.append(Future(message, timeout, metadata))
                return calls[-1]

            return SimpleNamespace(future=future)

        channel = SimpleNamespace(unary_unary=unary_unary, close=lambda: self.closed.append(name))
        return SimpleNamespace(channel=channel, metadata=(('k', 'v'),))

    def pings(self, name: str = 'a') -> list[Future]:
        return self.calls[name, 'ModelReady']

    def sent(self, name: str = 'a') -> list[Future]:
        return self.calls[name, 'ModelInfer']
