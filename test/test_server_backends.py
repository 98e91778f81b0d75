# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backends: a batch that is alone gets all threads, several get one each; Ray's replicas."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_cut import write_tiny_cut
from tiny_model import write_tiny_model

from mt_perception.errors import OffloadError, OptionError, PayloadError
from mt_perception.model.folder import read_manifest
from mt_perception.model.providers import CPU
from mt_perception.offload.payload import JPEG, Payload
from mt_perception.offload.protocol import InferenceRequest
from mt_perception.offload.split_model import model_digest
from mt_perception.server import backends as backends
from mt_perception.server.backends import LocalBackend
from mt_perception.server.ray_backend import RayBackend, Replica
from mt_perception.server.served_model import AdmittedRequest, InferenceResult, ServedModel
from mt_perception.server.worker_thread import OverrunError


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


class FakeRay(SimpleNamespace):
    """Ray and Ray Serve with one replica that answers from a list; a test without a cluster."""

    class RayError(Exception):
        """A replica is lost."""

    def __init__(self, answers: Sequence[object] = (), running: bool = False) -> None:
        super().__init__(exceptions=SimpleNamespace(RayError=self.RayError))
        self.answers, self.running, self.said = list(answers), running, []
        self.options: dict[str, Any] = {}
        self.fails: dict[str, Exception] = {}
        self.run = SimpleNamespace(remote=self._remote)
        self.serve = SimpleNamespace(
            start=lambda **options: self._say('start'),
            deployment=self._deployment,
            run=lambda *rest, **options: self._say('run') or self,
            delete=lambda name: self._say(f'delete {name}'),
            shutdown=lambda: self._say('shutdown of serve'),
        )

    def _say(self, word: str) -> None:
        self.said.append(word)
        if word in self.fails:
            raise self.fails[word]

    def is_initialized(self) -> bool:
        return self.running

    def init(self, **options: object) -> None:
        self._say('init')

    def shutdown(self) -> None:
        self._say('shutdown')

    def _deployment(self, kind: type, **options: Any) -> SimpleNamespace:
        self.options = options
        return SimpleNamespace(bind=lambda *arguments: arguments)

    async def _remote(self, requests: Sequence[object]) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await asyncio.sleep(30)
        return answer


@pytest.fixture
def on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RayBackend]:
    def make(ray: FakeRay, **options: int) -> RayBackend:
        monkeypatch.setitem(sys.modules, 'ray', ray)
        monkeypatch.setitem(sys.modules, 'ray.serve', ray.serve)
        return RayBackend(write_tiny_model(tmp_path), **options)

    return make


def test_ray_returns_tensors_and_errors(on_ray: Callable[..., RayBackend]) -> None:
    ray = FakeRay(
        [FakeRay.RayError('a'), FakeRay.RayError('b'), [{'x': 1}, ('shape', 'y'), ('', 'z')]]
    )

    async def everything() -> Any:
        backend = on_ray(ray, replicas=2, most=5, threads=3)
        assert (backend.available, backend.workers) == (False, 6)
        await backend.load()
        assert backend.available
        assert backend.manifest is not None
        found = await backend.run([], 30.0)
        await backend.close()
        return found

    tensors, refused, failed = asyncio.run(everything())
    assert tensors == {'x': 1}
    assert (type(refused), refused.reason, str(refused)) == (PayloadError, 'shape', 'y')
    assert (type(failed), str(failed)) == (OffloadError, 'z')
    scale = ray.options['autoscaling_config']
    assert (scale['min_replicas'], scale['max_replicas']) == (2, 5)
    assert scale['target_ongoing_requests'] == ray.options['max_ongoing_requests'] == 1
    assert ray.options['ray_actor_options'] == {'num_cpus': 3}
    end = ['delete mt_perception', 'shutdown of serve', 'shutdown']
    assert ray.said == ['init', 'start', 'run', *end]


def test_a_cluster_of_others_goes_on(on_ray: Callable[..., RayBackend]) -> None:
    ray = FakeRay(running=True)

    async def everything() -> None:
        backend = on_ray(ray)
        await backend.close()
        await backend.load()
        await backend.close()

    asyncio.run(everything())
    assert ray.said == ['start', 'run', 'delete mt_perception']
    assert ray.options['ray_actor_options'] == {'num_cpus': 1}


@pytest.mark.parametrize(
    ('answers', 'error', 'says'),
    [
        (
            [FakeRay.RayError(f'{n}\nmore') for n in range(3)],
            OffloadError,
            '3 replicas failed: 2$',
        ),
        ([None], OverrunError, 'exceeded its limit of 0.05 s'),
    ],
)
def test_ray_gives_up(
    answers: list[object], error: type[Exception], says: str, on_ray: Callable[..., RayBackend]
) -> None:
    async def everything() -> None:
        backend = on_ray(FakeRay(answers))
        await backend.load()
        await backend.run([], 0.05)

    with pytest.raises(error, match=says):
        asyncio.run(everything())


@pytest.mark.parametrize(
    ('word', 'fault', 'says'),
    [
        ('init', ConnectionError('gone'), 'no Ray cluster: gone'),
        ('run', RuntimeError('unhealthy'), 'do not start: unhealthy'),
    ],
)
def test_a_cluster_that_does_not_start(
    word: str, fault: Exception, says: str, on_ray: Callable[..., RayBackend]
) -> None:
    ray = FakeRay()
    ray.fails[word] = fault
    with pytest.raises(OffloadError, match=says):
        asyncio.run(on_ray(ray).load())


@pytest.mark.parametrize(('replicas', 'most'), [(0, 1), (3, 2)])
def test_an_empty_range_of_replicas(
    replicas: int, most: int, on_ray: Callable[..., RayBackend]
) -> None:
    with pytest.raises(OptionError, match=f'found {replicas} and {most}'):
        on_ray(FakeRay(), replicas=replicas, most=most)


def test_a_replica_sends_errors_as_text(tmp_path: Path) -> None:
    """Its tensors and errors arrive as they were, though an error would not survive pickling."""
    folder = write_tiny_cut(tmp_path)
    manifest = read_manifest(folder)
    body = cv2.imencode('.png', np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    good = Payload(JPEG, 0, model_digest(manifest), (3, 64, 64), 0, '', body)
    tensors = ('depth/depth_per_focal',)
    requests = [
        AdmittedRequest(each, tensors, InferenceRequest('tiny', '1', '1', b''))
        for each in (good, replace(good, body=body[:50]))
    ]
    found, failed = asyncio.run(Replica(str(folder), 1, [CPU]).run(requests))
    assert set(found) == set(tensors)
    assert failed[0] == 'picture'
    assert 'ends before' in failed[1]
