# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The depth at which the ground is expected in an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mt_perception.geometry.plane import GroundPlane
from mt_perception.types import Intrinsics

LEAST_ANGLE_DEG = 3.0
"""Rays at a smaller angle to the ground have no expected depth: the horizon is too near."""


def ground_depth(
    plane: GroundPlane,
    camera: Intrinsics,
    rows: NDArray[np.floating],
    columns: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Return the depth at which the rays of pixels meet the ground.

    The ray of pixel (u, v) is r = ((u - cx) / fx, (v - cy) / fy, 1), its point at depth z is z r,
    and normal · z r = height gives z = height / (normal · r).

    Args:
        plane: The ground.
        camera: A pinhole camera.
        rows: v of the pixels, (...).
        columns: u of the pixels, of a shape that broadcasts with the rows.

    Returns:
        float32 (...), metres; NaN where a ray points less than 3 degrees below the horizon.
    """
    x = (columns - camera.cx) / camera.fx
    y = (rows - camera.cy) / camera.fy
    nx, ny, nz = plane.normal
    down = nx * x + ny * y + nz
    least = np.sin(np.radians(LEAST_ANGLE_DEG)) * np.sqrt(x * x + y * y + 1)
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.where(down > least, plane.height_m / down, np.nan)
    return np.asarray(depth, np.float32)
