# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The standard gRPC health service, grpc.health.v1, for orchestrators and load balancers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from mt_perception.offload.protocol import SERVICE
from mt_perception.server.service import Context, read_small, refusal_of

_HEALTH = 'grpc.health.v1.Health'
_NAMES = ('', SERVICE)
_POLL_S = 0.5


class HealthService:
    """Serves health checks; no limit on clients or requests applies to them.

    Args:
        ready: Returns whether the host would run a request now.
        request_s: Time limit for receiving a check.
    """

    def __init__(self, ready: Callable[[], bool], request_s: float) -> None:
        self._ready = ready
        self._request_s = request_s
        self._servicer = health.aio.HealthServicer()

    def handler(self) -> grpc.GenericRpcHandler:
        """The handler for a gRPC server."""
        calls: dict[str, Any] = {
            # As a stream of one message, so that a half-sent check ends after its time limit.
            'Check': grpc.stream_unary_rpc_method_handler(self._check),
            'Watch': grpc.stream_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler(_HEALTH, calls)

    async def update(self) -> None:
        """Publish the current state to checks and watchers."""
        status = health_pb2.HealthCheckResponse
        state = status.SERVING if self._ready() else status.NOT_SERVING
        for name in _NAMES:
            await self._servicer.set(name, state)

    async def run(self) -> None:
        """Update the state until cancelled."""
        while True:
            await self.update()
            await asyncio.sleep(_POLL_S)

    async def _check(self, messages: Any, context: Context) -> bytes:
        request = await self._request(context)
        await self.update()
        reply: bytes = (await self._servicer.Check(request, context)).SerializeToString()
        return reply

    async def _watch(self, messages: Any, context: Context) -> None:
        request = await self._request(context)
        await self.update()
        await self._servicer.Watch(request, _Serializing(context))

    async def _request(self, context: Context) -> Any:
        try:
            return await read_small(context, health_pb2.HealthCheckRequest, self._request_s)
        except Exception as error:
            refusal = refusal_of(error)
        await context.abort(*refusal)
        raise AssertionError('abort does not return')


class _Serializing:
    """A context whose messages are serialized: the handlers of this host exchange bytes."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def write(self, message: Any) -> None:
        """Send a message."""
        await self._context.write(message.SerializeToString())
