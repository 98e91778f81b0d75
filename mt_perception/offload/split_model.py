# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The two parts of a split model: encoder on the robot, remaining network on the host."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mt_perception.errors import ModelError, PayloadError
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.parallel_executor import SideBySide
from mt_perception.execution.plan import Stage
from mt_perception.model.folder import read_file, read_manifest
from mt_perception.model.manifest import Manifest
from mt_perception.model.providers import CPU
from mt_perception.model.sessions import open_session
from mt_perception.model.split import LATENT, Cut
from mt_perception.offload.codec import LatentCodec
from mt_perception.offload.codec_tables import read_tables
from mt_perception.offload.payload import (
    DIGEST_BYTES,
    JPEG,
    REFERENCE_BYTES,
    SYMBOLS,
    Payload,
    pack,
    unpack,
)
from mt_perception.reports import OffloadReport


def model_digest(manifest: Manifest) -> bytes:
    """The digest in payloads: of the cut's files, or of all blocks of a model without a cut."""
    if manifest.cut is not None:
        return manifest.cut.digest
    sums = ''.join(manifest.files[name].sha256 for name in sorted(manifest.graph.blocks))
    return hashlib.sha256(sums.encode()).digest()[:DIGEST_BYTES]


def cut_of(manifest: Manifest) -> Cut:
    """The cut of a model.

    Raises:
        ModelError: The model has none.
    """
    if manifest.cut is None:
        raise ModelError(
            f'model {manifest.name!r} has no cut: its manifest has no section "cut"; '
            'train one with recipes/offload.yaml'
        )
    return manifest.cut


def read_codec(folder: Path, cut: Cut) -> LatentCodec:
    """Read the codec of a cut.

    Raises:
        ModelError: The tables are invalid, or their channels or rates differ from the manifest.
    """
    codec = LatentCodec(read_tables(read_file(folder, cut.tables)))
    if codec.channels != cut.channels or codec.rates != len(cut.rates):
        raise ModelError(
            f'{cut.tables.path} has {codec.channels} channels and {codec.rates} rates; '
            f'its manifest says {cut.channels} and {len(cut.rates)}'
        )
    return codec


class SplitEncoder:
    """The part on the robot: encodes an image to a payload.

    Args:
        folder: The model folder.
        providers: ONNX Runtime execution providers in order of preference.
        threads: Threads inside one operator.

    Raises:
        ModelError: The folder is invalid, or the model has no cut.
    """

    def __init__(self, folder: Path, providers: Sequence[str] = (CPU,), threads: int = 1) -> None:
        self.cut = cut_of(read_manifest(folder))
        self.codec = read_codec(folder, self.cut)
        content = read_file(folder, self.cut.encoder_file)
        self._session = open_session(self.cut.encoder.name, content, providers, threads)
        (self._input,) = self.cut.encoder.inputs

    def latent(self, image: NDArray[np.uint8], rate: int) -> NDArray[np.float32]:
        """Latents (C, h, w) of the network's input, uint8 (1, H, W, 3).

        Raises:
            PayloadError: The rate does not exist.
        """
        if not 0 <= rate < self.codec.rates:
            raise PayloadError('rate', f'rate {rate}: the model has {self.codec.rates}')
        (latent,) = self._session.run([LATENT], {self._input: image})
        return np.asarray(latent[0], np.float32)

    def symbols(self, image: NDArray[np.uint8], rate: int) -> NDArray[np.int16]:
        """Symbols (C, h, w) of the network's input, uint8 (1, H, W, 3)."""
        return self.codec.quantise(self.latent(image, rate), rate)

    def payload(
        self, image: NDArray[np.uint8], rate: int, stamp_ns: int = 0, frame_id: str = ''
    ) -> Payload:
        """The payload of the network's input, uint8 (1, H, W, 3).

        Raises:
            PayloadError: The rate does not exist.
        """
        body = self.codec.encode(self.symbols(image, rate), rate)
        return self.wrap(body, image, rate, stamp_ns, frame_id)

    def wrap(
        self,
        body: bytes,
        image: NDArray[np.uint8],
        rate: int,
        stamp_ns: int,
        frame_id: str,
        kind: int = SYMBOLS,
    ) -> Payload:
        """The payload with the code of the network's input, uint8 (1, H, W, 3)."""
        shape = self.cut.latent_shape((image.shape[1], image.shape[2]))
        return Payload(kind, rate, self.cut.digest, shape, stamp_ns, frame_id, body)


class RemoteModel:
    """The part on the host: decoder, remaining trunk and heads.

    Args:
        folder: The model folder.
        providers: ONNX Runtime execution providers in order of preference.
        threads: Upper limit on busy threads.

    Raises:
        ModelError: The folder is invalid, or the model has no cut.
    """

    def __init__(self, folder: Path, providers: Sequence[str] = (CPU,), threads: int = 1) -> None:
        self.manifest = read_manifest(folder)
        self.cut = cut_of(self.manifest)
        self.codec = read_codec(folder, self.cut)

        def opened(name: str, threads: int) -> ort.InferenceSession:
            content = read_file(folder, self.cut.files[name])
            return open_session(name, content, providers, threads)

        blocks = tuple(self.cut.graph.blocks.values())
        self._blocks = SideBySide(blocks, opened, threads)

    def latent(self, payload: Payload, reference: Payload | None = None) -> NDArray[np.float32]:
        """Latents (C, h, w) of a payload.

        Args:
            payload: The payload.
            reference: The payload that a difference refers to.

        Raises:
            PayloadError: Model, kind, rate or shape of the payload does not fit.
        """
        if payload.kind == JPEG or payload.digest != self.cut.digest:
            raise PayloadError(
                'model',
                f'payload is of another model than {self.manifest.name!r}; install the same '
                'model folder on both machines',
            )
        if payload.rate >= self.codec.rates:
            raise PayloadError('rate', f'rate {payload.rate}: the model has {self.codec.rates}')
        _, height, width = payload.shape
        spec, stride = self.manifest.input, self.cut.stride
        sides = (height * stride, width * stride)
        if any(side % spec.multiple or not 0 < side <= spec.max_size for side in sides):
            raise PayloadError(
                'shape',
                f'payload is of an image of {sides}; expected multiples of {spec.multiple} '
                f'up to {spec.max_size}',
            )
        return self.codec.dequantise(self._symbols(payload, reference), payload.rate)

    def _symbols(self, payload: Payload, reference: Payload | None) -> NDArray[np.int16]:
        if payload.kind == SYMBOLS:
            return self.codec.decode(payload.body, payload.rate, payload.shape)
        known = self._symbols(payload.referenced(reference), None)
        code = payload.body[REFERENCE_BYTES:]
        return self.codec.decode(code, payload.rate, payload.shape, known)

    def run(self, latents: NDArray[np.float32], tasks: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Run tasks on latents (B, C, h, w).

        Returns:
            Tensor of the graph, such as ``detection/boxes`` → value (B, …), for all tensors that
            post-processing of these tasks reads.
        """
        wanted = list(tasks)
        names = [block.name for block in self.cut.graph.blocks_for(wanted)]
        tensors = self._blocks.run(names, {LATENT: latents})
        graph_tasks: Mapping[str, tuple[str, ...]] = self.cut.graph.tasks
        return {tensor: tensors[tensor] for task in wanted for tensor in graph_tasks[task]}


class SplitModelRunner:
    """Runs both parts in this process, without a link.

    Args:
        folder: A model folder with a cut.
        rate: Index of the rate.

    Attributes:
        rate: Index of the rate; can change between two frames.

    Raises:
        ModelError: The folder is invalid, or the model has no cut.
    """

    def __init__(self, folder: Path, rate: int) -> None:
        self.robot = SplitEncoder(folder)
        self.remote = RemoteModel(folder)
        self.rate = rate

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Encode, pack, unpack and run the tasks of all stages."""
        start = time.perf_counter()
        payload = self.robot.payload(run.image, self.rate)
        data = pack(payload)
        sent = time.perf_counter()
        latent = self.remote.latent(unpack(data))
        tasks = [task for one in run.plan.stages for task in one.tasks]
        run.tensors |= self.remote.run(latent[None], tasks)
        end = time.perf_counter()
        run.blocks += (self.robot.cut.encoder, *self.remote.cut.graph.blocks_for(tasks))
        run.offload = OffloadReport(
            remote=True,
            reason='both parts in one process',
            rate=self.rate,
            payload_bytes=len(data),
            encode_ms=(sent - start) * 1e3,
            server_ms={'remote': (end - sent) * 1e3},
        )
