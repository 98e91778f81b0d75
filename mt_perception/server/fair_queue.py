# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A queue that serves clients in turn: who sends much waits for himself, not others for him."""

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
    """Something that waits, or is worked on.

    Attributes:
        client: Whose it is.
        key: Entries of equal keys may be taken together.
        arrived_s: When it came, monotonic.
        deadline_s: When it is of no use any more, monotonic.
        item: The thing itself.
    """

    client: str
    key: Hashable
    arrived_s: float
    deadline_s: float
    item: T


class FairQueue(Generic[T]):
    """Entries by client, taken round robin, first in first out within a client.

    Args:
        per_client: Most entries of one client, waiting or taken and not yet done.
        waiting: Most entries that wait.
    """

    def __init__(self, per_client: int, waiting: int) -> None:
        self._per_client = per_client
        self._most_waiting = waiting
        # In the order of their turns; only clients that wait for something.
        self._lines: OrderedDict[str, deque[Entry[T]]] = OrderedDict()
        self._held: Counter[str] = Counter()
        self._waiting = 0

    def __len__(self) -> int:
        """How many entries wait."""
        return self._waiting

    @property
    def clients(self) -> int:
        """How many clients have something here, waiting or taken."""
        return len(self._held)

    def put(self, entry: Entry[T]) -> None:
        """Let an entry wait.

        Raises:
            QueueFullError: The client has too many here, or all clients together.
        """
        if self._held[entry.client] >= self._per_client:
            raise QueueFullError(
                f'this client has {self._per_client} requests here already, which is its share; '
                'wait for an answer or cancel one'
            )
        if self._waiting >= self._most_waiting:
            raise QueueFullError(f'{self._waiting} requests wait here already; try again later')
        self._held[entry.client] += 1
        self._lines.setdefault(entry.client, deque()).append(entry)
        self._waiting += 1

    def take(self, most: int) -> list[Entry[T]]:
        """Take up to so many entries of one key, of those whose turn it is; empty if none wait.

        Each client gives its oldest entry, and then stands at the end; a client whose oldest does
        not fit keeps its turn.
        """
        batch: list[Entry[T]] = []
        for client in tuple(self._lines):
            line = self._lines[client]
            if batch and line[0].key != batch[0].key:
                continue
            batch.append(line.popleft())
            self._waiting -= 1
            del self._lines[client]
            if line:
                self._lines[client] = line
            if len(batch) == most:
                break
        return batch

    def remove(self, entry: Entry[T]) -> None:
        """Take out an entry that nobody waits for any more, if it still waits itself."""
        line = self._lines.get(entry.client)
        if line is None or entry not in line:
            return
        line.remove(entry)
        self._waiting -= 1
        if not line:
            del self._lines[entry.client]

    def done(self, entry: Entry[T]) -> None:
        """An entry left, answered or not: its client may send another one."""
        self._held[entry.client] -= 1
        if not self._held[entry.client]:
            del self._held[entry.client]
