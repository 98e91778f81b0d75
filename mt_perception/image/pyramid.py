# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image pyramid: an image reduced without aliasing, each level computed once."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


class ImagePyramid:
    """An image and its reductions by 2, 4, 8 …, computed on demand and shared by all readers.

    Args:
        image: uint8 (H, W, 3); is not changed.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._levels = [image]

    @property
    def image(self) -> NDArray[np.uint8]:
        """Level 0: the image itself, uint8 (H, W, 3)."""
        return self._levels[0]

    def level_for(self, height: int, width: int) -> NDArray[np.uint8]:
        """The smallest level from which bilinear interpolation to a size skips no pixel."""
        level = 0
        while _ratio(self._levels[level], height, width) >= 2:
            level += 1
            if level == len(self._levels):
                self._levels.append(_reduced(self._levels[-1]))
        return self._levels[level]


def resized(image: NDArray[np.uint8] | ImagePyramid, height: int, width: int) -> NDArray[np.uint8]:
    """Resize from the pyramid level from which bilinear interpolation skips no pixel.

    Skipped pixels alias. Area interpolation gives the same image, but takes 4 to 15 times as long
    where the scale is no integer: 16 ms from 1080p to 416 pixels against 1.9 ms; bilinear
    interpolation alone takes 0.5 ms.
    """
    pyramid = image if isinstance(image, ImagePyramid) else ImagePyramid(image)
    level = pyramid.level_for(height, width)
    return np.asarray(cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _ratio(image: NDArray[np.uint8], height: int, width: int) -> float:
    return float(min(image.shape[0] / height, image.shape[1] / width))


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (-(-image.shape[1] // 2), -(-image.shape[0] // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
