# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Change detection between two images: small moving objects count, camera noise does not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.image.pyramid import ImagePyramid

CHANGE_SIDE = 160
"""Long side of the grey image in which changes are detected, in pixels."""

_CELL = 2
"""Side of the box filter over it, in pixels: the size of the smallest detected object."""

_DEVIATIONS = 5.0
"""Threshold in standard deviations of the camera's noise; of 20 000 averages of pure noise the
largest reaches about 4.4."""

_NOISIEST = 4.0
"""Upper limit of the noise estimate, in grey levels; without it a pan would count as noise."""

_BRIGHTER = 12.0
"""Largest shift of the whole image by a change of exposure, in grey levels."""

_STEP = 4
"""Stride in pixels at which noise and exposure are measured."""

# The mean of |x| over a normal distribution's middle half ends at 0.6745 standard deviations.
_MEDIAN_OF_NOISE = 0.6745


def to_change_image(image: NDArray[np.uint8] | ImagePyramid) -> NDArray[np.int16]:
    """The reduced image in which changes are detected.

    Args:
        image: uint8 (H, W, 3), BGR.

    Returns:
        int16 (h, w): sums of grey levels around each pixel of a small image.
    """
    pyramid = image if isinstance(image, ImagePyramid) else ImagePyramid(image)
    height, width = pyramid.image.shape[:2]
    scale = min(1.0, CHANGE_SIDE / max(height, width))
    size = max(_CELL, round(width * scale)), max(_CELL, round(height * scale))
    # Grey before the last step: it then has a third of the work.
    grey = pyramid.grey_for(size[1], size[0])
    if grey.shape != size[::-1]:
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    sums = cv2.boxFilter(grey, cv2.CV_16S, (_CELL, _CELL), normalize=False)
    return np.asarray(sums, np.int16)


CUT = 40.0
"""Mean change, in grey levels, from which on two images show different scenes."""


def is_scene_cut(before: NDArray[np.int16], after: NDArray[np.int16]) -> bool:
    """Return whether two images have too little in common for a motion between them.

    Args:
        before: Change image of an image.
        after: That of a later one of the same size.
    """
    sums = np.abs(after[::_STEP, ::_STEP].astype(np.int32) - before[::_STEP, ::_STEP])
    return bool(sums.mean() > CUT * _CELL**2)


def change(before: NDArray[np.int16], after: NDArray[np.int16]) -> float:
    """The largest local change in grey levels, beyond noise and a change of exposure.

    Args:
        before: ``to_change_image`` of one image.
        after: The same of another image of the same size.

    Returns:
        0 for images that differ by noise only; else about the contrast of an object of the
        filter's size (8 pixels in an image of 640) that appeared, disappeared or moved.
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
