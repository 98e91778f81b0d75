# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Factors of depth over the image from the factors on the ground."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDE, _NARROW = 0.15, 0.05
"""Standard deviations of the two smoothings, as shares of the width of the image."""

_PRIOR = 0.1
"""Weight of the factor 1, in pixels of ground for each pixel of the neighbourhood.

With ground in a tenth of the neighbourhood half of the log factor is applied.
"""


def smooth_log_factors(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Continue the log factors of the ground over the image.

    Normalised convolution (Knutsson and Westin, "Normalized and differential convolution", CVPR
    1993) with a wide Gaussian, then of the remainder with a narrow one: the ground is exact, what
    stands on it takes the factor of the ground around it, and far from any ground the factor is 1.

    Args:
        cells: (2, h, w): log factors times weights, and weights, the share of a cell with ground.

    Returns:
        (h, w), log factors.
    """
    height, width = cells.shape[1:]
    # Products with these matrices are the convolution, in less time for a small image.
    wide, narrow = (
        (_gaussian(height, s), _gaussian(width, s)) for s in (_WIDE * width, _NARROW * width)
    )
    prior = np.float32(_PRIOR)
    total, share = wide[0] @ cells @ wide[1]
    found = total / (share + prior)
    total = narrow[0] @ (cells[0] - cells[1] * found) @ narrow[1]
    share = narrow[0] @ cells[1] @ narrow[1]
    return np.asarray(found + total / (share + prior), np.float32)


def enlarge(values: NDArray[np.float32], step: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Enlarge values of every n-th cell of every n-th row to all cells, (h, w).

    Cells beyond the last value take the nearest one.
    """
    height, width = values.shape
    full = cv2.resize(values, (width * step, height * step), interpolation=cv2.INTER_LINEAR)
    full = full[: size[0], : size[1]]
    beside = size[0] - full.shape[0], size[1] - full.shape[1]
    if any(beside):
        full = cv2.copyMakeBorder(full, 0, beside[0], 0, beside[1], cv2.BORDER_REPLICATE)
    return np.asarray(full, np.float32)


@lru_cache(maxsize=16)
def _gaussian(size: int, sigma: float) -> NDArray[np.float32]:
    """(size, size): row i holds the weights of the smoothed value i."""
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    return np.asarray(
        np.exp(-0.5 * np.square(distance / sigma)) / (sigma * np.sqrt(2 * np.pi)), np.float32
    )
