# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Limits on open calls per client, from the first byte of a call to its response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mt_perception.server.fair_queue import QueueFullError
from mt_perception.server.limits import HostLimits


@dataclass(frozen=True)
class Caller:
    """The origin of a call.

    Attributes:
        client: Name of the client: of its certificate or token, else its connection.
        address: Network address without port.
        authenticated: Whether a certificate or a token proves the name.
    """

    client: str
    address: str
    authenticated: bool


class Admission:
    """Counts open calls, so that half-sent requests of one client cannot block the others.

    Args:
        limits: Limits of the host.
    """

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._clients: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    @property
    def open_calls(self) -> int:
        """Number of open calls."""
        return self._clients.total()

    @contextmanager
    def open_call(self, caller: Caller) -> Iterator[None]:
        """Count a call while it is open.

        Raises:
            QueueFullError: The limit of the client, of its address or of the host is reached.
        """
        self._check(caller)
        self._clients[caller.client] += 1
        self._addresses[caller.address] += 1
        try:
            yield
        finally:
            for counter, key in (
                (self._clients, caller.client),
                (self._addresses, caller.address),
            ):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]

    def _check(self, caller: Caller) -> None:
        limits, held = self._limits, self._clients[caller.client]
        if held >= limits.open_per_client:
            raise QueueFullError(
                f'this client has {held} open calls, which is the limit; finish or cancel one'
            )
        # Anonymous clients of one address leave a quarter of the calls to other addresses.
        anonymous_limit = limits.connected - limits.connected // 4
        if not caller.authenticated and self._addresses[caller.address] >= anonymous_limit:
            raise QueueFullError(
                f'{anonymous_limit} calls of this address are open, which is the limit without '
                'a token; finish or cancel one'
            )
        # A full host still admits the first call of an authenticated client.
        first = caller.authenticated and not held
        if self.open_calls >= limits.connected * (2 if first else 1):
            raise QueueFullError(
                f'{self.open_calls} calls are open, which is the limit; try again later'
            )
