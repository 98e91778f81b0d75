# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model on the remote host: features are finished, pictures get the whole network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ImageError, OffloadError, PayloadError, PerceptionError
from mt_perception.graph.plan import full_plan
from mt_perception.image.compressed import decode
from mt_perception.offload.halves import RemoteHalf
from mt_perception.offload.job import Job
from mt_perception.offload.payload import JPEG
from mt_perception.runtime.executor import Executor
from mt_perception.runtime.manifest import Manifest, TaskSpec
from mt_perception.runtime.model_folder import open_model
from mt_perception.runtime.sessions import CPU, load_sessions
from mt_perception.types import DETECTION

Tensors = Mapping[str, NDArray[Any]]
"""Tensor of the graph → its value."""

Made = Tensors | PerceptionError
"""What became of a job."""


class HostedModel:
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
            self._half = RemoteHalf(folder, sessions.providers, threads)
        self._run_once()

    def run(self, jobs: Sequence[Job]) -> list[Made]:
        """Run jobs of one key as one batch.

        Returns:
            For each job its tensors, all of them finite, or why there are none.
        """
        made: dict[int, Made] = {}
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
        outcome = self._whole.run(full_plan(self.manifest.graph, tasks), image)
        for reason in outcome.failures.values():
            raise OffloadError(f'model {self.manifest.name} fails on a first frame: {reason}')
        if self._half is not None:
            self._half.run(np.zeros((1, *self._half.cut.latent_shape((size, size))), 'f4'), tasks)

    def _of_picture(self, job: Job) -> Tensors:
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
        outcome = self._whole.run(full_plan(self.manifest.graph, tasks), image[None])
        for reason in outcome.failures.values():
            raise OffloadError(reason)
        return outcome.tensors

    def _wanted(self, job: Job, made: Made) -> Made:
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
