# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model on the remote host: admits requests, finishes payloads, runs whole pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from mt_perception.model.folder import open_model
from mt_perception.model.manifest import Manifest, TaskSpec
from mt_perception.model.sessions import CPU, load_sessions
from mt_perception.offload.payload import JPEG, Payload, PayloadLimits, unpack
from mt_perception.offload.protocol import InferenceRequest
from mt_perception.offload.split_model import RemoteModel, model_digest
from mt_perception.planning.path_plan import full_plan
from mt_perception.types import DETECTION


class UnknownModelError(ProtocolError):
    """A model, or a version of it, that this host does not have."""


@dataclass(frozen=True)
class AdmittedRequest:
    """One frame's work.

    Attributes:
        payload: The features or the picture.
        tensors: The tensors that are wanted, at least one.
        request: What asked for it.
    """

    payload: Payload
    tensors: tuple[str, ...]
    request: InferenceRequest

    @property
    def key(self) -> tuple[object, ...]:
        """Jobs of equal keys can be run as one batch."""
        return self.payload.kind, self.payload.shape, self.tensors


def admit(request: InferenceRequest, manifest: Manifest, limits: PayloadLimits) -> AdmittedRequest:
    """Look at a request before it waits, so that it does not wait in vain.

    Raises:
        UnknownModelError: It is for another model.
        ProtocolError: The payload is damaged, of another model, of a size that this one does not
            take, or a tensor is none of its tasks'.
    """
    if request.model != manifest.name or request.version not in ('', manifest.version):
        raise UnknownModelError(
            f'this host serves {manifest.name} {manifest.version}, '
            f'not {request.model} {request.version}'
        )
    served = [name for task in manifest.tasks.values() for name in task.outputs.values()]
    if unknown := set(request.tensors) - set(served):
        raise ProtocolError(f'{min(unknown)!r} is no tensor of a task; there are {served}')
    payload = unpack(request.payload, limits)
    if payload.digest != model_digest(manifest):
        raise PayloadError(
            'model',
            f'the payload was made with another {manifest.name} than the one that this host '
            'serves; copy the same model folder to both machines',
        )
    _check_size(payload, manifest)
    return AdmittedRequest(payload, request.tensors or tuple(dict.fromkeys(served)), request)


def _check_size(payload: Payload, manifest: Manifest) -> None:
    """The network size is one that the model was checked at.

    Raises:
        PayloadError: It is another one, or the model has no such cut.
    """
    spec, cut = manifest.input, manifest.cut
    channels, height, width = payload.shape
    stride, expected = 1, 3
    if payload.kind != JPEG:
        if cut is None or payload.rate >= len(cut.rates):
            raise PayloadError('rate', f'model {manifest.name} has no cut of rate {payload.rate}')
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


Tensors = Mapping[str, NDArray[Any]]
"""Tensor of the graph → its value."""

InferenceResult = Tensors | PerceptionError
"""What became of a job."""


class ServedModel:
    """Both ways through a model that a robot can ask for.

    Args:
        folder: The model folder.
        threads: Threads inside one operator.
        providers: ONNX Runtime execution providers, most wanted first.

    Attributes:
        manifest: What the model offers.
        warnings: What was asked for and could not be had, in words for an operator.

    Raises:
        ModelError: The folder is refused.
        OffloadError: The model fails on a first frame.
    """

    def __init__(self, folder: Path, threads: int = 1, providers: Sequence[str] = (CPU,)) -> None:
        model = open_model(folder)
        self.manifest = model.manifest
        sessions = load_sessions(model, providers, threads)
        self.warnings = sessions.warnings
        self._whole = Executor(sessions.by_block)
        self._half = None
        if self.manifest.cut is not None:
            self._half = RemoteModel(folder, sessions.providers, threads)
        self._run_once()

    def run(self, jobs: Sequence[AdmittedRequest]) -> list[InferenceResult]:
        """Run jobs of one key as one batch.

        Returns:
            For each job its tensors, all of them finite, or why there are none.
        """
        made: dict[int, InferenceResult] = {}
        latents: dict[int, NDArray[np.float32]] = {}
        for i, job in enumerate(jobs):
            try:
                if job.payload.kind == JPEG:
                    made[i] = self._of_picture(job)
                elif self._half is not None:
                    latents[i] = self._half.latent(job.payload)
                else:
                    made[i] = PayloadError('kind', f'model {self.manifest.name} has no cut')
            except PerceptionError as error:
                made[i] = error
        if self._half is not None and latents:
            tasks = [task.name for task in _tasks_of(jobs[0].tensors, self.manifest)]
            tensors = self._half.run(np.stack(list(latents.values())), tasks)
            for row, i in enumerate(latents):
                made[i] = {name: value[row : row + 1] for name, value in tensors.items()}
        return [self._wanted(job, made[i]) for i, job in enumerate(jobs)]

    def _run_once(self) -> None:
        """Run everything once, so that the first client is not the slow one.

        Raises:
            OffloadError: The model does not do what its manifest says.
        """
        size, tasks = self.manifest.input.size, list(self.manifest.tasks)
        image = np.full((1, size, size, 3), 128, np.uint8)
        outcome = run_plan(self._whole, full_plan(self.manifest.graph, tasks), image)
        for reason in outcome.failures.values():
            raise OffloadError(f'model {self.manifest.name} fails on a first frame: {reason}')
        if self._half is not None:
            self._half.run(np.zeros((1, *self._half.cut.latent_shape((size, size))), 'f4'), tasks)

    def _of_picture(self, job: AdmittedRequest) -> Tensors:
        """The tensors of a job that brings the network's image.

        Raises:
            PayloadError: It is no picture, or of another size than it says.
            OffloadError: A block failed.
        """
        try:
            image = decode(job.payload.body)
        except ImageError as error:
            raise PayloadError('picture', str(error)) from error
        if image.shape[:2] != job.payload.shape[1:]:
            raise PayloadError(
                'shape', f'the picture has {image.shape[:2]} pixels, not {job.payload.shape[1:]}'
            )
        tasks = [task.name for task in _tasks_of(job.tensors, self.manifest)]
        outcome = run_plan(self._whole, full_plan(self.manifest.graph, tasks), image[None])
        for reason in outcome.failures.values():
            raise OffloadError(reason)
        return outcome.tensors

    def _wanted(self, job: AdmittedRequest, made: InferenceResult) -> InferenceResult:
        """The tensors that a job asks for, without the detections that it has no use for."""
        if isinstance(made, PerceptionError):
            return made
        wanted = {name: made[name] for name in job.tensors}
        for name, value in wanted.items():
            if value.dtype.kind == 'f' and not np.isfinite(value).all():
                return OffloadError(f'the network made values of {name!r} that are not finite')
        if job.request.min_score > 0:
            for task in _tasks_of(job.tensors, self.manifest):
                if task.kind == DETECTION:
                    # In the order of the network, as if they had all been sent.
                    keep = made[task.outputs['scores']][0] >= job.request.min_score
                    wanted.update(
                        {t: wanted[t][:, keep] for t in task.outputs.values() if t in wanted}
                    )
        return wanted


def _tasks_of(tensors: Iterable[str], manifest: Manifest) -> list[TaskSpec]:
    """The tasks that have one of these tensors."""
    wanted = set(tensors)
    return [task for task in manifest.tasks.values() if wanted & set(task.outputs.values())]
