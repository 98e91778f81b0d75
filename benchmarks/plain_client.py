# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A client of a remote host without checks of its own, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
from numpy.typing import NDArray

from mt_perception.model.folder import read_manifest
from mt_perception.offload.payload import JPEG, Payload, pack
from mt_perception.offload.protocol import (
    MODEL_INFER,
    InferenceRequest,
    parse_response,
    serialize_request,
)
from mt_perception.offload.split_model import SplitEncoder, model_digest

PATIENCE_S = 30.0


class Robot:
    """A client that knows a model folder."""

    def __init__(
        self,
        target: str,
        folder: Path,
        token: str = '',
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        # Channels of one process share connections, and a connection is who a client is.
        every = [('grpc.use_local_subchannel_pool', 1), *options]
        self.channel = (
            grpc.insecure_channel(target, every)
            if credentials is None
            else grpc.secure_channel(target, credentials, every)
        )
        self.manifest = read_manifest(folder)
        self.half = SplitEncoder(folder) if self.manifest.cut is not None else None
        self.metadata = [('authorization', f'Bearer {token}')] if token else []
        self.infer = self.channel.unary_unary(MODEL_INFER)

    def request(self, image: NDArray[np.uint8], rate: int = 0, **fields: Any) -> InferenceRequest:
        """A request for a network image (H, W, 3): features where there is a cut."""
        if self.half is not None:
            payload = self.half.payload(image[None], rate)
        else:
            payload = self.picture(image)
        return self.request_of(payload, **fields)

    def request_of(self, payload: Payload, **fields: Any) -> InferenceRequest:
        name, version = self.manifest.name, self.manifest.version
        given = {'model': name, 'version': version, 'request_id': '1', **fields}
        return InferenceRequest(payload=pack(payload), **given)

    def picture(self, image: NDArray[np.uint8], file: str = '.png') -> Payload:
        body = cv2.imencode(file, image)[1].tobytes()
        shape = (3, *image.shape[:2])
        return Payload(JPEG, 0, model_digest(self.manifest), shape, 0, '', body)

    def ask(self, request: InferenceRequest, timeout: float | None = PATIENCE_S) -> Any:
        return parse_response(self.send(serialize_request(request), timeout), request)

    def send(self, message: bytes, timeout: float | None = PATIENCE_S, **options: Any) -> bytes:
        return self.infer(message, timeout=timeout, metadata=self.metadata, **options)

    def refused(
        self, message: bytes | InferenceRequest, timeout: float | None = PATIENCE_S, **options: Any
    ) -> Any:
        """Send what has to be refused: (status, sentence)."""
        message = serialize_request(message) if isinstance(message, InferenceRequest) else message
        try:
            self.send(message, timeout, **options)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError('it was not refused')

    def close(self) -> None:
        self.channel.close()


@contextmanager
def robot(target: str, folder: Path, **options: Any) -> Iterator[Robot]:
    made = Robot(target, folder, **options)
    try:
        yield made
    finally:
        made.close()


def image(seed: int = 0, size: tuple[int, int] = (64, 64)) -> NDArray[np.uint8]:
    """Coloured patches of 16 pixels."""
    random = np.random.default_rng(seed)
    cells = random.integers(0, 255, (size[0] // 16, size[1] // 16, 3), np.uint8)
    return np.kron(cells, np.ones((16, 16, 1), np.uint8))
