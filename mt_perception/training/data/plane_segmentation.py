# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of ground and walls in a depth image, as planes with nothing behind them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

_TRIALS = 300
# Tolerance of a point's distance to the plane; the noise of a depth camera grows with depth.
_NOISE_M, _NOISE_PER_M = 0.015, 0.015
# Largest pitch of the camera: the cosine of 50 degrees.
_LEAST_UPRIGHT = 0.64
_HEIGHTS_M = (0.08, 2.0)
_LEAST_SHARE = 0.15
# Points below a plane rule it out as ground (a table top), except for mirrors and noise.
_MOST_BELOW = 0.03
_FARTHEST_M = 6.0
_LEAST_ABOVE = 2.5  # tolerances
_MOST_WALLS = 3
_LEAST_WALL_SHARE = 0.08
_LARGE_WALL_SHARE = 0.12
_LEAST_WALL_HEIGHT_M = 0.1
# A wall segment covers at least this share of the image and reaches its top rows.
_LEAST_PIECE = 0.03
_TOP_ROWS = 0.06
_MOST_LEANING = 0.17  # the sine of 10 degrees


def ground_mask(depth: NDArray[np.float32], focal_px: float) -> NDArray[np.bool_]:
    """Find the ground by random sample consensus (Fischler and Bolles, 1981).

    The result is deterministic.

    Args:
        depth: (h, w) metres along the optical axis, 0 unmeasured.
        focal_px: focal length in pixels of the depth image.

    Returns:
        (h, w), True on the ground; all False if no plane qualifies.
    """
    return room_masks(depth, focal_px)[0]


def room_masks(
    depth: NDArray[np.float32], focal_px: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Find ground, walls (vertical planes, closed or large) and objects above the ground.

    Args:
        depth: (h, w) metres along the optical axis, 0 unmeasured.
        focal_px: focal length in pixels of the depth image.

    Returns:
        Masks (h, w) of the ground, of walls, and of everything else that is clearly above the
        ground. Without ground there is no vertical direction, and all masks are False.
    """
    height, width = depth.shape
    measured = (depth > 0) & (depth < _FARTHEST_M)
    nothing = np.zeros(depth.shape, np.bool_)
    if measured.sum() < measured.size // 10:
        return nothing, nothing, nothing
    v, u = np.nonzero(measured)
    z = depth[measured].astype(np.float64)
    points = np.stack([(u - width / 2) * z / focal_px, (v - height / 2) * z / focal_px, z], 1)
    ground = _best_plane(points, points[v > height * 0.4])
    if ground is None:
        return nothing, nothing, nothing
    on_ground = np.abs(points @ ground[:3] + ground[3]) < _tolerance(z)
    walls = nothing.copy()
    for on_wall in _on_walls(points, ground, on_ground):
        walls |= _reaching_up(_mask(measured, on_wall))
    above = points @ ground[:3] + ground[3] > _LEAST_ABOVE * _tolerance(z)
    return _mask(measured, on_ground), walls, _mask(measured, above) & ~walls


def _reaching_up(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep large segments that reach the top of the image, unlike the fronts of cabinets."""
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8))
    high = pieces[: max(1, round(_TOP_ROWS * len(mask)))]
    large = np.bincount(pieces.ravel()) >= _LEAST_PIECE * mask.size
    kept = [piece for piece in np.unique(high) if piece > 0 and large[piece]]
    return np.isin(pieces, kept)


def _mask(measured: NDArray[np.bool_], on_plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.zeros(measured.shape, np.uint8)
    mask[measured] = on_plane
    # Removes specks, such as the feet of chairs.
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0)


def _on_walls(
    points: NDArray[np.float64], ground: NDArray[np.float64], taken: NDArray[np.bool_]
) -> Iterator[NDArray[np.bool_]]:
    """Yield masks of the points on each wall. Walls at a corner are large, but not closed."""
    rng = np.random.default_rng(1)
    up, found = ground[:3], np.zeros(len(points), np.bool_)
    free = ~taken & (points @ up + ground[3] > _LEAST_WALL_HEIGHT_M)
    for _ in range(_MOST_WALLS):
        left = points[free & ~found]
        if len(left) < _LEAST_WALL_SHARE * len(points):
            break
        some = points[rng.integers(0, len(points), min(len(points), 4000))]
        tolerance = _tolerance(some[:, 2])
        best, most = None, _LEAST_WALL_SHARE * len(some)
        for corners in left[rng.integers(0, len(left), (_TRIALS, 3))]:
            normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
            length = float(np.linalg.norm(normal))
            if length < 1e-9 or abs(normal @ up) > _MOST_LEANING * length:
                continue
            normal = normal / length
            distance = -float(normal @ corners[0])
            # The camera, at the origin, is on the positive side.
            plane = np.append(normal, distance) * (1.0 if distance > 0 else -1.0)
            before = some @ plane[:3] + plane[3]
            on = int((np.abs(before) < tolerance).sum())
            closed = (before < -2 * tolerance).mean() < _MOST_BELOW
            if on > most and (closed or on > _LARGE_WALL_SHARE * len(some)):
                best, most = plane, on
        if best is None:
            break
        on_wall = free & (np.abs(points @ best[:3] + best[3]) < _tolerance(points[:, 2]))
        found |= on_wall
        yield on_wall


def _best_plane(
    points: NDArray[np.float64], low: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the ground plane (nx, ny, nz, d) with most inliers, normal up; None if none fits."""
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
