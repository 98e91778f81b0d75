# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The expected depth of the ground in an image, and the scale of depth from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError, number
from mt_perception.geometry.depth_fit import INLIER, DepthFit, fit_scale_and_shift
from mt_perception.geometry.plane import GroundPlane

LEAST_ANGLE_DEG = 3.0
"""Rays at a smaller angle to the ground have no expected depth; they are too near the horizon."""

GROUND_LABELS = frozenset(
    {'ground', 'floor', 'flooring', 'road', 'street', 'sidewalk', 'pavement', 'carpet', 'rug'}
)
"""Classes of a segmentation that lie on the ground."""

LEAST_SHARE = 0.01
"""Smallest share of the image with ground."""

LEAST_INLIERS = 0.5
"""Smallest share of the ground that fits the plane."""

MOST_FACTOR = 5.0
"""Largest correction of metric depth; a larger one indicates a wrong height."""

MOST_ENLARGED = 2.0
"""Metric depth is enlarged by at most this factor.

What is taken for ground by mistake stands above it and enlarges depth, as does a height that is
too large. Networks err by less on most ground.
"""

_LOW = 0.2
"""Quantile of the factors that is that of the ground if some of it is something else."""

_MOST_ABOVE, _MOST_BELOW = 0.25, 0.7
"""Pixels whose log factor is farther above or below that quantile are not used."""


@dataclass(frozen=True, eq=False)
class GroundMeasurement:
    """The scale of depth from the ground of one frame.

    Attributes:
        fit: The correction, the same for all pixels.
        share: Share of the image in which the ground was measured.
        cells: float32 (2, h, w), log of the factor of each pixel: on the depth of the network,
            at most 2, or on the fit's if the network's has no unit; and 1 where it is known.
            Both are 0 elsewhere.
    """

    fit: DepthFit
    share: float
    cells: NDArray[np.float32]


def ground_depth(
    plane: GroundPlane, x: NDArray[np.floating], y: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return the depth at which rays meet the ground.

    The point of the ray r = (x, y, 1) at depth z is z r, and normal · z r = height gives
    z = height / (normal · r).

    Args:
        plane: The ground.
        x: x of the rays through the lens, (...); see ``geometry.rays``.
        y: y of the rays, of a shape that broadcasts with x.

    Returns:
        float32 (...), metres; NaN where a ray points less than 3 degrees below the horizon, or is
        NaN itself.
    """
    nx, ny, nz = plane.normal
    down = nx * x + ny * y + nz
    least = math.sin(math.radians(LEAST_ANGLE_DEG)) * np.sqrt(x * x + y * y + 1)
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        depth = np.where(down > least, plane.height_m / down, np.nan)
        return np.asarray(depth, np.float32)


def measure_ground(
    inverse: NDArray[np.float32],
    expected: NDArray[np.float32],
    is_ground: NDArray[np.bool_],
    relative: bool,
) -> GroundMeasurement:
    """Fit the depth of a network to the ground: its scale, and its shift if it has no unit.

    A wrong plane or a wrong segmentation is refused: pixels of a wall or a slope do not have the
    same ratio to the expected depth everywhere. What stands above the ground (a table, a sofa) is
    nearer than the ground there and has a larger ratio, so the lower ratios count.

    Args:
        inverse: float32 (h, w), inverse depth of the network.
        expected: float32 (h, w), depth of the ground there; NaN at and above the horizon.
        is_ground: bool (h, w), the pixels that are segmented as ground.
        relative: Whether the inverse depth has no unit.

    Raises:
        CalibrationError: There is too little ground, or it does not fit the plane.
    """
    below = np.isfinite(expected)
    if not below.any():
        raise CalibrationError('the ground plane is behind the camera or outside of the image')
    there = np.flatnonzero(is_ground & below)
    share = len(there) / below.size
    if share < LEAST_SHARE:
        raise CalibrationError(
            f'ground covers {share:.1%} of the image below the horizon; the scale needs '
            f'{LEAST_SHARE:.0%}'
        )
    seen, known = inverse.reshape(-1)[there], expected.reshape(-1)[there]
    line = fit_scale_and_shift(seen, known) if relative else None
    with np.errstate(divide='ignore', invalid='ignore'):
        logs = np.log(known * seen if line is None else known / line.apply(seen))
    middle, spread, inliers, usable = _lower_mode(logs)
    if inliers < LEAST_INLIERS:
        raise CalibrationError(
            f'{inliers:.0%} of the ground fits the plane, expected {LEAST_INLIERS:.0%}; check '
            'height, pitch and roll of the camera'
        )
    if line is not None:
        fit = line
    else:
        fit = DepthFit(math.exp(middle), spread=spread, inliers=inliers)
        if abs(middle) > math.log(MOST_FACTOR):
            raise CalibrationError(
                f'the ground gives the depth factor {number(fit.factor, 2)}, expected '
                f'{1 / MOST_FACTOR:g} to {MOST_FACTOR:g}; check the height of the camera'
            )
        np.minimum(logs, math.log(MOST_ENLARGED), out=logs)
    cells = np.zeros((2, *inverse.shape), np.float32)
    flat = cells.reshape(2, -1)
    flat[0, there[usable]], flat[1, there[usable]] = logs[usable], 1
    return GroundMeasurement(fit, share, cells)


def _lower_mode(logs: NDArray[np.float32]) -> tuple[float, float, float, NDArray[np.bool_]]:
    """The median of the lower log factors and what agrees with it.

    Returns:
        The median of those near the lower quantile, their robust relative standard deviation, the
        share of all that are within 25 % of it, and a mask of those near the quantile.
    """
    ordered = np.sort(logs[np.isfinite(logs)])
    if not len(ordered):
        return 0.0, 0.0, 0.0, np.zeros(len(logs), bool)
    low = float(ordered[int(_LOW * len(ordered))])
    bounds = low - _MOST_BELOW, low + _MOST_ABOVE
    first, end = ordered.searchsorted(bounds)
    middle = float(ordered[(first + end) // 2])
    agree = ordered.searchsorted((middle + math.log(1 - INLIER), middle + math.log(1 + INLIER)))
    used = np.abs(np.expm1(ordered[first:end] - np.float32(middle)))
    half = len(used) // 2
    used.partition(half)
    return (
        middle,
        1.4826 * float(used[half]),
        float(agree[1] - agree[0]) / len(ordered),
        (logs > bounds[0]) & (logs < bounds[1]),
    )
