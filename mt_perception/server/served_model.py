# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model of a remote host: validates requests and runs features or whole images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import (
    ImageError,
    OffloadError,
    PayloadError,
    PerceptionError,
    ProtocolError,
)
from mt_perception.execution.executor import Executor
from mt_perception.execution.frame_run import run_plan
from mt_perception.image.compressed import decode
from mt_perception.image.headers import read_header
from mt_perception.model.folder import open_model
from mt_perception.model.manifest import Manifest, TaskSpec
from mt_perception.model.providers import CPU
from mt_perception.model.sessions import load_sessions
from mt_perception.offload.payload import DIFFERENCE, JPEG, Payload, PayloadLimits, unpack
from mt_perception.offload.protocol import InferenceRequest
from mt_perception.offload.response_validation import validate_response
from mt_perception.offload.split_model import RemoteModel, model_digest
from mt_perception.planning.path_plan import full_plan
from mt_perception.types import DETECTION

_QUOTED = 64
"""Upper limit on characters of a request that an error quotes."""


class UnknownModelError(ProtocolError):
    """The host serves another model or version."""


@dataclass(frozen=True)
class AdmittedRequest:
    """A validated request.

    Attributes:
        payload: The unpacked features or image.
        tensors: The requested tensors, at least one.
        request: The request.
        reference: The payload that a difference refers to.
    """

    payload: Payload
    tensors: tuple[str, ...]
    request: InferenceRequest
    reference: Payload | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Requests with equal keys can run as one batch; an image runs alone."""
        if self.payload.kind == JPEG:
            # Batching gains nothing here, and a slow decoder costs its own request only.
            return (id(self),)
        return self.payload.kind, self.payload.shape, self.tensors


def admit(
    request: InferenceRequest,
    manifest: Manifest,
    limits: PayloadLimits,
    find: Callable[[int], Payload | None] = lambda checksum: None,
) -> AdmittedRequest:
    """Validate a request before it is queued.

    Args:
        request: The request.
        manifest: The served model.
        limits: Limits on the payload.
        find: Returns the client's earlier payload with a checksum.

    Raises:
        UnknownModelError: The request is for another model.
        ProtocolError: The payload is damaged, of another model or of an unsupported size, or a
            requested tensor does not exist.
    """
    if request.model != manifest.name or request.version not in ('', manifest.version):
        raise UnknownModelError(
            f'this host serves {manifest.name} {manifest.version}, '
            f'not {request.model[:_QUOTED]} {request.version[:_QUOTED]}'
        )
    served = [name for task in manifest.tasks.values() for name in task.outputs.values()]
    if unknown := set(request.tensors) - set(served):
        raise ProtocolError(
            f'tensor {min(unknown)[:_QUOTED]!r} does not exist; expected some of {served}'
        )
    payload = unpack(request.payload, limits)
    if payload.digest != model_digest(manifest):
        raise PayloadError(
            'model',
            f'the payload is of another {manifest.name} than this host serves; copy the same '
            'model folder to both machines',
        )
    _check_size(payload, manifest)
    reference = None
    if payload.kind == DIFFERENCE:
        reference = payload.referenced(find(payload.reference))
    tensors = request.tensors or tuple(sorted(set(served)))
    return AdmittedRequest(payload, tensors, request, reference)


def _check_size(payload: Payload, manifest: Manifest) -> None:
    """Check the rate and the declared sizes of a payload.

    Raises:
        PayloadError: The model has no such rate, does not support the size, or an image's header
            declares another size than the payload: nothing is decoded then.
    """
    spec, cut = manifest.input, manifest.cut
    channels, height, width = payload.shape
    stride, expected = 1, 3
    if payload.kind != JPEG:
        if cut is None or payload.rate >= len(cut.rates):
            raise PayloadError(
                'rate', f'model {manifest.name} has no cut with rate {payload.rate}'
            )
        stride, expected = cut.stride, cut.channels
    sizes = height * stride, width * stride
    if (
        channels != expected
        or not spec.multiple <= min(sizes) <= max(sizes) <= spec.max_size
        or any(size % spec.multiple for size in sizes)
    ):
        raise PayloadError(
            'shape',
            f'the payload is for a network input of {sizes[1]}x{sizes[0]} with {channels} '
            f'channels; expected multiples of {spec.multiple} up to {spec.max_size} and '
            f'{expected} channels',
        )
    if payload.kind == JPEG:
        _check_declared_size(payload)


def _check_declared_size(payload: Payload) -> None:
    """Compare the size in an image's header with the payload's.

    Raises:
        PayloadError: The header is invalid or declares another size.
    """
    try:
        header = read_header(payload.body)
    except ImageError as error:
        raise PayloadError('picture', str(error)) from error
    if header is None:
        raise PayloadError('picture', 'the payload holds no image file; expected a JPEG')
    if (header.height, header.width) != payload.shape[1:]:
        raise PayloadError(
            'shape',
            f'the image file declares {header.width}x{header.height} pixels, its payload '
            f'{payload.shape[2]}x{payload.shape[1]}; both must be equal',
        )


Tensors = Mapping[str, NDArray[Any]]
"""Tensor of the graph → value."""

InferenceResult = Tensors | PerceptionError
"""The tensors of a request, or its error."""


class ServedModel:
    """A loaded model that runs features (the remote part of its cut) or whole images.

    Args:
        folder: The model folder.
        threads: Threads inside one operator.
        providers: ONNX Runtime execution providers in order of preference.

    Attributes:
        manifest: The manifest.
        warnings: Warnings for the operator, for example unavailable execution providers.

    Raises:
        ModelError: The folder is invalid.
        OffloadError: The first run fails.
    """

    def __init__(self, folder: Path, threads: int = 1, providers: Sequence[str] = (CPU,)) -> None:
        model = open_model(folder)
        self.manifest = model.manifest
        sessions = load_sessions(model, providers, threads)
        self.warnings = sessions.warnings
        self._executor = Executor(sessions.by_block)
        self._remote = None
        if self.manifest.cut is not None:
            self._remote = RemoteModel(folder, providers, threads)
        self._run_once()

    def run(self, requests: Sequence[AdmittedRequest]) -> list[InferenceResult]:
        """Run requests with equal keys as one batch.

        Returns:
            Finite tensors or an error for each request.
        """
        results: dict[int, InferenceResult] = {}
        latents: dict[int, NDArray[np.float32]] = {}
        for i, admitted in enumerate(requests):
            try:
                if admitted.payload.kind == JPEG:
                    results[i] = self._run_image(admitted)
                elif self._remote is not None:
                    latents[i] = self._remote.latent(admitted.payload, admitted.reference)
                else:
                    results[i] = PayloadError('kind', f'model {self.manifest.name} has no cut')
            except PerceptionError as error:
                results[i] = error
        if self._remote is not None and latents:
            tasks = [task.name for task in _tasks_of(requests[0].tensors, self.manifest)]
            tensors = self._remote.run(np.stack(list(latents.values())), tasks)
            for row, i in enumerate(latents):
                results[i] = {name: value[row : row + 1] for name, value in tensors.items()}
        return [self._selected(admitted, results[i]) for i, admitted in enumerate(requests)]

    def _run_once(self) -> None:
        """Run both ways once: the first run of a session is slow.

        Raises:
            OffloadError: A block fails.
        """
        size, tasks = self.manifest.input.size, list(self.manifest.tasks)
        image = np.full((1, size, size, 3), 128, np.uint8)
        outcome = run_plan(self._executor, full_plan(self.manifest.graph, tasks), image)
        for reason in outcome.failures.values():
            raise OffloadError(f'model {self.manifest.name} fails on its first run: {reason}')
        if self._remote is not None:
            self._remote.run(
                np.zeros((1, *self._remote.cut.latent_shape((size, size))), 'f4'), tasks
            )

    def _run_image(self, admitted: AdmittedRequest) -> Tensors:
        """The tensors of a request with an image in network size.

        Raises:
            PayloadError: The image cannot be decoded.
            OffloadError: A block fails.
        """
        try:
            image = decode(admitted.payload.body)
        except ImageError as error:
            raise PayloadError('picture', str(error)) from error
        tasks = [task.name for task in _tasks_of(admitted.tensors, self.manifest)]
        outcome = run_plan(self._executor, full_plan(self.manifest.graph, tasks), image[None])
        for reason in outcome.failures.values():
            raise OffloadError(reason)
        return outcome.tensors

    def _network_size(self, payload: Payload) -> tuple[int, int]:
        """(height, width) of the network's input of a payload."""
        cut = self.manifest.cut
        stride = 1 if payload.kind == JPEG or cut is None else cut.stride
        return payload.shape[1] * stride, payload.shape[2] * stride

    def _selected(self, admitted: AdmittedRequest, result: InferenceResult) -> InferenceResult:
        """The requested tensors, without detections below the requested score."""
        if isinstance(result, PerceptionError):
            return result
        wanted = {name: result[name] for name in admitted.tensors}
        tasks = _tasks_of(admitted.tensors, self.manifest)
        try:
            validate_response(result, tasks, self._network_size(admitted.payload))
        except ProtocolError as error:
            # The robot would refuse it, and count it against this host.
            return OffloadError(f'the network returned an unusable result: {error}')
        if admitted.request.min_score > 0:
            for task in tasks:
                if task.kind == DETECTION:
                    # In the order of the network.
                    keep = result[task.outputs['scores']][0] >= admitted.request.min_score
                    wanted.update(
                        {t: wanted[t][:, keep] for t in task.outputs.values() if t in wanted}
                    )
        return wanted


def _tasks_of(tensors: Iterable[str], manifest: Manifest) -> list[TaskSpec]:
    """The tasks with at least one of the tensors."""
    wanted = set(tensors)
    return [task for task in manifest.tasks.values() if wanted & set(task.outputs.values())]
