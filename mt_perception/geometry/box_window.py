# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pixels in the central part of a box."""

from __future__ import annotations

from collections.abc import Sequence


def box_window(
    box: Sequence[float], shape: tuple[int, ...], part: float = 1.0, samples: int = 0
) -> tuple[slice, slice]:
    """Return the central part of a box as slices of rows and columns.

    Args:
        box: x0, y0, x1, y1 in pixels.
        shape: (H, W, …) of the image.
        part: Size of the part, relative to the box.
        samples: Upper limit on rows and on columns; 0 takes all.

    Returns:
        At least one row and one column inside the image.
    """
    x0, y0, x1, y1 = box
    slices = []
    for low, high, size in ((y0, y1, shape[0]), (x0, x1, shape[1])):
        margin = (high - low) * (1 - part) / 2
        start = min(max(0, round(low + margin)), size - 1)
        stop = min(max(start + 1, round(high - margin)), size)
        step = max(1, -(-(stop - start) // samples)) if samples else 1
        slices.append(slice(start, stop, step))
    return slices[0], slices[1]
