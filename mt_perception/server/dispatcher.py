# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Between those who wait and those who work: forms batches, and drops what came too late."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from mt_perception.errors import OffloadError, PerceptionError
from mt_perception.server.backends import Backend
from mt_perception.server.fair_queue import Entry, FairQueue
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.served_model import AdmittedRequest, Tensors

_POLL_S = 0.01


class DeadlineExceededError(PerceptionError):
    """The deadline of a request passed before it was worked on."""


@dataclass(frozen=True, eq=False)
class Completion:
    """What was made of a job, and how long that took."""

    tensors: Tensors
    queue_s: float
    compute_s: float


@dataclass(frozen=True, eq=False)
class _Ticket:
    job: AdmittedRequest
    answer: asyncio.Future[Completion]


class Dispatcher:
    """Lets an engine work on jobs, clients in turn.

    Args:
        engine: Does the work; has to be loaded before ``start``.
        limits: Of the queue and of batches.
        metrics: Told of every batch and answer.
    """

    def __init__(self, engine: Backend, limits: HostLimits, metrics: HostMetrics) -> None:
        self._engine = engine
        self._limits = limits
        self._metrics = metrics
        self._queue: FairQueue[_Ticket] = FairQueue(limits.per_client, limits.waiting)
        self._arrived = asyncio.Condition()
        self._workers: list[asyncio.Task[None]] = []
        metrics.watch('waiting', 'Requests that wait.', lambda: len(self._queue))
        metrics.watch('clients', 'Clients with a request here.', lambda: self._queue.clients)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def start(self) -> None:
        """Begin to work."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._engine.workers)]

    async def idle(self) -> None:
        """Wait until nothing waits and nothing is worked on."""
        while self._queue.clients:
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Work no more."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def answer(self, client: str, job: AdmittedRequest, deadline_s: float) -> Completion:
        """Have a job done; cancelling this takes it out of the queue.

        Args:
            client: Whose it is.
            job: What to do.
            deadline_s: When it is of no use any more, monotonic.

        Raises:
            QueueFullError: There is no place.
            DeadlineExceededError: The deadline passed while it waited.
            PerceptionError: It did not work.
        """
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        entry = Entry(client, job.key, time.monotonic(), deadline_s, _Ticket(job, answer))
        self._queue.put(entry)
        try:
            async with self._arrived:
                self._arrived.notify()
            return await answer
        finally:
            self._queue.remove(entry)
            self._queue.done(entry)
            # An error holds this frame, and the future holds the error: a circle that would keep
            # the payload until the garbage is collected.
            del answer

    async def _work(self) -> None:
        while True:
            batch = await self._next()
            if batch:
                await self._run(batch)

    async def _next(self) -> list[Entry[_Ticket]]:
        """The next batch, of entries for which it is not too late."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self._queue) > 0)
        if 1 < self._limits.batch > len(self._queue):
            await asyncio.sleep(self._limits.batch_wait_ms * 1e-3)
        now_s = time.monotonic()
        batch = []
        for entry in self._queue.take(self._limits.batch):
            if entry.item.answer.done():
                continue
            if entry.deadline_s > now_s:
                batch.append(entry)
                continue
            waited_ms = (now_s - entry.arrived_s) * 1e3
            entry.item.answer.set_exception(
                DeadlineExceededError(f'the deadline passed after {waited_ms:.0f} ms in the queue')
            )
        return batch

    async def _run(self, batch: list[Entry[_Ticket]]) -> None:
        start_s = time.monotonic()
        try:
            results = await self._engine.run([entry.item.job for entry in batch])
        except Exception as error:
            # Whatever it is, the host goes on with the next batch.
            failure = error if isinstance(error, PerceptionError) else OffloadError(repr(error))
            for entry in batch:
                if not entry.item.answer.done():
                    entry.item.answer.set_exception(failure)
            return
        compute_s = time.monotonic() - start_s
        self._metrics.batches.observe(len(batch))
        for entry, made in zip(batch, results, strict=True):
            if entry.item.answer.done():
                continue
            if isinstance(made, PerceptionError):
                entry.item.answer.set_exception(made)
                continue
            queue_s = start_s - entry.arrived_s
            entry.item.answer.set_result(Completion(made, queue_s, compute_s))
            self._metrics.seconds.labels('queue').observe(queue_s)
            self._metrics.seconds.labels('compute').observe(compute_s)
