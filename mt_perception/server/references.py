# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The last features of each client, which later differences refer to."""

from __future__ import annotations

from collections import OrderedDict

from mt_perception.offload.payload import Payload

MAX_PER_CLIENT = 4
MAX_BYTES = 16 << 20


class References:
    """Keeps payloads with features of clients, the newest ones.

    Args:
        max_bytes: Upper limit on the bytes of all payloads.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, int], Payload] = OrderedDict()

    def keep(self, client: str, payload: Payload) -> None:
        """Keep a payload; the oldest ones beyond the limits are dropped."""
        self._drop((client, payload.checksum))
        self._kept[client, payload.checksum] = payload
        self._bytes += len(payload.body)
        own = [key for key in self._kept if key[0] == client]
        if len(own) > MAX_PER_CLIENT:
            self._drop(own[0])
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def find(self, client: str, checksum: int) -> Payload | None:
        """The payload of this client with a checksum; None if it is not kept."""
        key = client, checksum
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _drop(self, key: tuple[str, int]) -> None:
        payload = self._kept.pop(key, None)
        self._bytes -= 0 if payload is None else len(payload.body)
