# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions within a memory budget: weights are loaded on use and evicted by Belady's rule."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import onnxruntime as ort

from mt_perception.errors import OptionError


class Residency:
    """Decides which weights stay in memory, given the order of use.

    A plan uses its blocks in the same order in every frame, so future uses are known. The block
    with the latest next use is evicted first (Belady, IBM Systems Journal 5(2), 1966).

    Args:
        sizes: Block name → bytes of its weights.
        budget: Upper limit in bytes; None sets no limit.

    Attributes:
        loaded_bytes: Bytes of weights loaded so far, counted at every load.

    Raises:
        OptionError: One block alone is larger than the budget.
    """

    def __init__(self, sizes: Mapping[str, int], budget: int | None = None) -> None:
        self._sizes = sizes
        self._budget = math.inf if budget is None else budget
        largest = max(sizes, key=lambda name: sizes[name], default='')
        if largest and sizes[largest] > self._budget:
            raise OptionError(
                f'a memory budget of {_mb(self._budget)} MB cannot hold block {largest!r} with '
                f'its {_mb(sizes[largest])} MB; raise the budget to at least that, or export '
                'the model in smaller blocks'
            )
        self._resident: dict[str, int] = {}
        self._sequence: Sequence[str] = ()
        self._position = 0
        self.loaded_bytes = 0

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights in memory."""
        return sum(self._resident.values())

    def follow(self, sequence: Sequence[str]) -> None:
        """Set the order in which blocks are used from now on; it repeats from its start."""
        self._sequence = sequence
        self._position = 0

    def admit(self, name: str) -> tuple[str, ...]:
        """Record a use of a block.

        Returns:
            The blocks to evict before its weights are loaded.
        """
        # Blocks whose inputs failed are skipped.
        if name in self._sequence[self._position :]:
            self._position = self._sequence.index(name, self._position) + 1
        if name in self._resident:
            return ()
        self.loaded_bytes += self._sizes[name]
        self._resident[name] = self._sizes[name]
        evicted = self._evicted(name)
        for victim in evicted:
            del self._resident[victim]
        return evicted

    def forget(self, name: str) -> None:
        """Record that loading a block failed."""
        self.loaded_bytes -= self._resident.pop(name, 0)

    def _evicted(self, name: str) -> tuple[str, ...]:
        excess = self.resident_bytes - self._budget
        victims: list[str] = []
        candidates = sorted(self._resident, key=self._next_use, reverse=True)
        for victim in candidates:
            if excess > 0 and victim != name:
                victims.append(victim)
                excess -= self._sizes[victim]
        # After a large victim, smaller ones selected before it may stay.
        for victim in reversed(victims):
            if excess + self._sizes[victim] <= 0:
                victims.remove(victim)
                excess += self._sizes[victim]
        return tuple(victims)

    def _next_use(self, name: str) -> float:
        """Number of uses of other blocks before the next use of this one."""
        ahead = [*self._sequence[self._position :], *self._sequence[: self._position]]
        return ahead.index(name) if name in ahead else math.inf


def _mb(size: float) -> str:
    return f'{math.ceil(size / 1e4) / 100:.2f}'


class SessionStore(Mapping[str, ort.InferenceSession]):
    """Block name → session; a look-up opens the session if needed.

    Args:
        open_block: Opens the session of a block.
        sizes: Block name → bytes of its file, a lower bound of what its session holds.
        budget: Upper limit on the sum of ``sizes`` of open sessions; None sets no limit.

    Raises:
        OptionError: One block alone is larger than the budget.
    """

    def __init__(
        self,
        open_block: Callable[[str], ort.InferenceSession],
        sizes: Mapping[str, int],
        budget: int | None = None,
    ) -> None:
        self._open_block = open_block
        self._sizes = sizes
        self._residency = Residency(sizes, budget)
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._lock = threading.Lock()

    @property
    def loaded_bytes(self) -> int:
        """Bytes of block files opened so far, counted at every opening."""
        return self._residency.loaded_bytes

    @property
    def resident_bytes(self) -> int:
        """Bytes of the block files of all open sessions."""
        return self._residency.resident_bytes

    def follow(self, blocks: Sequence[str]) -> None:
        """Set the order in which blocks run from now on; it repeats from its start."""
        self._residency.follow(blocks)

    def __getitem__(self, name: str) -> ort.InferenceSession:
        if name not in self._sizes:
            raise KeyError(name)
        with self._lock:
            for evicted in self._residency.admit(name):
                del self._sessions[evicted]
            if name not in self._sessions:
                try:
                    self._sessions[name] = self._open_block(name)
                except BaseException:
                    self._residency.forget(name)
                    raise
            return self._sessions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)
