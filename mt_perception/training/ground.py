# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground in a depth image: the level plane below the camera under which nothing lies."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_TRIALS = 300
# How far a point of the ground may lie off the plane: a depth camera's noise grows with distance.
_NOISE_M, _NOISE_PER_M = 0.015, 0.015
# A robot's camera looks at most this steeply up or down: the cosine of 50 degrees.
_LEAST_UPRIGHT = 0.64
_HEIGHTS_M = (0.08, 2.0)
_LEAST_SHARE = 0.15
# What is below the plane speaks against it (a table top), but for mirrors and noise.
_MOST_BELOW = 0.03
_FARTHEST_M = 6.0


def ground_mask(depth: NDArray[np.float32], focal_px: float) -> NDArray[np.bool_]:
    """Find the ground by random sample consensus (Fischler and Bolles, 1981).

    Labels a class for nothing where a depth camera looked at it. The answer is the same for the
    same depth image.

    Args:
        depth: (h, w) metres along the optical axis, 0 unmeasured.
        focal_px: focal length in pixels of the depth image.

    Returns:
        (h, w), True on the ground; all False where no plane qualifies.
    """
    height, width = depth.shape
    measured = (depth > 0) & (depth < _FARTHEST_M)
    nothing = np.zeros(depth.shape, np.bool_)
    if measured.sum() < measured.size // 10:
        return nothing
    v, u = np.nonzero(measured)
    z = depth[measured].astype(np.float64)
    points = np.stack([(u - width / 2) * z / focal_px, (v - height / 2) * z / focal_px, z], 1)
    plane = _best_plane(points, points[v > height * 0.4])
    if plane is None:
        return nothing
    nothing[measured] = np.abs(points @ plane[:3] + plane[3]) < _tolerance(z)
    # Legs of chairs touch the plane too, in specks.
    opened = cv2.morphologyEx(nothing.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return np.asarray(opened > 0)


def _best_plane(
    points: NDArray[np.float64], low: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The plane (nx, ny, nz, d) with most points on it that can be the ground; normal up."""
    rng = np.random.default_rng(0)
    some = points[rng.integers(0, len(points), min(len(points), 4000))]
    tolerance = _tolerance(some[:, 2])
    best, most = None, _LEAST_SHARE * len(some)
    if len(low) < 3:
        return None
    for _ in range(_TRIALS):
        plane = _plane_through(low[rng.integers(0, len(low), 3)])
        if plane is None:
            continue
        above = some @ plane[:3] + plane[3]
        on = int((np.abs(above) < tolerance).sum())
        if on > most and (above < -2 * tolerance).mean() < _MOST_BELOW:
            best, most = plane, on
    return best


def _plane_through(corners: NDArray[np.float64]) -> NDArray[np.float64] | None:
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    length = float(np.linalg.norm(normal))
    if length < 1e-9:
        return None
    # Up is -y in an optical frame (REP-103).
    normal = normal / length * (-1.0 if normal[1] > 0 else 1.0)
    camera_height = -float(normal @ corners[0])
    if -normal[1] < _LEAST_UPRIGHT or not _HEIGHTS_M[0] < camera_height < _HEIGHTS_M[1]:
        return None
    return np.append(normal, camera_height)


def _tolerance(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return _NOISE_M + _NOISE_PER_M * z
