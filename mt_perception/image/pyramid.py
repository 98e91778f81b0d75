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
        self._grey: dict[int, NDArray[np.uint8]] = {}

    @property
    def image(self) -> NDArray[np.uint8]:
        """Level 0: the image itself, uint8 (H, W, 3)."""
        return self._levels[0]

    def level_for(self, height: int, width: int) -> NDArray[np.uint8]:
        """The smallest level from which bilinear interpolation to a size skips no pixel."""
        level = self._level(height, width)
        while len(self._levels) <= level:
            self._levels.append(_reduced(self._levels[-1]))
        return self._levels[level]

    def grey_for(self, height: int, width: int) -> NDArray[np.uint8]:
        """The level of ``level_for`` in grey, uint8 (h, w); reduced from a larger grey level."""
        level = self._level(height, width)
        larger = max((known for known in self._grey if known <= level), default=None)
        if larger is None:
            bgr = self.level_for(height, width)
            self._grey[level] = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
        else:
            for each in range(larger, level):
                self._grey[each + 1] = _reduced(self._grey[each])
        return self._grey[level]

    def _level(self, height: int, width: int) -> int:
        rows, columns = self.image.shape[:2]
        level = 0
        while min(rows / height, columns / width) >= 2:
            rows, columns, level = -(-rows // 2), -(-columns // 2), level + 1
        return level


def resized(image: NDArray[np.uint8] | ImagePyramid, height: int, width: int) -> NDArray[np.uint8]:
    """Resize from the pyramid level from which bilinear interpolation skips no pixel.

    Skipped pixels alias. Area interpolation gives the same image, but takes 4 to 15 times as long
    where the scale is no integer: 16 ms from 1080p to 416 pixels against 1.9 ms; bilinear
    interpolation alone takes 0.5 ms.
    """
    pyramid = image if isinstance(image, ImagePyramid) else ImagePyramid(image)
    level = pyramid.level_for(height, width)
    return np.asarray(cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (-(-image.shape[1] // 2), -(-image.shape[0] // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
