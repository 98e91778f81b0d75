# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The expected depth of the ground in an image, and the scale of depth from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError
from mt_perception.geometry.depth_fit import DepthFit, fit_scale, fit_scale_and_shift
from mt_perception.geometry.plane import GroundPlane

LEAST_ANGLE_DEG = 3.0
"""Rays at a smaller angle to the ground have no expected depth; they are too near the horizon."""

GROUND_LABELS = frozenset(
    {'ground', 'floor', 'flooring', 'road', 'street', 'sidewalk', 'pavement', 'carpet', 'rug'}
)
"""Classes of a segmentation that lie on the ground."""

LEAST_SHARE = 0.01
"""Smallest share of the image with ground."""

LEAST_INLIERS = 0.6
"""Smallest share of the ground that fits the plane."""

MOST_FACTOR = 5.0
"""Largest correction of metric depth; a larger one indicates a wrong height."""

_MOST_DEVIATION = 0.7
"""Pixels whose log factor differs from that of the whole ground by more are not used."""


@dataclass(frozen=True, eq=False)
class GroundMeasurement:
    """The scale of depth from the ground of one frame.

    Attributes:
        fit: The correction, the same for all pixels.
        share: Share of the image in which the ground was measured.
        cells: float32 (2, h, w), log of the factor of each pixel: on the depth of the network,
            or on the fit's if the network's has no unit; and 1 where it is known. Both are 0
            elsewhere.
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
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.where(down > least, plane.height_m / down, np.nan)
    return np.asarray(depth, np.float32)


def measure_ground(
    inverse: NDArray[np.float32],
    expected: NDArray[np.float32],
    is_ground: NDArray[np.bool_],
    relative: bool,
) -> GroundMeasurement:
    """Fit the depth of a network to the ground: its scale, and its shift if it has no unit.

    A wrong plane or a wrong segmentation is refused: pixels of a table, a wall or a slope do not
    have the same ratio to the expected depth everywhere.

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
    there = is_ground & below
    share = float(there.mean())
    if share < LEAST_SHARE:
        raise CalibrationError(
            f'ground covers {share:.1%} of the image below the horizon; the scale needs '
            f'{LEAST_SHARE:.0%}'
        )
    fitted = fit_scale_and_shift if relative else fit_scale
    fit = fitted(inverse[there], expected[there])
    if fit.inliers < LEAST_INLIERS:
        raise CalibrationError(
            f'{fit.inliers:.0%} of the ground fits the plane, expected {LEAST_INLIERS:.0%}; check '
            'height, pitch and roll of the camera'
        )
    if not relative and not 1 / MOST_FACTOR <= fit.factor <= MOST_FACTOR:
        raise CalibrationError(
            f'the ground gives the depth factor {fit.factor:.2f}, expected {1 / MOST_FACTOR:g} to '
            f'{MOST_FACTOR:g}; check the height of the camera'
        )
    seen, known = inverse[there], expected[there]
    with np.errstate(divide='ignore', invalid='ignore'):
        ratios = np.log(known / fit.apply(seen) if relative else known * seen)
        middle = np.float32(0 if relative else math.log(fit.factor))
        usable = np.abs(ratios - middle) < _MOST_DEVIATION
    cells = np.zeros((2, *inverse.shape), np.float32)
    cells[0, there], cells[1, there] = np.where(usable, ratios, 0), usable
    return GroundMeasurement(fit, share, cells)
