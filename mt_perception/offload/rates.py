# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rates of a cut as options of a decision: their size, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mt_perception.offload.decision import RateOption
from mt_perception.offload.link import Smoothed
from mt_perception.runtime.manifest import Manifest
from mt_perception.runtime.manifest_cut import Cut, Rate
from mt_perception.types import DEPTH

_UNMEASURED = 0.001
"""Relative accuracy that a step down to a cheaper rate is taken to cost where nobody measured."""


class Rates:
    """The rates of one model, with the sizes that its payloads really have.

    Args:
        manifest: The model: its accuracy is what a rate's is compared with.
        cut: Its cut.
    """

    def __init__(self, manifest: Manifest, cut: Cut) -> None:
        self._manifest = manifest
        self._rates: Sequence[Rate] = cut.rates
        # Bytes per pixel of the network's input, since that may change its size.
        self._density = [Smoothed() for _ in cut.rates]

    def options(self, tasks: Iterable[str], size: tuple[int, int]) -> list[RateOption]:
        """The ways to send a frame.

        Args:
            tasks: The tasks that it is for: what a rate is worth differs between them.
            size: (height, width) of the network's input.
        """
        wanted = tuple(tasks)
        area = size[0] * size[1]
        height, width = self._manifest.reference_size
        options = []
        for index, (rate, density) in enumerate(zip(self._rates, self._density, strict=True)):
            known = density.value if density.samples else rate.payload_bytes / (height * width)
            gain = relative_gain(self._manifest, rate, wanted)
            if gain is None:
                gain = -_UNMEASURED * (len(self._rates) - 1 - index)
            options.append(RateOption(index, known * area, gain))
        return options

    def add(self, rate: int, payload_bytes: int, size: tuple[int, int]) -> None:
        """A payload of this rate had so many bytes."""
        self._density[rate].add(payload_bytes / (size[0] * size[1]))


def relative_gain(manifest: Manifest, rate: Rate, tasks: Iterable[str]) -> float | None:
    """How much more accurate the remote half is than the local network, mean over tasks.

    Returns:
        0.05 where it is 5 % better; None where nothing is known.
    """
    local = {row.task: row.value for row in manifest.accuracy}
    gains = []
    for task in tasks:
        here, there = local.get(task), rate.accuracy.get(task)
        if here is None or there is None or here <= 0:
            continue
        relative = (there - here) / here
        # Of depth an error is stated, which is the better the smaller it is.
        gains.append(-relative if manifest.tasks[task].kind == DEPTH else relative)
    return sum(gains) / len(gains) if gains else None
