# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""EXIF orientation: from the stored pixel grid to the upright image, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The orientation that undoes each one: quarter turns undo each other, the rest themselves.
_INVERSE = {6: 8, 8: 6}


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a stored image as its EXIF orientation demands (CIPA DC-008, tag 274).

    Args:
        image: (H, W) or (H, W, channels); is not changed.
        orientation: 1 to 8.

    Returns:
        The image itself for orientation 1, else a copy of (H, W) or, for 5 to 8, (W, H).
    """
    if orientation == 1:
        return image
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def stored(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of ``upright``."""
    return upright(image, _INVERSE.get(orientation, orientation))
