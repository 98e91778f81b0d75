# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pinhole cameras: intrinsics checked on arrival and carried from one image size to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mt_perception.errors import CameraError
from mt_perception.types import Intrinsics

# Robots' colour cameras have focal lengths of 0.8 to 1.0 of the image's width (RealSense D435
# 0.95, Kinect 0.82, webcams 0.9); this is a horizontal field of view of 58 degrees.
_TYPICAL_FOCAL_RATIO = 0.9


@dataclass(frozen=True)
class Window:
    """The part of the sensor that an image shows (``roi`` and ``binning`` of CameraInfo).

    Attributes:
        x_offset: First column, in pixels of the calibrated image.
        y_offset: First row, in pixels of the calibrated image.
        width: Columns of the calibrated image; 0 means all.
        height: Rows of the calibrated image; 0 means all.
        binning_x: Calibrated pixels per image pixel along a row; 0 means 1.
        binning_y: The same along a column.
    """

    x_offset: int = 0
    y_offset: int = 0
    width: int = 0
    height: int = 0
    binning_x: int = 0
    binning_y: int = 0


def intrinsics(
    k: Sequence[float],
    calibrated_size: tuple[int, int],
    image_size: tuple[int, int],
    window: Window | None = None,
) -> Intrinsics:
    """The camera of one image, from the fields of its CameraInfo.

    Args:
        k: The 3×3 matrix in row-major order, in pixels of the calibrated image.
        calibrated_size: (height, width) of CameraInfo.
        image_size: (height, width) of the image that it came with.
        window: Region of interest and binning.

    Returns:
        The camera in pixels of the image.

    Raises:
        CameraError: The matrix is no camera, or the sizes do not fit the image.
    """
    window = window or Window()
    fx, fy, cx, cy = _checked(k)
    bin_x, bin_y = max(1, window.binning_x), max(1, window.binning_y)
    width = (window.width or calibrated_size[1]) // bin_x
    height = (window.height or calibrated_size[0]) // bin_y
    if (height, width) != image_size:
        raise CameraError(
            'other_size',
            f'the image has {image_size[1]}x{image_size[0]} pixels, but its camera_info (with '
            f'region of interest and binning) describes {width}x{height}; publish the '
            'camera_info that belongs to this image',
        )
    return Intrinsics(
        fx=fx / bin_x,
        fy=fy / bin_y,
        cx=(cx - window.x_offset) / bin_x,
        cy=(cy - window.y_offset) / bin_y,
        width=width,
        height=height,
    )


def resized(camera: Intrinsics, height: int, width: int) -> Intrinsics:
    """The same camera for its image resized to (height, width).

    K counts from the centre of the first pixel, which is half a pixel from the image's edge.
    """
    x, y = width / camera.width, height / camera.height
    return Intrinsics(
        fx=camera.fx * x,
        fy=camera.fy * y,
        cx=(camera.cx + 0.5) * x - 0.5,
        cy=(camera.cy + 0.5) * y - 0.5,
        width=width,
        height=height,
    )


def typical(height: int, width: int) -> Intrinsics:
    """A camera to assume where none is known: square pixels and 58 degrees across."""
    focal = _TYPICAL_FOCAL_RATIO * max(height, width)
    return Intrinsics(
        fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height
    )


def _checked(k: Sequence[float]) -> tuple[float, float, float, float]:
    if len(k) != 9 or not all(math.isfinite(value) for value in k):
        raise CameraError(
            'bad_k', 'camera_info.k must be nine finite numbers; calibrate the camera'
        )
    fx, _, cx, _, fy, cy, *_ = (float(value) for value in k)
    if fx <= 0 or fy <= 0:
        raise CameraError(
            'bad_k',
            f'camera_info has focal lengths {fx:g} and {fy:g}; an uncalibrated camera publishes '
            'zeros: calibrate it or set its calibration file',
        )
    return fx, fy, cx, cy
