# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether anything changed between two images: a small thing that moves counts, noise does not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.image.pyramid import Halves

CELLS_SIDE = 160
"""Long side of the grey image that changes are looked for in."""

_CELL = 2
"""Its pixels are summed over so many each way: the smallest thing that is looked for."""

_DEVIATIONS = 5.0
"""So many standard deviations of the camera's noise are no change; the largest of the 20 000
averages of pure noise reaches about 4.4."""

_NOISIEST = 4.0
"""More than this, in grey levels, is not taken for noise: else a pan would hide itself."""

_BRIGHTER = 12.0
"""A camera's exposure may shift the whole image by so many grey levels."""

_STEP = 4
"""Noise and exposure are measured on every fourth pixel each way, which is enough."""

# The mean of |x| over a normal distribution's middle half ends at 0.6745 standard deviations.
_MEDIAN_OF_NOISE = 0.6745


def cells(image: NDArray[np.uint8] | Halves) -> NDArray[np.int16]:
    """What changes are looked for in, int16 (h, w), of an image uint8 (H, W, 3), BGR.

    Sums of grey levels around each pixel of a small image.
    """
    halves = image if isinstance(image, Halves) else Halves(image)
    height, width = halves.image.shape[:2]
    scale = min(1.0, CELLS_SIDE / max(height, width))
    size = max(_CELL, round(width * scale)), max(_CELL, round(height * scale))
    level = halves.above(size[1], size[0])
    # Grey before the last step: it then has a third of the work.
    grey = np.asarray(cv2.cvtColor(level, cv2.COLOR_BGR2GRAY), np.uint8)
    if grey.shape != size[::-1]:
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    sums = cv2.boxFilter(grey, cv2.CV_16S, (_CELL, _CELL), normalize=False)
    return np.asarray(sums, np.int16)


def change(before: NDArray[np.int16], after: NDArray[np.int16]) -> float:
    """How much the place that changed most did, in grey levels, beyond noise and exposure.

    Args:
        before: The cells of an image.
        after: Those of another one of the same size.

    Returns:
        0 for images that differ by noise only; about the contrast of a thing that fills a cell
        (in an image of 640 pixels: eight pixels) and came, went or moved away.
    """
    difference = after - before
    some = difference[::_STEP, ::_STEP].ravel()
    shift = _median(some)
    if abs(shift) > _BRIGHTER * _CELL**2:
        shift = 0
    noise = min(_NOISIEST * _CELL**2, _median(np.abs(some - shift)) / _MEDIAN_OF_NOISE)
    least, most, _, _ = cv2.minMaxLoc(difference)
    return max(0.0, (max(most - shift, shift - least) - _DEVIATIONS * noise) / _CELL**2)


def _median(values: NDArray[np.int16]) -> int:
    middle = values.size // 2
    return int(np.partition(values, middle)[middle])
