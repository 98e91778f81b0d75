# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A remote host in this process that can be told to misbehave: real gRPC, real replies, bent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from mt_perception.offload.payload import unpack
from mt_perception.offload.protocol import (
    SERVICE,
    InferenceRequest,
    InferenceResponse,
    parse_request,
    serialize_response,
)
from mt_perception.offload.split_model import RemoteModel

Bend = Callable[[pb.ModelInferResponse], pb.ModelInferResponse]


class OddHost:
    """A host for a model folder; leaving the ``with`` ends it.

    Args:
        folder: The model folder.
        credentials: Of TLS; None speaks plain.
        token: That clients must have; empty takes everybody.

    Attributes:
        requests: What was asked, in order.
        bend: Changes every reply before it is sent.
        ready: What it says when asked.
        code: Aborts every request with this instead of answering.
        held: While it is clear, requests wait; each is answered when it is set.
    """

    def __init__(
        self, folder: Path, credentials: grpc.ServerCredentials | None = None, token: str = ''
    ) -> None:
        self.requests: list[InferenceRequest] = []
        self.bend: Bend = lambda reply: reply
        self.ready = True
        self.code: grpc.StatusCode | None = None
        self.held = threading.Event()
        self.held.set()
        self.pings = 0
        self._token = token
        self._half = RemoteModel(folder)
        # Calls that are held keep a thread each, and a ping must still be answered.
        self._server = grpc.server(ThreadPoolExecutor(32), options=[('grpc.so_reuseport', 0)])
        unary = grpc.unary_unary_rpc_method_handler
        handlers = {'ModelInfer': unary(self._infer), 'ModelReady': unary(self._ready)}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        if credentials is None:
            self.port = self._server.add_insecure_port('127.0.0.1:0')
        else:
            self.port = self._server.add_secure_port('127.0.0.1:0', credentials)
        self.address = f'127.0.0.1:{self.port}'
        self._server.start()

    def _ready(self, message: bytes, context: Any) -> bytes:
        self.pings += 1
        ready: bytes = pb.ModelReadyResponse(ready=self.ready).SerializeToString()
        return ready

    def _infer(self, message: bytes, context: Any) -> bytes:
        given = dict(context.invocation_metadata()).get('authorization', '')
        if self._token and given != f'Bearer {self._token}':
            context.abort(grpc.StatusCode.UNAUTHENTICATED, 'the token is none of ours')
        request = parse_request(message)
        self.requests.append(request)
        if self.code is not None:
            context.abort(self.code, 'told to')
        self.held.wait(30)
        payload = unpack(request.payload)
        tasks = [
            name
            for name, tensors in self._half.cut.graph.tasks.items()
            if not request.tensors or set(tensors) <= set(request.tensors)
        ]
        tensors = self._half.run(self._half.latent(payload)[None], tasks)
        reply = InferenceResponse(tensors, {'queue_ms': 0.0, 'compute_ms': 1.0})
        honest = serialize_response(request, reply, ['depth/depth_per_focal'])
        bent = self.bend(pb.ModelInferResponse.FromString(honest))
        return bent if isinstance(bent, bytes) else bent.SerializeToString()

    def __enter__(self) -> OddHost:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.held.set()
        self._server.stop(None).wait(10)
