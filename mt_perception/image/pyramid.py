# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An image made smaller without aliasing: halved as often as needed, each half made only once."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


class Halves:
    """An image, and its half, quarter … as they are asked for; a frame has several readers.

    Args:
        image: uint8 (H, W, 3); is not changed.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._levels = [image]

    @property
    def image(self) -> NDArray[np.uint8]:
        """The image itself."""
        return self._levels[0]

    def above(self, height: int, width: int) -> NDArray[np.uint8]:
        """The smallest level of which bilinear interpolation to a size skips no pixel."""
        level = 0
        while _ratio(self._levels[level], height, width) >= 2:
            level += 1
            if level == len(self._levels):
                self._levels.append(_half(self._levels[-1]))
        return self._levels[level]


def resized(image: NDArray[np.uint8] | Halves, height: int, width: int) -> NDArray[np.uint8]:
    """Resize by halving until bilinear interpolation skips no pixel, which would alias.

    The mean over areas looks the same, but is 4 to 15 times as slow where the scale is no
    integer: 16 ms from 1080p to 416 pixels against 1.9 ms, and bilinear alone 0.5 ms.
    """
    halves = image if isinstance(image, Halves) else Halves(image)
    level = halves.above(height, width)
    return np.asarray(cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _ratio(image: NDArray[np.uint8], height: int, width: int) -> float:
    return float(min(image.shape[0] / height, image.shape[1] / width))


def _half(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (-(-image.shape[1] // 2), -(-image.shape[0] // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
