# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a remote host takes at most: sizes, numbers and times, so that no client starves others."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.offload.protocol import MAX_REQUEST_BYTES


@dataclass(frozen=True)
class HostLimits:
    """Limits of a remote host.

    Attributes:
        request_bytes: Largest request.
        per_client: Requests of one client at the host at any time, waiting and worked on.
        waiting: Requests of all clients that wait at any time.
        connected: Requests at any time, also those that have not arrived completely.
        batch: Most requests that become one network run.
        batch_wait_ms: How long a request waits for others to form a batch with.
        request_s: How long a request may take to arrive, and a connection to be set up.
        answer_s: How long a client waits that set no deadline.
        idle_s: A connection without requests is closed after so long.

    Raises:
        OptionError: One is out of range.
    """

    request_bytes: int = MAX_REQUEST_BYTES
    per_client: int = 4
    waiting: int = 256
    connected: int = 512
    batch: int = 1
    batch_wait_ms: float = 2.0
    request_s: float = 5.0
    answer_s: float = 10.0
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
            ('idle_s', 1, 86_400),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f'{name} must be in [{low}, {high}], found {value}')
