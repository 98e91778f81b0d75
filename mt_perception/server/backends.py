# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backends of a remote host: they run requests in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mt_perception.model.manifest import Manifest
from mt_perception.model.providers import CPU
from mt_perception.server.served_model import AdmittedRequest, InferenceResult, ServedModel
from mt_perception.server.worker_thread import WorkerThreads

_ABANDONED_PER_WORKER = 2


class Backend(Protocol):
    """Runs batches of requests.

    Attributes:
        manifest: The model; None until it is loaded.
        workers: Number of batches that run concurrently.
        warnings: Warnings for the operator, for example unavailable execution providers.
        available: Whether a batch can start.
    """

    manifest: Manifest | None
    workers: int
    warnings: tuple[str, ...]

    @property
    def available(self) -> bool:
        """Whether a batch can start."""

    async def load(self) -> None:
        """Load the model.

        Raises:
            PerceptionError: The model cannot be loaded.
        """

    async def run(
        self, requests: Sequence[AdmittedRequest], limit_s: float
    ) -> list[InferenceResult]:
        """Run requests with equal keys as one batch.

        Args:
            requests: The requests.
            limit_s: Time limit for the batch.

        Returns:
            Tensors or an error for each request.

        Raises:
            PerceptionError: The whole batch failed.
        """

    async def close(self) -> None:
        """Release resources; does not wait for running batches."""


class LocalBackend:
    """Runs batches in threads of this process; ONNX Runtime releases Python's lock.

    Args:
        model: The model folder.
        workers: Number of batches that run concurrently.
        threads: Threads inside one operator; 0 uses all workers' threads for a batch that runs
            alone, and one thread for each of several batches.
        providers: ONNX Runtime execution providers in order of preference.
    """

    def __init__(
        self, model: Path, workers: int = 1, threads: int = 0, providers: Sequence[str] = (CPU,)
    ) -> None:
        self.manifest: Manifest | None = None
        self.workers = workers
        self.warnings: tuple[str, ...] = ()
        self._model = model
        self._providers = tuple(providers)
        self._threads = threads
        self._served: ServedModel | None = None
        self._alone: ServedModel | None = None
        self._running = 0
        self._workers = WorkerThreads('network', _ABANDONED_PER_WORKER * workers)

    @property
    def available(self) -> bool:
        """Whether a batch can start."""
        return self._served is not None and not self._workers.exhausted

    async def load(self) -> None:
        """Load the model and run it once."""
        self._served = await self._open(self._threads or 1)
        if not self._threads and self.workers > 1:
            # The threads of a session are fixed when it is created: hence two sessions.
            self._alone = await self._open(self.workers)
        self.manifest, self.warnings = self._served.manifest, self._served.warnings

    async def run(
        self, requests: Sequence[AdmittedRequest], limit_s: float
    ) -> list[InferenceResult]:
        """Run requests with equal keys as one batch in a thread.

        Raises:
            OverrunError: The batch exceeded the limit; its thread is abandoned.
        """
        if self._served is None:
            raise RuntimeError('the backend is not loaded; call load() first')
        model = self._served if self._running or self._alone is None else self._alone
        self._running += 1
        try:
            return await self._workers.run(lambda: model.run(requests), limit_s)
        finally:
            self._running -= 1

    async def close(self) -> None:
        """Release nothing: the threads are daemons."""

    async def _open(self, threads: int) -> ServedModel:
        return await self._workers.run(
            lambda: ServedModel(self._model, threads, self._providers), None
        )
