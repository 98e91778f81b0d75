# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host's work on Ray Serve: replicas on many machines behind our own gRPC front.

Serve has a gRPC proxy of its own, but it takes messages only when they are parsed, wants an
application's name in the metadata of every call, and knows neither tokens nor clients. So requests
come in through our front, with its checks, its fair queue and its batches, and go to the replicas
through Serve's handles; Serve places the replicas, counts them up and down and replaces the dead.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mt_perception.errors import OffloadError, OptionError, PayloadError, PerceptionError
from mt_perception.model.folder import read_manifest
from mt_perception.model.manifest import Manifest
from mt_perception.model.sessions import CPU
from mt_perception.server.served_model import (
    AdmittedRequest,
    InferenceResult,
    ServedModel,
    Tensors,
)

APPLICATION = 'mt_perception'

_ATTEMPTS = 3
"""A batch whose replica died goes to another one; nothing is lost by doing it again."""

_PACE = {'target_ongoing_requests': 1, 'upscale_delay_s': 3, 'downscale_delay_s': 60}
"""Robots notice a host that is too slow at once, and come back soon after they left."""

Sent = Tensors | tuple[str, str]
"""What a replica sends of a job: tensors, or the reason and the sentence of an error.

Our errors themselves cannot travel: Python makes them anew from their sentence alone.
"""


class Replica:
    """One copy of the model, in a process of its own.

    Args:
        folder: The model folder, at the same place on every machine.
        threads: Threads inside one operator.
        providers: ONNX Runtime execution providers, most wanted first.
    """

    def __init__(self, folder: str, threads: int, providers: Sequence[str]) -> None:
        self._hosted = ServedModel(Path(folder), threads, providers)

    async def run(self, jobs: Sequence[AdmittedRequest]) -> list[Sent]:
        """Run jobs of one key beside the event loop, which answers Serve's questions."""
        made = await asyncio.to_thread(self._hosted.run, jobs)
        return [
            (getattr(each, 'reason', ''), str(each)) if isinstance(each, PerceptionError) else each
            for each in made
        ]


class RayBackend:
    """Runs jobs on the cluster that ``RAY_ADDRESS`` names, or on one started here.

    Args:
        model: The model folder, at the same place on every machine.
        replicas: Copies of the model, at least.
        most: Copies of the model, at most; as many as the load asks for.
        threads: Processors of one replica.
        providers: ONNX Runtime execution providers, most wanted first.

    Raises:
        OptionError: Ray Serve is not installed, or there would be fewer at most than at least.
    """

    def __init__(
        self,
        model: Path,
        replicas: int = 1,
        most: int = 1,
        threads: int = 1,
        providers: Sequence[str] = (CPU,),
    ) -> None:
        if not 1 <= replicas <= most:
            raise OptionError(f'{replicas} replicas at least and {most} at most do not fit')
        try:
            self._ray = importlib.import_module('ray')
            self._serve = importlib.import_module('ray.serve')
        except ImportError as error:
            raise OptionError(
                f'Ray Serve is not installed ({error}); pip install "mt_perception[serve,ray]"'
            ) from error
        self.manifest: Manifest | None = None
        self.warnings: tuple[str, ...] = ()
        # One more than can be worked on: Serve counts those that wait to know that it needs more.
        self.workers = most + 1
        self._model = model.resolve()
        self._scale = {'min_replicas': replicas, 'max_replicas': most}
        self._threads = threads
        self._providers = tuple(providers)
        self._handle: Any = None
        self._started_here = False

    async def load(self) -> None:
        """Start the replicas and wait until they have loaded the model."""
        manifest = read_manifest(self._model)
        self._handle = await asyncio.to_thread(self._deploy)
        self.manifest = manifest

    async def run(self, jobs: Sequence[AdmittedRequest]) -> list[InferenceResult]:
        """Run jobs of one key on one of the replicas.

        Raises:
            OffloadError: One replica after the other died over it.
        """
        for attempt in range(_ATTEMPTS):
            try:
                sent: list[Sent] = await self._handle.run.remote(list(jobs))
            except self._ray.exceptions.RayError as error:
                if attempt + 1 == _ATTEMPTS:
                    reason = str(error).splitlines()[0]
                    raise OffloadError(f'no replica could do it: {reason}') from error
                continue
            return [_received(each) for each in sent]
        raise AssertionError('the last attempt returns or raises')

    async def close(self) -> None:
        """Take the replicas down, and the cluster if it was started here."""
        await asyncio.to_thread(self._take_down)

    def _deploy(self) -> Any:
        if not self._ray.is_initialized():
            try:
                # Ray itself looks for RAY_ADDRESS.
                self._ray.init(include_dashboard=False, log_to_driver=False)
            except Exception as error:
                # Ray's own errors here have no base class of their own.
                raise OffloadError(f'there is no Ray cluster: {error}') from error
            self._started_here = True
        self._serve.start(proxy_location='Disabled')
        deployment = self._serve.deployment(
            Replica,
            name=APPLICATION,
            # A replica has its processors for one batch at a time.
            max_ongoing_requests=1,
            ray_actor_options={'num_cpus': max(1, self._threads)},
            autoscaling_config={**self._scale, **_PACE},
            health_check_period_s=2,
            health_check_timeout_s=10,
        )
        application = deployment.bind(str(self._model), self._threads, self._providers)
        try:
            return self._serve.run(application, name=APPLICATION, route_prefix=None)
        except RuntimeError as error:
            raise OffloadError(f'the replicas do not start: {error}') from error

    def _take_down(self) -> None:
        if self._handle is not None:
            self._serve.delete(APPLICATION)
        if self._started_here:
            self._serve.shutdown()
            self._ray.shutdown()


def _received(sent: Sent) -> InferenceResult:
    """What became of a job, as it would be here."""
    if isinstance(sent, tuple):
        reason, sentence = sent
        return PayloadError(reason, sentence) if reason else OffloadError(sentence)
    return sent
