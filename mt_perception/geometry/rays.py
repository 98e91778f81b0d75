# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The viewing rays of pixels, through the lens of a camera.

A ray is (x, y) with z = 1 in the optical frame (x right, y down, z forward): a pixel at depth z
shows the point (x z, y z, z).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.types import FISHEYE, PINHOLE, Intrinsics

_TOLERANCE_PX = 0.02
"""Largest reprojection error in pixels; beyond it, the lens model is invalid."""

_SAME_RAY_PX = 0.1

_MAX_SLOPE = 11.4
"""Rays farther from the optical axis, 85 degrees, have no useful depth along z."""

_LIMIT = 1e3
_STEPS = 50

_CHUNK = 8192
"""Pixels at once: OpenCV also returns a Jacobian of thirty numbers for each."""


def has_rays(camera: Intrinsics) -> bool:
    """Whether the rays of a camera's pixels are known: not for a fisheye without coefficients."""
    return camera.projection == PINHOLE or bool(camera.distortion)


def rays(camera: Intrinsics, pixels: NDArray[Any]) -> NDArray[np.float64]:
    """The rays of pixels.

    Args:
        camera: The camera. Lens models are those of OpenCV: plumb_bob and rational_polynomial
            around a pinhole, and equidistant (Kannala and Brandt, "A generic camera model and
            calibration method", PAMI 2006, equation 6) for a fisheye.
        pixels: (N, 2), u and v; pixel centres are integers.

    Returns:
        float64 (N, 2); NaN beyond the range of the lens model.
    """
    pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
    if not camera.distortion or not len(pixels):
        centre, focal = (camera.cx, camera.cy), (camera.fx, camera.fy)
        return np.asarray((pixels - centre) / focal)
    parts = np.split(pixels, range(_CHUNK, len(pixels), _CHUNK))
    return np.concatenate([_through_lens(camera, part) for part in parts])


def _through_lens(camera: Intrinsics, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """`rays` of a camera with distortion."""
    focal = np.array([camera.fx, camera.fy])
    matrix, lens, model = _lens(camera)
    found = model.undistortPoints(pixels.reshape(-1, 1, 2), matrix, lens).reshape(-1, 2)
    # OpenCV stops the pinhole iteration after five steps; points beyond the range of a fisheye
    # are NaN or very large.
    found = np.clip(np.nan_to_num(found), -_LIMIT, _LIMIT)
    wrong = np.arange(len(found))
    for _ in range(_STEPS):
        if not len(wrong):
            break
        ahead = np.column_stack((found[wrong], np.ones(len(wrong))))[:, None]
        back, _ = model.projectPoints(ahead, np.zeros(3), np.zeros(3), matrix, lens)
        error = pixels[wrong] - back.reshape(-1, 2)
        far = np.abs(error).max(axis=1) > _TOLERANCE_PX
        wrong, error = wrong[far], error[far]
        found[wrong] = np.clip(found[wrong] + error / focal, -_LIMIT, _LIMIT)
        # Points at the limit do not return.
        wrong = wrong[np.abs(found[wrong]).max(axis=1) < _LIMIT]
    found[wrong] = np.nan
    found[np.hypot(*found.T) > _MAX_SLOPE] = np.nan
    return np.asarray(found)


def _lens(camera: Intrinsics) -> tuple[NDArray[np.float64], NDArray[np.float64], Any]:
    """OpenCV's camera matrix, coefficients and module of a camera with a lens model."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    model = cv2.fisheye if camera.projection == FISHEYE else cv2
    return matrix, np.array(camera.distortion), model


def pixels_of(camera: Intrinsics, directions: NDArray[Any]) -> NDArray[np.float64]:
    """The pixels of rays; the inverse of ``rays``.

    Args:
        camera: The camera, with known rays.
        directions: (N, 2), x and y of rays at z = 1.

    Returns:
        float64 (N, 2), u and v; NaN where the lens model does not return the same ray.
    """
    directions = np.asarray(directions, np.float64).reshape(-1, 2)
    focal, centre = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
    if not camera.distortion or not len(directions):
        return np.asarray(directions * focal + centre)
    matrix, lens, model = _lens(camera)
    ahead = np.column_stack((directions, np.ones(len(directions))))[:, None]
    found = np.reshape(
        model.projectPoints(ahead, np.zeros(3), np.zeros(3), matrix, lens)[0], (-1, 2)
    )
    # A polynomial folds back: a ray beyond its range has a pixel that belongs to another ray.
    error = np.abs(rays(camera, found) - directions) * focal
    return np.where((error <= _SAME_RAY_PX).all(axis=1)[:, None], found, np.nan)


@lru_cache(maxsize=8)
def pixel_rays(
    camera: Intrinsics, stride: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The rays of an image's pixels, every n-th of every n-th row.

    Args:
        camera: The camera of the image, with known rays.
        stride: Step in rows and columns.

    Returns:
        x and y, float32, read-only; they broadcast to (ceil(H / stride), ceil(W / stride)).
    """
    rows, columns = np.arange(camera.height)[::stride], np.arange(camera.width)[::stride]
    if camera.distortion:
        grid = np.stack(np.meshgrid(columns, rows), axis=-1)
        x, y = np.moveaxis(rays(camera, grid).reshape(grid.shape).astype(np.float32), -1, 0)
    else:
        x = ((columns - camera.cx) / camera.fx).astype(np.float32)[None]
        y = ((rows - camera.cy) / camera.fy).astype(np.float32)[:, None]
    for values in (x, y):
        values.flags.writeable = False
    return x, y
