# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backend in this process: a batch that is alone gets all threads, several get one each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.server import backends as backends
from mt_perception.server.backends import LocalBackend
from mt_perception.server.served_model import AdmittedRequest, InferenceResult, ServedModel


def ran_with(backend: LocalBackend, jobs: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of each of some jobs that overlap, in the order in which they were begun."""
    used: list[int] = []
    together = threading.Barrier(jobs)

    class Watched(ServedModel):
        def __init__(self, folder: Path, threads: int, providers: Sequence[str]) -> None:
            super().__init__(folder, threads, providers)
            self.threads = threads

        def run(self, jobs: Sequence[AdmittedRequest]) -> list[InferenceResult]:
            used.append(self.threads)
            together.wait(10)
            return [{'x': np.zeros(1)}]

    monkeypatch.setattr(backends, 'ServedModel', Watched)

    async def everything() -> None:
        await backend.load()
        await asyncio.gather(*(backend.run([], 30.0) for _ in range(jobs)))
        await backend.close()

    asyncio.run(everything())
    return used


@pytest.mark.parametrize(
    ('threads', 'workers', 'jobs', 'expected'),
    [(0, 3, 1, [3]), (0, 3, 3, [1, 1, 3]), (0, 1, 1, [1]), (2, 3, 1, [2]), (2, 3, 2, [2, 2])],
)
def test_a_lone_batch_gets_all_threads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    workers: int,
    jobs: int,
    expected: list[int],
) -> None:
    backend = LocalBackend(write_tiny_model(tmp_path), workers, threads)
    assert sorted(ran_with(backend, jobs, monkeypatch)) == expected


def test_a_backend_is_loaded_before_it_runs(tmp_path: Path) -> None:
    backend = LocalBackend(write_tiny_model(tmp_path))
    with pytest.raises(RuntimeError, match='not loaded'):
        asyncio.run(backend.run([], 30.0))
