# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Forms batches of queued requests and lets supervised workers run them on a backend."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from mt_perception.errors import OffloadError, PerceptionError
from mt_perception.server.backends import Backend
from mt_perception.server.fair_queue import Entry, FairQueue
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.served_model import AdmittedRequest, InferenceResult, Tensors

_POLL_S = 0.01
_RESTART_S = 0.1
_REPORT_S = 60.0


class DeadlineExceededError(PerceptionError):
    """The deadline of a request passed before its result."""


@dataclass(frozen=True, eq=False)
class Completion:
    """The result of a request, with its time in the queue and in the backend."""

    tensors: Tensors
    queue_s: float
    compute_s: float


@dataclass(frozen=True, eq=False)
class _Pending:
    request: AdmittedRequest
    completion: asyncio.Future[Completion]


class Dispatcher:
    """Runs requests of several clients on a backend, clients round robin.

    Args:
        backend: Runs the batches; it must be loaded before ``start``.
        limits: Limits of queue and batches.
        metrics: Counts batches and times.
    """

    def __init__(self, backend: Backend, limits: HostLimits, metrics: HostMetrics) -> None:
        self._backend = backend
        self._limits = limits
        self._metrics = metrics
        self._queue: FairQueue[_Pending] = FairQueue(limits.per_client, limits.waiting)
        self._arrived = asyncio.Condition()
        self._supervisors: list[asyncio.Task[None]] = []
        self._active_workers = 0
        self._last_failure = ''
        self._failed_s = 0.0
        metrics.watch('waiting', 'Queued requests.', lambda: len(self._queue))
        metrics.watch('clients', 'Clients with open requests.', lambda: self._queue.clients)
        metrics.watch('workers', 'Workers that are running.', lambda: self._active_workers)

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return len(self._queue)

    @property
    def available(self) -> bool:
        """Whether at least one worker is running and the backend can start a batch."""
        return self._active_workers > 0 and self._backend.available

    @property
    def failure(self) -> str:
        """Error of a worker that failed within the last minute; empty without one."""
        recent = self._last_failure and time.monotonic() - self._failed_s < _REPORT_S
        return self._last_failure if recent else ''

    def start(self) -> None:
        """Start the workers, each with a supervisor that replaces it after a failure."""
        self._supervisors = [
            asyncio.create_task(self._supervise()) for _ in range(self._backend.workers)
        ]
        # Available at once: the supervisors run with the next turn of the event loop.
        self._active_workers = len(self._supervisors)

    async def idle(self) -> None:
        """Wait until no request is queued or running."""
        while self._queue.clients:
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Stop the workers."""
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        self._active_workers = 0

    async def complete(
        self, client: str, request: AdmittedRequest, deadline_s: float
    ) -> Completion:
        """Run a request; cancelling this removes it from the queue.

        Args:
            client: Name of the client.
            request: The request.
            deadline_s: Monotonic time after which the result is useless.

        Raises:
            QueueFullError: A limit of the queue is reached.
            DeadlineExceededError: The deadline passed in the queue.
            PerceptionError: The backend failed.
        """
        completion: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        pending = _Pending(request, completion)
        entry = Entry(client, request.key, time.monotonic(), deadline_s, pending)
        self._queue.put(entry)
        try:
            async with self._arrived:
                self._arrived.notify()
            return await completion
        finally:
            self._queue.remove(entry)
            self._queue.done(entry)
            # An error references this frame and the future the error: a cycle that would keep
            # the payload until the next garbage collection.
            del completion, pending

    async def _supervise(self) -> None:
        """Run a worker and start it again after a failure."""
        while True:
            try:
                await self._work()
            except Exception as error:
                self._record_failure(error)
            self._active_workers -= 1
            # A failure that repeats must not occupy the event loop.
            await asyncio.sleep(_RESTART_S)
            self._active_workers += 1

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if not batch:
                continue
            try:
                await self._run(batch)
            except PerceptionError as error:
                _fail(batch, error)
            except Exception as error:
                # A bug or a failing runtime costs the batch and is reported; the worker goes on.
                self._record_failure(error)
                _fail(batch, OffloadError(f'the backend failed: {error!r}'))

    def _record_failure(self, error: Exception) -> None:
        self._last_failure = f'a worker failed: {type(error).__name__}: {error}'[:300]
        self._failed_s = time.monotonic()
        self._metrics.worker_failures.inc()

    async def _next_batch(self) -> list[Entry[_Pending]]:
        """The next batch, without requests whose deadline has passed."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self._queue) > 0)
        if 1 < self._limits.batch > len(self._queue):
            await asyncio.sleep(self._limits.batch_wait_ms * 1e-3)
        now_s = time.monotonic()
        batch = []
        for entry in self._queue.take(self._limits.batch):
            if entry.item.completion.done():
                continue
            if entry.deadline_s > now_s:
                batch.append(entry)
                continue
            waited_ms = (now_s - entry.arrived_s) * 1e3
            late = DeadlineExceededError(
                f'the deadline passed after {waited_ms:.0f} ms in the queue'
            )
            _fail([entry], late)
        return batch

    async def _run(self, batch: list[Entry[_Pending]]) -> None:
        start_s = time.monotonic()
        results = await self._backend.run(
            [entry.item.request for entry in batch], self._limits.run_s * len(batch)
        )
        if len(results) != len(batch):
            raise RuntimeError(
                f'the backend returned {len(results)} results for {len(batch)} requests'
            )
        compute_s = time.monotonic() - start_s
        self._metrics.batches.observe(len(batch))
        for entry, result in zip(batch, results, strict=True):
            self._finish(entry, result, start_s - entry.arrived_s, compute_s)

    def _finish(
        self, entry: Entry[_Pending], result: InferenceResult, queue_s: float, compute_s: float
    ) -> None:
        if isinstance(result, PerceptionError):
            _fail([entry], result)
        elif not entry.item.completion.done():
            entry.item.completion.set_result(Completion(result, queue_s, compute_s))
            self._metrics.seconds.labels('queue').observe(queue_s)
            self._metrics.seconds.labels('compute').observe(compute_s)


def _fail(batch: list[Entry[_Pending]], error: PerceptionError) -> None:
    for entry in batch:
        if not entry.item.completion.done():
            entry.item.completion.set_exception(error)
