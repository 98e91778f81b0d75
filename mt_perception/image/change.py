# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether anything changed between two images: a small thing that moves counts, noise does not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

GLANCE_SIDE = 240
"""Long side of the grey image that changes are looked for in."""

_CELL = 3
"""Differences are averaged over so many pixels each way: the smallest thing that is looked for."""

_DEVIATIONS = 5.0
"""So many standard deviations of the camera's noise are no change; the largest of the 40 000
averages of pure noise reaches about 4.4."""

_NOISIEST = 4.0
"""More than this, in grey levels, is not taken for noise: else a pan would hide itself."""

_BRIGHTER = 12.0
"""A camera's exposure may shift the whole image by so many grey levels."""

# The mean of |x| over a normal distribution's middle half ends at 0.6745 standard deviations.
_MEDIAN_OF_NOISE = 0.6745


def glance(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small grey image, uint8 (h, w), of an image uint8 (H, W, 3), BGR."""
    height, width = image.shape[:2]
    scale = min(1.0, GLANCE_SIDE / max(height, width))
    size = max(_CELL, round(width * scale)), max(_CELL, round(height * scale))
    # Grey first: what follows then has a third of the work.
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    # The mean over areas alone takes ten times as long where the scale is no integer.
    if max(height, width) > 2 * GLANCE_SIDE:
        double = (2 * size[0], 2 * size[1])
        grey = np.asarray(cv2.resize(grey, double, interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """How much the place that changed most did, in grey levels, beyond noise and exposure.

    Args:
        before: A glance.
        after: Another one of the same size.

    Returns:
        0 for images that differ by noise only; about the contrast of a thing of three pixels or
        more (in an image of 640 pixels: eight) that came, went or moved away.
    """
    difference = after.astype(np.int16) - before
    shift = _median(difference)
    if abs(shift) <= _BRIGHTER:
        difference = difference - np.int16(shift)
    cells = np.abs(cv2.blur(difference.astype(np.float32), (_CELL, _CELL)))
    noise = min(_NOISIEST, _median(cells) / _MEDIAN_OF_NOISE)
    return max(0.0, float(cells.max()) - _DEVIATIONS * noise)


def _median(values: NDArray[np.generic]) -> float:
    """The median of a map, by every third of its pixels each way: it takes a tenth of the time."""
    flat = values[::_CELL, ::_CELL].ravel()
    middle = flat.size // 2
    return float(np.partition(flat, middle)[middle])
