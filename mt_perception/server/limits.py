# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Limits of a remote host: sizes, counts and times."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.offload.message_limits import MAX_REQUEST_BYTES

_MIN_STREAMS = 8


@dataclass(frozen=True)
class HostLimits:
    """Limits of a remote host.

    Attributes:
        request_bytes: Upper limit on the size of a request.
        per_client: Upper limit on queued and running requests of one client.
        waiting: Upper limit on queued requests of all clients.
        connected: Upper limit on open calls of all clients, including half-sent ones.
        batch: Upper limit on requests in one network run.
        batch_wait_ms: Time that a request waits for others to form a batch.
        request_s: Time limit for receiving a request and for setting up a connection.
        answer_s: Deadline of a request without one.
        run_s: Time limit for running one request; an overrunning thread is abandoned and replaced.
        idle_s: A connection without calls is closed after this time.

    Raises:
        OptionError: A limit is out of range.
    """

    request_bytes: int = MAX_REQUEST_BYTES
    per_client: int = 4
    waiting: int = 256
    connected: int = 512
    batch: int = 1
    batch_wait_ms: float = 2.0
    request_s: float = 5.0
    answer_s: float = 10.0
    run_s: float = 10.0
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ('request_bytes', 1024, 1 << 30),
            ('per_client', 1, 10_000),
            ('waiting', 1, 100_000),
            ('connected', 1, 100_000),
            ('batch', 1, 256),
            ('batch_wait_ms', 0, 1000),
            ('request_s', 0.1, 3600),
            ('answer_s', 0.01, 3600),
            ('run_s', 0.01, 3600),
            ('idle_s', 1, 86_400),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f'{name} must be in [{low}, {high}], found {value}')

    @property
    def open_per_client(self) -> int:
        """Upper limit on open calls of one client, and of one connection."""
        return max(_MIN_STREAMS, 2 * self.per_client)
