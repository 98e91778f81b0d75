# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Base of metrics whose values are means over frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.records import FrameRecord, Json


class FrameMeans:
    """Keeps the values of every frame, as they stand in the records.

    Attributes:
        name: The metric's key in records.
    """

    name: str

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._frames: list[Mapping[str, Json]] = []

    def add(self, record: FrameRecord) -> None:
        """Add a frame from its record."""
        self._frames.append(record.metrics.get(self.name, {}))


def resampled_means(
    values: Mapping[str, Sequence[float | None]], weights: NDArray[np.floating]
) -> dict[str, NDArray[np.float64]]:
    """Weighted means over frames, for a bootstrap.

    Args:
        values: Name → one value for each of F frames; None where it was not measured.
        weights: (B, F), the weight of each frame in each of B resamples.

    Returns:
        Name → (B,), NaN where a resample has no measured frame; without the names that no frame
        has.
    """
    means = {}
    for name, column in values.items():
        array = np.array([np.nan if value is None else value for value in column], np.float64)
        known = np.isfinite(array)
        if known.any():
            total = weights @ known.astype(np.float64)
            with np.errstate(invalid='ignore', divide='ignore'):
                means[name] = (weights @ np.where(known, array, 0)) / total
    return means
