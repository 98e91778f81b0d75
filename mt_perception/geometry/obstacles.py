# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points above the ground, from a depth map and a segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.geometry.plane import GroundPlane
from mt_perception.geometry.points import POINT, surface_depth
from mt_perception.geometry.rays import pixel_rays
from mt_perception.types import UNLABELLED, DepthMap, Segmentation

GROUND = 'ground'
"""The class whose pixels the ground plane is fitted to."""

_GROUND_STEP = 16
_FEWEST_GROUND = 18
"""Pixels of ground, of every 16th of every 16th row, that a fit needs."""

_LEAST_DOWN = 0.34
"""Smallest component of the normal of the ground along the image's vertical axis."""

_ITERATIONS = 4
_TOLERANCE = 0.1
"""Largest relative difference between the depth of a ground pixel and of the plane."""

_LEAST_INLIERS = 0.5

_LEAST_SPREAD = 1e-9
"""Smallest determinant of the normal equations over the cube of their trace; pixels of one row of
the image, for example, determine no plane."""

_CELLS = (1 << 20) - 1
"""Cells on each side of the origin along an axis: the index of a voxel has 21 bits for each."""


@dataclass(frozen=True)
class ObstacleOptions:
    """Limits and sampling of obstacles.

    Attributes:
        min_height_m: Height above the ground from which a point is an obstacle.
        max_height_m: Points higher than this are not obstacles; the robot passes below them.
        min_range_m: Nearest depth.
        max_range_m: Farthest depth.
        voxel_m: Side of the cubes of which each keeps one point, at least a millionth of the
            largest coordinate; 0 keeps all points.
        stride: Step in rows and columns.
        ignored: Classes that are no obstacle at any height.
    """

    min_height_m: float = 0.1
    max_height_m: float = 2.0
    min_range_m: float = 0.1
    max_range_m: float = 5.0
    voxel_m: float = 0.05
    stride: int = 8
    ignored: tuple[str, ...] = (GROUND, 'ceiling', 'sky')


def fit_ground(depth: DepthMap, segmentation: Segmentation) -> GroundPlane | None:
    """Fit a plane to the pixels of the ground.

    On a plane m · p = 1 the inverse depth is linear in the ray r of a pixel: 1 / z = m · r. The
    least squares of z (m · r) - 1, the relative error of the depth, give m; pixels beyond a
    tolerance are left out, and the fit repeats.

    Args:
        depth: Depth of a camera with known rays, in metres.
        segmentation: The segmentation of the same image.

    Returns:
        The plane in the scale of the depth map; None if too few pixels lie on one, or if it faces
        the camera: a wall, or the ground below a camera that points more than 70 degrees down.
    """
    if GROUND not in segmentation.labels:
        return None
    camera, step = depth.intrinsics, _GROUND_STEP
    z = depth.depth[::step, ::step]
    is_ground = segmentation.class_ids[::step, ::step] == segmentation.labels.index(GROUND)
    ray_x, ray_y = (np.broadcast_to(ray, z.shape) for ray in pixel_rays(camera, step))
    rows, columns = np.nonzero(is_ground & (z > 0) & np.isfinite(z) & np.isfinite(ray_x))
    if len(rows) < _FEWEST_GROUND:
        return None
    distance = z[rows, columns].astype(np.float64)
    scaled = np.empty((3, len(rows)))
    scaled[0], scaled[1], scaled[2] = ray_x[rows, columns], ray_y[rows, columns], 1
    scaled *= distance
    near = np.ones(len(rows), np.bool_)
    m = np.zeros(3)
    for _ in range(_ITERATIONS):
        solution = _least_squares(scaled[:, near])
        if solution is None:
            return None
        m = solution
        before, near = near, np.abs(m @ scaled - 1) < _TOLERANCE
        if np.count_nonzero(near) < max(_FEWEST_GROUND, _LEAST_INLIERS * len(near)):
            return None
        if (near == before).all():
            break
    length = float(np.linalg.norm(m))
    nx, ny, nz = (m / length).tolist()
    # A plane that faces the camera may be a wall.
    return GroundPlane((nx, ny, nz), 1 / length) if ny > _LEAST_DOWN else None


def _least_squares(scaled: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return m with m · scaled ≈ 1 for the columns of (3, N); None if it is not determined.

    The inverse of the normal equations is written out: NumPy's solver takes longer than the rest.
    """
    (a, b, c), (_, d, e), (_, _, f) = (scaled @ scaled.T).tolist()
    first = (d * f - e * e, c * e - b * f, b * e - c * d)
    determinant = a * first[0] + b * first[1] + c * first[2]
    if determinant < _LEAST_SPREAD * (a + d + f) ** 3:
        return None
    middle, last = b * c - a * e, a * d - b * b
    adjugate = np.array(
        [first, (first[1], a * f - c * c, middle), (first[2], middle, last)], np.float64
    )
    return np.asarray(adjugate @ scaled.sum(axis=1) / determinant)


def obstacle_points(
    depth: DepthMap,
    image: NDArray[np.uint8],
    ground: GroundPlane,
    segmentation: Segmentation | None = None,
    options: ObstacleOptions | None = None,
) -> NDArray[np.void]:
    """Return the points above the ground.

    Args:
        depth: Depth of a camera with known rays, in metres.
        image: uint8 (H, W, 3), BGR, of the same size.
        ground: The ground.
        segmentation: The segmentation of the same image; None uses only the height.
        options: Limits and sampling.

    Returns:
        POINT (N,), in the optical frame.
    """
    options = options or ObstacleOptions()
    stride = options.stride
    z = surface_depth(depth, stride)
    x, y = pixel_rays(depth.intrinsics, stride)
    nx, ny, nz = ground.normal
    height = ground.height_m - z * (x * np.float32(nx) + (y * np.float32(ny) + np.float32(nz)))
    kept = (height >= options.min_height_m) & (height <= options.max_height_m)
    kept &= (z >= options.min_range_m) & (z <= options.max_range_m)
    if segmentation is not None:
        labels = segmentation.class_ids[::stride, ::stride]
        solid = np.ones(UNLABELLED + 1, np.bool_)
        solid[[i for i, name in enumerate(segmentation.labels) if name in options.ignored]] = False
        kept &= solid[labels]
    found = np.flatnonzero(kept)
    rows, columns = np.divmod(found, kept.shape[1])
    places = np.empty((len(found), 3), np.float32)
    places[:, 2] = z = z.ravel()[found]
    # The rays of a lens with distortion depend on both.
    places[:, 0] = z * (x[0, columns] if len(x) == 1 else x[rows, columns])
    places[:, 1] = z * (y[rows, 0] if y.shape[1] == 1 else y[rows, columns])
    if options.voxel_m > 0:
        first = _thinned(places, options.voxel_m)
        places, found = places[first], found[first]
    points = np.empty(len(found), POINT)
    # Columns of numbers are copied faster than fields of structures.
    points.view(np.float32).reshape(-1, 4)[:, :3] = places
    last = points.view(np.uint8).reshape(-1, POINT.itemsize)[:, -4:]
    last[:, :3] = image[::stride, ::stride].reshape(-1, 3)[found]
    last[:, 3] = UNLABELLED if segmentation is None else labels.ravel()[found]
    return points


def _thinned(places: NDArray[np.float32], side: float) -> NDArray[np.intp]:
    """Return the index of the first point of each cube; places are (N, 3)."""
    side = max(side, float(np.abs(places).max(initial=0)) / _CELLS)
    x, y, z = np.floor(places.T / side).astype(np.int64)
    key = (x << 42) + (y << 21) + z
    order = np.argsort(key, kind='stable')
    key = key[order]
    is_first = np.ones(len(key), np.bool_)
    np.not_equal(key[1:], key[:-1], out=is_first[1:])
    first: NDArray[np.intp] = order[is_first]
    return first
