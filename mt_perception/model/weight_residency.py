# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weight residency: sessions within a memory budget, loaded and evicted in plan order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import onnxruntime as ort

from mt_perception.errors import OptionError


class Residency:
    """Keeps the weights of blocks within a budget, given the order in which they are needed.

    A plan's blocks are needed in the same order frame after frame, so the future is known: what
    has to go is what is needed last of all (Belady's rule).

    Args:
        sizes: Block name → bytes of its weights.
        budget: Most bytes at any time; None sets no limit.

    Attributes:
        loaded_bytes: Bytes of all weights admitted so far, each time they were.

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
                f'its {_mb(sizes[largest])} MB; allow at least that, or export the model in '
                'smaller blocks'
            )
        self._resident: dict[str, int] = {}
        self._sequence: Sequence[str] = ()
        self._position = 0
        self.loaded_bytes = 0

    @property
    def resident_bytes(self) -> int:
        """Bytes of the weights that are in memory now."""
        return sum(self._resident.values())

    def follow(self, sequence: Sequence[str]) -> None:
        """Say which blocks are needed next, in which order; and then again from the start."""
        self._sequence = sequence
        self._position = 0

    def admit(self, name: str) -> tuple[str, ...]:
        """Take note that a block is needed now.

        Returns:
            The blocks whose weights have to go first.
        """
        # A block whose inputs failed is left out of its turn.
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
        """Take note that a block's weights are not in memory after all."""
        self.loaded_bytes -= self._resident.pop(name, 0)

    def _evicted(self, name: str) -> tuple[str, ...]:
        excess = self.resident_bytes - self._budget
        victims: list[str] = []
        candidates = sorted(self._resident, key=self._next_use, reverse=True)
        for victim in candidates:
            if excess > 0 and victim != name:
                victims.append(victim)
                excess -= self._sizes[victim]
        # A large victim may have made room for what went before it.
        for victim in reversed(victims):
            if excess + self._sizes[victim] <= 0:
                victims.remove(victim)
                excess += self._sizes[victim]
        return tuple(victims)

    def _next_use(self, name: str) -> float:
        """How many blocks are run before this one."""
        ahead = [*self._sequence[self._position :], *self._sequence[: self._position]]
        return ahead.index(name) if name in ahead else math.inf


def _mb(size: float) -> str:
    return f'{math.ceil(size / 1e4) / 100:.2f}'


class SessionStore(Mapping[str, ort.InferenceSession]):
    """Block name → its session; looking one up opens it.

    Args:
        open_block: Opens the session of a block.
        sizes: Block name → bytes of its file, which are nearly all weights. ONNX Runtime holds
            more than that for each session, up to a few times as much.
        budget: Most bytes to hold at any time; None sets no limit.

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

    @property
    def loaded_bytes(self) -> int:
        """Bytes of the files of all sessions opened so far, each time they were."""
        return self._residency.loaded_bytes

    @property
    def resident_bytes(self) -> int:
        """Bytes of the files of the sessions that are open now."""
        return self._residency.resident_bytes

    def follow(self, blocks: Sequence[str]) -> None:
        """Say which blocks run next, in which order; and then again from the start."""
        self._residency.follow(blocks)

    def __getitem__(self, name: str) -> ort.InferenceSession:
        if name not in self._sizes:
            raise KeyError(name)
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
