# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A backend on Ray Serve: replicas on several machines behind this package's gRPC server.

Serve's own gRPC proxy parses messages before any check, requires the application's name in the
metadata of each call, and has neither tokens nor client limits. Requests therefore arrive at our
server, with its checks, fair queue and batches, and reach the replicas through Serve's handles.
Serve places, scales and replaces the replicas.
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
from mt_perception.model.providers import CPU
from mt_perception.resources import install_command
from mt_perception.server.served_model import (
    AdmittedRequest,
    InferenceResult,
    ServedModel,
    Tensors,
)
from mt_perception.server.worker_thread import OverrunError

APPLICATION = 'mt_perception'

_ATTEMPTS = 3
"""Attempts for a batch whose replica died; repeating a run has no side effects."""

_PACE = {'target_ongoing_requests': 1, 'upscale_delay_s': 3, 'downscale_delay_s': 60}
"""Scale up quickly: robots leave a slow host at once, and return soon."""

Sent = Tensors | tuple[str, str]
"""A replica's result: tensors, or reason and text of an error.

Pickled exceptions would lose their second argument.
"""


class Replica:
    """One copy of the model in a process of its own.

    Args:
        folder: The model folder, at the same path on every machine.
        threads: Threads inside one operator.
        providers: ONNX Runtime execution providers in order of preference.
    """

    def __init__(self, folder: str, threads: int, providers: Sequence[str]) -> None:
        self._served = ServedModel(Path(folder), threads, providers)

    async def run(self, requests: Sequence[AdmittedRequest]) -> list[Sent]:
        """Run requests with equal keys in a thread, for Serve's health checks."""
        results = await asyncio.to_thread(self._served.run, requests)
        return [
            (getattr(each, 'reason', ''), str(each)) if isinstance(each, PerceptionError) else each
            for each in results
        ]


class RayBackend:
    """Runs batches on the cluster of ``RAY_ADDRESS``, or on a cluster that it starts.

    Args:
        model: The model folder, at the same path on every machine.
        replicas: Smallest number of replicas.
        most: Largest number of replicas; Serve scales with the load.
        threads: Threads and CPUs of one replica.
        providers: ONNX Runtime execution providers in order of preference.

    Raises:
        OptionError: Ray Serve is not installed, or the range of replicas is empty.
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
            raise OptionError(
                f'expected 1 <= replicas <= max_replicas, found {replicas} and {most}'
            )
        try:
            self._ray = importlib.import_module('ray')
            self._serve = importlib.import_module('ray.serve')
        except ImportError as error:
            raise OptionError(
                f'Ray Serve is not installed ({error}); {install_command("serve", "ray")}'
            ) from error
        self.manifest: Manifest | None = None
        self.warnings: tuple[str, ...] = ()
        # One more than the replicas: Serve scales up when a request waits.
        self.workers = most + 1
        self._model = model.resolve()
        self._scale = {'min_replicas': replicas, 'max_replicas': most}
        self._threads = threads
        self._providers = tuple(providers)
        self._handle: Any = None
        self._started_here = False

    async def load(self) -> None:
        """Start the replicas and wait until they are ready."""
        manifest = read_manifest(self._model)
        self._handle = await asyncio.to_thread(self._deploy)
        self.manifest = manifest

    @property
    def available(self) -> bool:
        """Whether the replicas are ready; Serve replaces failing ones."""
        return self._handle is not None

    async def run(
        self, requests: Sequence[AdmittedRequest], limit_s: float
    ) -> list[InferenceResult]:
        """Run requests with equal keys on one replica.

        Raises:
            OverrunError: The batch exceeded the limit.
            OffloadError: Each attempt lost its replica.
        """
        for attempt in range(_ATTEMPTS):
            try:
                response = self._handle.run.remote(list(requests))
                sent: list[Sent] = await asyncio.wait_for(response, limit_s)
            except asyncio.TimeoutError as error:
                raise OverrunError(f'the batch exceeded its limit of {limit_s:g} s') from error
            except self._ray.exceptions.RayError as error:
                if attempt + 1 == _ATTEMPTS:
                    reason = str(error).splitlines()[0]
                    raise OffloadError(f'{_ATTEMPTS} replicas failed: {reason}') from error
                continue
            return [_received(each) for each in sent]
        raise AssertionError('the last attempt returns or raises')

    async def close(self) -> None:
        """Remove the replicas, and the cluster if this backend started it."""
        await asyncio.to_thread(self._take_down)

    def _deploy(self) -> Any:
        if not self._ray.is_initialized():
            try:
                # Ray reads RAY_ADDRESS.
                self._ray.init(include_dashboard=False, log_to_driver=False)
            except Exception as error:
                # Ray's errors here have no common base class. A failed start leaves processes
                # until this one ends, so it is not repeated here.
                raise OffloadError(f'there is no Ray cluster: {error}') from error
            self._started_here = True
        self._serve.start(proxy_location='Disabled')
        deployment = self._serve.deployment(
            Replica,
            name=APPLICATION,
            # One batch per replica at a time.
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
    """The result of a request, with its error restored."""
    if isinstance(sent, tuple):
        reason, sentence = sent
        return PayloadError(reason, sentence) if reason else OffloadError(sentence)
    return sent
