# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The gRPC calls of a remote host: Open Inference Protocol and gRPC health checking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from mt_perception import __version__
from mt_perception.errors import OffloadError, PerceptionError, ProtocolError
from mt_perception.model.manifest import Manifest
from mt_perception.offload.payload import SYMBOLS, PayloadLimits
from mt_perception.offload.protocol import (
    PAYLOAD,
    SERVICE,
    InferenceResponse,
    parse_request,
    serialize_response,
)
from mt_perception.server.admission import Admission, Caller
from mt_perception.server.authentication import Tokens
from mt_perception.server.backends import Backend
from mt_perception.server.dispatcher import DeadlineExceededError, Dispatcher
from mt_perception.server.fair_queue import QueueFullError
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.references import References
from mt_perception.server.served_model import UnknownModelError, admit
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION


class NotReadyError(PerceptionError):
    """The host serves no requests now."""


class UnauthenticatedError(PerceptionError):
    """The client may not use this host."""


Context = Any
"""gRPC's context of a call; its type is private."""

_STATUS: Sequence[tuple[type[PerceptionError], grpc.StatusCode]] = (
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (NotReadyError, grpc.StatusCode.UNAVAILABLE),
    (UnknownModelError, grpc.StatusCode.NOT_FOUND),
    (ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (QueueFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceededError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (PerceptionError, grpc.StatusCode.INTERNAL),
)
"""Error → gRPC status; the first match counts."""

_OUTPUTS: Mapping[tuple[str, str], tuple[str, tuple[int, ...]]] = {
    (DETECTION, 'boxes'): ('FP32', (1, -1, 4)),
    (DETECTION, 'scores'): ('FP32', (1, -1)),
    (DETECTION, 'class_ids'): ('INT64', (1, -1)),
    (SEGMENTATION, 'class_ids'): ('UINT8', (1, -1, -1)),
    (DEPTH, 'depth_per_focal'): ('FP32', (1, -1, -1)),
}
"""(Kind of task, output) → datatype and shape, as the manifest specifies them."""

_MAX_SMALL = 4096
"""Upper limit on bytes of a request other than for inference: names and versions."""

_MAX_REFUSAL = 400
"""Upper limit on characters of an error text; gRPC drops trailers above 8 kB."""


class InferenceService:
    """Serves the calls of the Open Inference Protocol.

    Args:
        backend: Holds the model.
        dispatcher: Runs requests.
        limits: Limits on requests and calls.
        metrics: Counts requests and bytes.
        tokens: Accepted bearer tokens; None accepts every client.

    Attributes:
        accepting: Whether the host accepts requests; set by the host when it starts and stops.
    """

    def __init__(
        self,
        backend: Backend,
        dispatcher: Dispatcher,
        limits: HostLimits,
        metrics: HostMetrics,
        tokens: Tokens | None,
    ) -> None:
        self.accepting = False
        self._backend = backend
        self._dispatcher = dispatcher
        self._limits = limits
        self._metrics = metrics
        self._tokens = tokens
        self._admission = Admission(limits)
        self._references = References()
        self._payload_limits = PayloadLimits(max_bytes=limits.request_bytes)
        metrics.watch('open_calls', 'Open calls.', lambda: self._admission.open_calls)

    @property
    def ready(self) -> bool:
        """Whether a request that arrives now would run."""
        return self.accepting and self._dispatcher.available

    def handler(self) -> grpc.GenericRpcHandler:
        """The handler for a gRPC server."""
        calls: dict[str, Any] = {
            'ServerLive': self._small(self._server_live, pb.ServerLiveRequest),
            'ServerReady': self._small(self._server_ready, pb.ServerReadyRequest),
            'ModelReady': self._small(self._model_ready, pb.ModelReadyRequest),
            'ServerMetadata': self._small(self._server_metadata, pb.ServerMetadataRequest),
            'ModelMetadata': self._small(self._model_metadata, pb.ModelMetadataRequest),
            'ModelInfer': self._model_infer,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            # Requests are streams of one message: so a handler runs before the message is
            # complete and can limit half-sent ones. Messages are bytes, checked before parsing.
            {name: grpc.stream_unary_rpc_method_handler(call) for name, call in calls.items()},
        )

    async def _model_infer(self, messages: Any, context: Context) -> bytes:
        outcome, refusal = 'CANCELLED', None
        try:
            with self._admission.open_call(self._caller(context)):
                reply = await self._infer(context)
            outcome = 'OK'
        except Exception as error:
            refusal = refusal_of(error)
            outcome = refusal[0].name
        finally:
            self._metrics.requests.labels(outcome).inc()
        if refusal is not None:
            # Outside of the handler of the error: gRPC keeps the exception of abort, and with it
            # the request, until the next garbage collection.
            await context.abort(*refusal)
        self._metrics.sent.inc(len(reply))
        return reply

    async def _infer(self, context: Context) -> bytes:
        manifest = self._manifest()
        message = await read_message(context, self._limits.request_s)
        self._metrics.received.inc(len(message))
        request = parse_request(message, self._limits.request_bytes)
        client = self._caller(context).client
        find = partial(self._references.find, client)
        admitted = admit(request, manifest, self._payload_limits, find)
        remaining_s: float | None = context.time_remaining()
        wait_s = self._limits.answer_s if remaining_s is None else max(0.0, remaining_s)
        completing = self._dispatcher.complete(client, admitted, time.monotonic() + wait_s)
        try:
            done = await asyncio.wait_for(completing, wait_s)
        except asyncio.TimeoutError as error:
            raise DeadlineExceededError(
                f'no result within {wait_s * 1e3:.0f} ms; the host is busy'
            ) from error
        stages = {'queue_ms': done.queue_s * 1e3, 'compute_ms': done.compute_s * 1e3}
        maps = [
            tensor
            for task in manifest.tasks.values()
            if task.kind == DEPTH
            for tensor in task.outputs.values()
        ]
        kept = admitted.payload.kind == SYMBOLS
        if kept:
            self._references.keep(client, admitted.payload)
        return serialize_response(request, InferenceResponse(done.tensors, stages, kept), maps)

    def _caller(self, context: Context) -> Caller:
        """The client of a call: by certificate, by token, or else by connection.

        Raises:
            UnauthenticatedError: The token is missing or unknown.
        """
        name: str | None = ''
        if self._tokens is not None:
            metadata = dict(context.invocation_metadata() or ())
            name = self._tokens.client(str(metadata.get('authorization', '')))
            if name is None:
                raise UnauthenticatedError(
                    'the token is missing or unknown; send "authorization: Bearer TOKEN"'
                )
        names = context.auth_context().get('x509_common_name', [])
        certified = names[0].decode('utf-8', 'replace') if names else ''
        peer = str(context.peer())
        proven = certified or name
        return Caller(proven or peer, peer.rpartition(':')[0], bool(proven))

    def _manifest(self) -> Manifest:
        """The served model.

        Raises:
            NotReadyError: The model is not loaded, the host stops, or no worker is available.
        """
        manifest = self._backend.manifest
        if manifest is None:
            raise NotReadyError('the model is still being loaded')
        if not self.accepting:
            raise NotReadyError('the host is starting or stopping')
        if not self.ready:
            raise NotReadyError('no worker of the host is available; try again later')
        return manifest

    async def _server_live(self, request: Any, context: Context) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, request: Any, context: Context) -> Any:
        return pb.ServerReadyResponse(ready=self.ready)

    async def _model_ready(self, request: Any, context: Context) -> Any:
        manifest = self._backend.manifest
        served = manifest is not None and _is_served(request, manifest)
        return pb.ModelReadyResponse(ready=self.ready and served)

    async def _server_metadata(self, request: Any, context: Context) -> Any:
        return pb.ServerMetadataResponse(name='mt_perception', version=__version__)

    async def _model_metadata(self, request: Any, context: Context) -> Any:
        self._caller(context)
        manifest = self._manifest()
        if not _is_served(request, manifest):
            raise UnknownModelError(f'this host serves {manifest.name} {manifest.version}')
        return _metadata(manifest)

    def _small(self, handler: Any, kind: Any) -> Any:
        """A call with small messages of a type."""

        async def call(messages: Any, context: Context) -> bytes:
            try:
                # Before any token: robots and orchestrators ask whether the host is ready.
                with self._admission.open_call(anonymous(context)):
                    request = await read_small(context, kind, self._limits.request_s)
                    reply: bytes = (await handler(request, context)).SerializeToString()
                    return reply
            except Exception as error:
                refusal = refusal_of(error)
            await context.abort(*refusal)
            raise AssertionError('abort does not return')

        return call


def anonymous(context: Context) -> Caller:
    """The origin of a call that needs no authentication."""
    peer = str(context.peer())
    return Caller(f'{peer} (status)', peer.rpartition(':')[0], authenticated=False)


async def read_message(context: Context, limit_s: float) -> bytes:
    """The message of a call.

    Args:
        context: The call.
        limit_s: Time limit for receiving it.

    Raises:
        ProtocolError: The call has no message.
        DeadlineExceededError: The message was not complete in time.
    """
    try:
        # Not from the iterator: gRPC 1.85 never frees an iterator that was not read to the end.
        message = await asyncio.wait_for(context.read(), limit_s)
    except asyncio.TimeoutError as error:
        raise DeadlineExceededError(f'the request was not complete after {limit_s:g} s') from error
    if not isinstance(message, bytes):
        raise ProtocolError('the call ended without a message')
    return message


async def read_small(context: Context, kind: Any, limit_s: float) -> Any:
    """The message of a call, parsed as a small message of a type.

    Raises:
        ProtocolError: The message is too large or of another type.
        DeadlineExceededError: The message was not complete in time.
    """
    message = await read_message(context, limit_s)
    try:
        if len(message) <= _MAX_SMALL:
            return kind.FromString(message)
    except DecodeError:
        pass
    raise ProtocolError(f'the message is no {kind.DESCRIPTOR.name} of at most {_MAX_SMALL} bytes')


def refusal_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """GRPC status and text for any error of a call."""
    if not isinstance(error, PerceptionError):
        error = OffloadError(f'the host failed: {type(error).__name__}')
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    text = str(error).encode('utf-8', 'replace').decode()
    return status, text if len(text) <= _MAX_REFUSAL else f'{text[:_MAX_REFUSAL]} …'


def _is_served(request: Any, manifest: Manifest) -> bool:
    """Whether a request names the served model."""
    return request.name == manifest.name and request.version in ('', manifest.version)


def _metadata(manifest: Manifest) -> Any:
    """Inputs and outputs of the model, with -1 for sizes that depend on the frame."""
    reply = pb.ModelMetadataResponse(
        name=manifest.name, versions=[manifest.version], platform='onnxruntime'
    )
    reply.inputs.add(name=PAYLOAD, datatype='UINT8', shape=[1, -1])
    for task in manifest.tasks.values():
        for output, tensor in task.outputs.items():
            datatype, shape = _OUTPUTS[task.kind, output]
            reply.outputs.add(name=tensor, datatype=datatype, shape=shape)
    return reply
