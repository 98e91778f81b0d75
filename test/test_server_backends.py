# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The engine in this process: a batch that is alone gets all threads, several get one each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.server import backends as engines
from mt_perception.server.backends import LocalBackend
from mt_perception.server.served_model import AdmittedRequest, InferenceResult, ServedModel


def ran_with(engine: LocalBackend, jobs: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
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

    monkeypatch.setattr(engines, 'ServedModel', Watched)

    async def everything() -> None:
        await engine.load()
        await asyncio.gather(*(engine.run([]) for _ in range(jobs)))
        await engine.close()

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
    engine = LocalBackend(write_tiny_model(tmp_path), workers, threads)
    assert sorted(ran_with(engine, jobs, monkeypatch)) == expected


def test_an_engine_is_loaded_before_it_is_run(tmp_path: Path) -> None:
    engine = LocalBackend(write_tiny_model(tmp_path))
    with pytest.raises(RuntimeError, match='before it is loaded'):
        asyncio.run(engine.run([]))
