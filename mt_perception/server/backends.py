# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What does a remote host's work: this process, or a cluster behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from mt_perception.model.manifest import Manifest
from mt_perception.model.sessions import CPU
from mt_perception.server.served_model import AdmittedRequest, InferenceResult, ServedModel


class Backend(Protocol):
    """Runs jobs.

    Attributes:
        manifest: The model; None until it is loaded.
        workers: How many batches can be run at once.
        warnings: What was asked for and could not be had, in words for an operator.
    """

    manifest: Manifest | None
    workers: int
    warnings: tuple[str, ...]

    async def load(self) -> None:
        """Become ready.

        Raises:
            PerceptionError: The model cannot be loaded.
        """

    async def run(self, jobs: Sequence[AdmittedRequest]) -> list[InferenceResult]:
        """Run jobs of one key.

        Returns:
            For each job its tensors, or why there are none.

        Raises:
            PerceptionError: None of them could be run.
        """

    async def close(self) -> None:
        """Give back what was taken."""


class LocalBackend:
    """Runs jobs in threads of this process; ONNX Runtime lets go of Python's lock.

    Args:
        model: The model folder.
        workers: Batches that are run at once.
        threads: Threads inside one operator; 0 gives a batch that runs alone as many as there
            are workers, and one to each of several.
        providers: ONNX Runtime execution providers, most wanted first.
    """

    def __init__(
        self, model: Path, workers: int = 1, threads: int = 0, providers: Sequence[str] = (CPU,)
    ) -> None:
        self.manifest: Manifest | None = None
        self.workers = workers
        self.warnings: tuple[str, ...] = ()
        self._load = lambda threads: ServedModel(model, threads, providers)
        self._threads = threads
        self._hosted: ServedModel | None = None
        self._alone: ServedModel | None = None
        self._running = 0
        self._pool = ThreadPoolExecutor(workers, 'network')

    async def load(self) -> None:
        """Read the model and run it once."""
        loop = asyncio.get_running_loop()
        self._hosted = await loop.run_in_executor(self._pool, self._load, self._threads or 1)
        if not self._threads and self.workers > 1:
            # A session's threads are fixed when it is made, so there are two of each.
            self._alone = await loop.run_in_executor(self._pool, self._load, self.workers)
        self.manifest, self.warnings = self._hosted.manifest, self._hosted.warnings

    async def run(self, jobs: Sequence[AdmittedRequest]) -> list[InferenceResult]:
        """Run jobs of one key in one of the threads."""
        if self._hosted is None:
            raise RuntimeError('the engine is run before it is loaded')
        hosted = self._hosted if self._running or self._alone is None else self._alone
        loop = asyncio.get_running_loop()
        self._running += 1
        try:
            return await loop.run_in_executor(self._pool, hosted.run, jobs)
        finally:
            self._running -= 1

    async def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
