# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions within a memory budget: opened when their block's turn comes, closed to make room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import onnxruntime as ort

from mt_perception.graph.residency import Residency


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
