# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A runner that sends every frame to a remote host and waits for the response."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import OffloadError, OptionError
from mt_perception.evaluation.rate_distortion import JPEG, RATE, Codec, encoded
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import Manifest
from mt_perception.offload.inference_client import InferenceClient
from mt_perception.offload.payload import JPEG as JPEG_FILE
from mt_perception.offload.payload import Payload, pack
from mt_perception.offload.protocol import InferenceRequest, InferenceResponse
from mt_perception.offload.split_model import SplitEncoder, model_digest
from mt_perception.pipeline import Pipeline
from mt_perception.reports import OffloadReport

PATIENCE_S = 120.0

Encode = Callable[[NDArray[np.uint8]], Payload]


class Sender:
    """Sends every frame and waits for its response: measures the link, without a policy.

    Args:
        client: The client of the remote host.
        pipeline: The pipeline of the frames.
        encode: The network's input, uint8 (1, H, W, 3), as a payload.
    """

    def __init__(self, client: InferenceClient, pipeline: Pipeline, encode: Encode) -> None:
        self._client = client
        self._pipeline = pipeline
        self._encode = encode
        self._numbers = itertools.count()

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Have the results of all stages computed by the host.

        Raises:
            OffloadError: The host did not answer, or refused.
        """
        manifest = self._pipeline.manifest
        # Sends and processes pings, as a robot does before each frame.
        self._client.unavailable(time.monotonic())
        content = pack(self._encode(run.image))
        tensors = {name for task in manifest.tasks.values() for name in task.outputs.values()}
        request = InferenceRequest(
            manifest.name,
            '',
            str(next(self._numbers)),
            content,
            tuple(sorted(run.plan.results)),
            self._pipeline.options.score_threshold,
            self._client.link_state(time.monotonic()).precision,
            complete=set(run.plan.results) == tensors,
        )
        call = self._client.send(request, PATIENCE_S)
        call.wait(PATIENCE_S)
        reply = self._client.result(call) if call.done else self._client.cancel(call)
        if not isinstance(reply, InferenceResponse):
            raise OffloadError(reply.sentence)
        run.tensors |= reply.tensors
        run.offload = OffloadReport(
            remote=True,
            reason='always',
            payload_bytes=len(content),
            server_ms=reply.server_ms,
        )


def encoder(folder: Path, manifest: Manifest, codec: Codec) -> Encode:
    """The function that makes payloads with a codec.

    Raises:
        ModelError: The model has no cut, but the codec is a rate.
        OptionError: The host takes no payloads of this kind.
    """
    if codec.kind == RATE:
        half = SplitEncoder(folder)
        return lambda image: half.payload(image, codec.value)
    if codec.kind != JPEG:
        raise OptionError(f'frames are sent as {JPEG} or as a {RATE}, not as {codec.name}')
    digest = model_digest(manifest)

    def file(image: NDArray[np.uint8]) -> Payload:
        height, width = image.shape[1:3]
        return Payload(JPEG_FILE, 0, digest, (3, height, width), 0, '', encoded(image, codec))

    return file
