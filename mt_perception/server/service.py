# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The calls of the Open Inference Protocol that a remote host answers, and gRPC's health check."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from mt_perception import __version__
from mt_perception.errors import PerceptionError, ProtocolError
from mt_perception.model.manifest import Manifest
from mt_perception.offload.payload import PayloadLimits
from mt_perception.offload.protocol import (
    PAYLOAD,
    SERVICE,
    InferenceResponse,
    parse_request,
    serialize_response,
)
from mt_perception.server.backends import Backend
from mt_perception.server.credentials import Tokens
from mt_perception.server.dispatcher import DeadlineExceededError, Dispatcher
from mt_perception.server.fair_queue import QueueFullError
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.served_model import UnknownModelError, admit
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION


class NotReadyError(PerceptionError):
    """The host does not serve requests now."""


class UnauthenticatedError(PerceptionError):
    """The client may not use this host."""


Context = Any
"""What gRPC hands to a handler; its own type is private."""

_STATUS: Sequence[tuple[type[PerceptionError], grpc.StatusCode]] = (
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (NotReadyError, grpc.StatusCode.UNAVAILABLE),
    (UnknownModelError, grpc.StatusCode.NOT_FOUND),
    (ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (QueueFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceededError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (PerceptionError, grpc.StatusCode.INTERNAL),
)
"""Error → what the client is told, the first that fits."""

_OUTPUTS: Mapping[tuple[str, str], tuple[str, tuple[int, ...]]] = {
    (DETECTION, 'boxes'): ('FP32', (1, -1, 4)),
    (DETECTION, 'scores'): ('FP32', (1, -1)),
    (DETECTION, 'class_ids'): ('INT64', (1, -1)),
    (SEGMENTATION, 'class_ids'): ('UINT8', (1, -1, -1)),
    (DEPTH, 'depth_per_focal'): ('FP32', (1, -1, -1)),
}
"""(Kind of task, output) → datatype and shape, as the manifest promises them."""

_MAX_SMALL = 4096
"""Bytes of a request other than for inference; ours are names and versions."""

# A health check is one string and its answer one number: not worth a package of stubs.
_HEALTH = 'grpc.health.v1.Health'
_SERVING, _NOT_SERVING = b'\x08\x01', b'\x08\x02'
_HEALTH_OF = (b'', b'\x0a' + bytes([len(SERVICE)]) + SERVICE.encode())


class InferenceService:
    """Answers calls.

    Args:
        engine: Knows the model.
        dispatcher: Has the work done.
        limits: What a client may ask for.
        metrics: Told of every request.
        tokens: Whose requests are served; None serves everybody.

    Attributes:
        ready: Whether requests are served; set by whoever starts and stops the host.
    """

    def __init__(
        self,
        engine: Backend,
        dispatcher: Dispatcher,
        limits: HostLimits,
        metrics: HostMetrics,
        tokens: Tokens | None,
    ) -> None:
        self.ready = False
        self._engine = engine
        self._dispatcher = dispatcher
        self._limits = limits
        self._metrics = metrics
        self._tokens = tokens
        self._payload_limits = PayloadLimits(max_bytes=limits.request_bytes)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """What a gRPC server is given."""
        calls: dict[str, Any] = {
            # Requests come as streams of one message each, so that we see a client who sends half
            # of one and waits; and as bytes, which are looked at before they are parsed.
            'ModelInfer': grpc.stream_unary_rpc_method_handler(self._model_infer),
            'ServerLive': _call(self._server_live, pb.ServerLiveRequest),
            'ServerReady': _call(self._server_ready, pb.ServerReadyRequest),
            'ModelReady': _call(self._model_ready, pb.ModelReadyRequest),
            'ServerMetadata': _call(self._server_metadata, pb.ServerMetadataRequest),
            'ModelMetadata': _call(self._model_metadata, pb.ModelMetadataRequest),
        }
        health: dict[str, Any] = {'Check': grpc.unary_unary_rpc_method_handler(self._health)}
        return (
            grpc.method_handlers_generic_handler(SERVICE, calls),
            grpc.method_handlers_generic_handler(_HEALTH, health),
        )

    async def _model_infer(self, messages: Any, context: Context) -> bytes:
        outcome, refusal = 'CANCELLED', ''
        try:
            reply = await self._reply(context)
            outcome = 'OK'
        except PerceptionError as error:
            status, refusal = _status(error), str(error)
            outcome = status.name
        finally:
            self._metrics.requests.labels(outcome).inc()
        if refusal:
            # Not from within the handler of the error: gRPC keeps what abort raises until the
            # garbage is collected, and with it the request that hangs on the error.
            await context.abort(status, refusal)
        self._metrics.sent.inc(len(reply))
        return reply

    async def _reply(self, context: Context) -> bytes:
        client = self._client(context)
        manifest = self._manifest()
        message = await self._message(context)
        self._metrics.received.inc(len(message))
        request = parse_request(message, self._limits.request_bytes)
        job = admit(request, manifest, self._payload_limits)
        left_s: float | None = context.time_remaining()
        wait_s = self._limits.answer_s if left_s is None else left_s
        working = self._dispatcher.answer(client, job, time.monotonic() + wait_s)
        try:
            answer = await asyncio.wait_for(working, max(0.0, wait_s))
        except asyncio.TimeoutError as error:
            raise DeadlineExceededError(
                f'no answer within {wait_s * 1e3:.0f} ms; the host is busy'
            ) from error
        stages = {'queue_ms': answer.queue_s * 1e3, 'compute_ms': answer.compute_s * 1e3}
        maps = [
            tensor
            for task in manifest.tasks.values()
            if task.kind == DEPTH
            for tensor in task.outputs.values()
        ]
        return serialize_response(request, InferenceResponse(answer.tensors, stages), maps)

    async def _message(self, context: Context) -> bytes:
        """The one message of a request.

        Raises:
            ProtocolError: There is none.
            DeadlineExceededError: It does not come.
        """
        try:
            # Not from the iterator: in gRPC 1.85 one that is left half read is never freed.
            message = await asyncio.wait_for(context.read(), self._limits.request_s)
        except asyncio.TimeoutError as error:
            raise DeadlineExceededError(
                f'the request was not complete after {self._limits.request_s:g} s'
            ) from error
        if not isinstance(message, bytes):
            raise ProtocolError('the call ended without a request')
        return message

    def _client(self, context: Context) -> str:
        """Who asks: by certificate, by token, or else by connection.

        Raises:
            UnauthenticatedError: The token is none of ours.
        """
        owner: str | None = ''
        if self._tokens is not None:
            given = dict(context.invocation_metadata() or ()).get('authorization', '')
            owner = self._tokens.owner(str(given))
            if owner is None:
                raise UnauthenticatedError(
                    'the token is missing or none of ours; send "authorization: Bearer TOKEN"'
                )
        names = context.auth_context().get('x509_common_name', [])
        certified = names[0].decode('utf-8', 'replace') if names else ''
        return certified or owner or str(context.peer())

    def _manifest(self) -> Manifest:
        """The model that is served.

        Raises:
            NotReadyError: None is, not yet or not any more.
        """
        manifest = self._engine.manifest
        if manifest is None:
            raise NotReadyError('the model is still being loaded')
        if not self.ready:
            raise NotReadyError('the host is stopping, or has only just been started')
        return manifest

    async def _server_live(self, request: Any, context: Context) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, request: Any, context: Context) -> Any:
        return pb.ServerReadyResponse(ready=self.ready)

    async def _model_ready(self, request: Any, context: Context) -> Any:
        ours = self._engine.manifest is not None and _is_ours(request, self._engine.manifest)
        return pb.ModelReadyResponse(ready=self.ready and ours)

    async def _server_metadata(self, request: Any, context: Context) -> Any:
        return pb.ServerMetadataResponse(name='mt_perception', version=__version__)

    async def _model_metadata(self, request: Any, context: Context) -> Any:
        try:
            self._client(context)
            manifest = self._manifest()
            if not _is_ours(request, manifest):
                raise UnknownModelError(f'this host serves {manifest.name} {manifest.version}')
        except PerceptionError as error:
            await context.abort(_status(error), str(error))
            raise AssertionError('abort does not return') from error
        return _metadata(manifest)

    async def _health(self, request: bytes, context: Context) -> bytes:
        if request not in _HEALTH_OF:
            await context.abort(grpc.StatusCode.NOT_FOUND, f'this host serves {SERVICE}')
        return _SERVING if self.ready else _NOT_SERVING


def _call(handler: Any, kind: Any) -> Any:
    """A call with small messages, parsed where a broken one can be refused by name."""

    async def call(message: bytes, context: Context) -> bytes:
        try:
            request = kind.FromString(message[: _MAX_SMALL + 1])
        except DecodeError:
            request = None
        if request is None or len(message) > _MAX_SMALL:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f'the message is no {kind.DESCRIPTOR.name}'
            )
        reply: bytes = (await handler(request, context)).SerializeToString()
        return reply

    return grpc.unary_unary_rpc_method_handler(call)


def _status(error: PerceptionError) -> grpc.StatusCode:
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def _is_ours(request: Any, manifest: Manifest) -> bool:
    """Whether a request names the model that is served."""
    return request.name == manifest.name and request.version in ('', manifest.version)


def _metadata(manifest: Manifest) -> Any:
    """What goes in and what comes out, as far as it is the same for every frame size."""
    reply = pb.ModelMetadataResponse(
        name=manifest.name, versions=[manifest.version], platform='onnxruntime'
    )
    reply.inputs.add(name=PAYLOAD, datatype='UINT8', shape=[1, -1])
    for task in manifest.tasks.values():
        for output, tensor in task.outputs.items():
            datatype, shape = _OUTPUTS[task.kind, output]
            reply.outputs.add(name=tensor, datatype=datatype, shape=shape)
    return reply
