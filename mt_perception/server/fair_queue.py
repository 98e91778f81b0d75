# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bounded queue that serves clients round robin."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mt_perception.errors import PerceptionError

T = TypeVar('T')


class QueueFullError(PerceptionError):
    """The queue, or a client's share of it, is full."""


@dataclass(eq=False)
class Entry(Generic[T]):
    """A queued or running item.

    Attributes:
        client: Name of the client.
        key: Entries with equal keys can form one batch.
        arrived_s: Monotonic time of arrival.
        deadline_s: Monotonic time after which the result is useless.
        item: The item.
    """

    client: str
    key: Hashable
    arrived_s: float
    deadline_s: float
    item: T


class FairQueue(Generic[T]):
    """Queues entries per client and takes them round robin, first in first out within a client.

    Args:
        per_client: Upper limit on queued and running entries of one client.
        waiting: Upper limit on queued entries of all clients.
    """

    def __init__(self, per_client: int, waiting: int) -> None:
        self._per_client = per_client
        self._max_waiting = waiting
        # Clients with queued entries, in round-robin order.
        self._queues: OrderedDict[str, deque[Entry[T]]] = OrderedDict()
        self._outstanding: Counter[str] = Counter()
        self._waiting = 0

    def __len__(self) -> int:
        """Number of queued entries."""
        return self._waiting

    @property
    def clients(self) -> int:
        """Number of clients with queued or running entries."""
        return len(self._outstanding)

    def put(self, entry: Entry[T]) -> None:
        """Queue an entry.

        Raises:
            QueueFullError: The limit of the client or of the queue is reached.
        """
        if self._outstanding[entry.client] >= self._per_client:
            raise QueueFullError(
                f'this client has {self._per_client} requests at this host, which is the limit; '
                'wait for a response or cancel a request'
            )
        if self._waiting >= self._max_waiting:
            raise QueueFullError(
                f'{self._waiting} requests are queued, which is the limit; try again later'
            )
        self._outstanding[entry.client] += 1
        self._queues.setdefault(entry.client, deque()).append(entry)
        self._waiting += 1

    def take(self, max_batch: int) -> list[Entry[T]]:
        """Take a batch of entries with equal keys; empty if nothing is queued.

        Each client gives its oldest entry and moves to the end. A client whose oldest entry has
        another key keeps its place.
        """
        batch: list[Entry[T]] = []
        for client in tuple(self._queues):
            queue = self._queues[client]
            if batch and queue[0].key != batch[0].key:
                continue
            batch.append(queue.popleft())
            self._waiting -= 1
            del self._queues[client]
            if queue:
                self._queues[client] = queue
            if len(batch) == max_batch:
                break
        return batch

    def remove(self, entry: Entry[T]) -> None:
        """Remove an entry if it is still queued."""
        queue = self._queues.get(entry.client)
        if queue is None or entry not in queue:
            return
        queue.remove(entry)
        self._waiting -= 1
        if not queue:
            del self._queues[entry.client]

    def done(self, entry: Entry[T]) -> None:
        """Release the client's place of an entry that was answered or removed."""
        self._outstanding[entry.client] -= 1
        if not self._outstanding[entry.client]:
            del self._outstanding[entry.client]
