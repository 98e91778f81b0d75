# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera models: a CameraInfo checked on arrival and turned into the intrinsics of an image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mt_perception.errors import CameraError
from mt_perception.types import FISHEYE, PINHOLE, Intrinsics

LENS_MODELS = frozenset({'plumb_bob', 'rational_polynomial', 'thin_prism'})
"""Distortion models of sensor_msgs around a pinhole: straight lines bend by a few pixels."""

FISHEYE_MODELS = frozenset(
    {
        *('equidistant', 'fisheye', 'kannala_brandt', 'kannala_brandt4', 'equisolid'),
        *(
            'stereographic',
            'omnidirectional',
            'omni',
            'mei',
            'double_sphere',
            'eucm',
            'scaramuzza',
        ),
    }
)
"""Distortion models whose images no pinhole describes away from the centre."""

EQUIDISTANT_MODELS = frozenset({'equidistant', 'fisheye', 'kannala_brandt', 'kannala_brandt4'})
"""Names of the fisheye model whose rays are known."""

COEFFICIENTS = {PINHOLE: (4, 5, 8, 12, 14), FISHEYE: (4,)}
"""Projection → valid numbers of distortion coefficients."""

MAX_FOCAL_PX = 1e6
"""Focal lengths from this on are errors of a unit or a file; depth would overflow."""

# image_proc's names and those of SDKs: image_rect, image_rect_color, rectified, left/rect/image.
_RECTIFIED = re.compile(r'(?:^|[/_])rect(?:ified)?(?:$|[/_])')

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


@dataclass(frozen=True)
class Calibration:
    """The calibration of a camera, as ``sensor_msgs/CameraInfo`` states it.

    Attributes:
        size: (height, width) of the calibrated image.
        k: 3×3 matrix of the raw image, row-major, in pixels of the calibrated image.
        p: 3×4 projection matrix of the rectified image; empty if there is none.
        distortion_model: Name of the model; empty if there is none.
        d: Distortion coefficients.
        window: Region of interest and binning.
    """

    size: tuple[int, int]
    k: tuple[float, ...]
    p: tuple[float, ...] = ()
    distortion_model: str = ''
    d: tuple[float, ...] = ()
    window: Window = Window()

    @classmethod
    def from_message(cls, message: Any) -> Calibration:
        """The calibration in a CameraInfo message of ROS 1 (upper-case fields) or ROS 2."""
        k, p, d = (
            tuple(float(v) for v in getattr(message, name, getattr(message, name.upper(), ())))
            for name in 'kpd'
        )
        roi = message.roi
        return cls(
            (int(message.height), int(message.width)),
            k,
            p,
            str(message.distortion_model),
            d,
            Window(
                x_offset=int(roi.x_offset),
                y_offset=int(roi.y_offset),
                width=int(roi.width),
                height=int(roi.height),
                binning_x=int(message.binning_x),
                binning_y=int(message.binning_y),
            ),
        )

    @classmethod
    def of(cls, camera: Intrinsics) -> Calibration:
        """The calibration of an image as it is, rectified or not."""
        fisheye = camera.projection == FISHEYE
        rational = len(camera.distortion) > 5
        k = (camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0)
        return cls(
            (camera.height, camera.width),
            k,
            (*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0),
            'equidistant' if fisheye else 'rational_polynomial' if rational else 'plumb_bob',
            # A fisheye without coefficients is one of an unknown model.
            camera.distortion or (() if fisheye else (0.0,) * 5),
        )

    @property
    def projection(self) -> str:
        """Projection of the raw image: ``PINHOLE`` or ``FISHEYE``."""
        return FISHEYE if self.distortion_model.strip().lower() in FISHEYE_MODELS else PINHOLE

    @property
    def distorted(self) -> bool:
        """Whether the raw image has lens distortion."""
        return any(self.d) or self.projection == FISHEYE

    def intrinsics(self, image_size: tuple[int, int], rectified: bool = False) -> Intrinsics:
        """The intrinsics of one image.

        Args:
            image_size: (height, width) of the image.
            rectified: Whether the image is rectified: its camera is P, and without distortion.
                An image without P has K.

        Returns:
            The camera in pixels of the image.

        Raises:
            CameraError: The matrix is no camera, or the sizes do not fit the image.
        """
        if rectified and len(self.p) == 12 and self.p[0] > 0:
            p = self.p
            return _windowed((*p[:3], *p[4:7], *p[8:11]), self, image_size)
        camera = _windowed(self.k, self, image_size)
        if rectified:
            return camera
        return replace(camera, projection=self.projection, distortion=self._coefficients())

    def _coefficients(self) -> tuple[float, ...]:
        """The distortion coefficients; empty if there are none or their model is unknown."""
        model = self.distortion_model.strip().lower()
        known = model in LENS_MODELS | EQUIDISTANT_MODELS and all(map(math.isfinite, self.d))
        fits = len(self.d) in COEFFICIENTS[self.projection]
        # Zeros mean no distortion for a pinhole, and the plain equidistant model for a fisheye.
        needed = any(self.d) or self.projection == FISHEYE
        return self.d if known and fits and needed else ()

    def concern(self, rectified: bool = False) -> tuple[str, str] | None:
        """Return a warning for the operator about images of this camera.

        Args:
            rectified: Whether the images are rectified.

        Returns:
            A short name for counting and a sentence; None if the rays of all pixels are known.
        """
        model = self.distortion_model
        if rectified or not self.distorted:
            return None
        known = bool(self._coefficients())
        if self.projection == FISHEYE:
            rest = (
                'points are undistorted'
                if known
                else 'there are no points, because the lens model is not known'
            )
            return (
                'fisheye',
                f'the camera is a fisheye ({model}) and the image is not rectified: depth is '
                f'right near the centre only, and {rest}; use the rectified topic',
            )
        if model.strip().lower() not in LENS_MODELS:
            return (
                'unknown_distortion',
                f'the distortion model {model[:40]!r} is not known; the image is taken for an '
                'undistorted one; use the rectified topic',
            )
        if not known:
            return (
                'bad_distortion',
                f'{model} has 4, 5, 8, 12 or 14 finite coefficients, found {len(self.d)}; the '
                'image is taken for an undistorted one; calibrate the camera',
            )
        return None


def is_rectified(topic: str) -> bool:
    """Whether a topic's name says that its images are rectified."""
    return _RECTIFIED.search(topic) is not None


def _windowed(
    matrix: Sequence[float], calibration: Calibration, image_size: tuple[int, int]
) -> Intrinsics:
    """The camera of the window that an image shows of the calibrated one."""
    window = calibration.window
    fx, fy, cx, cy = _checked(matrix)
    bin_x, bin_y = max(1, window.binning_x), max(1, window.binning_y)
    width = (window.width or calibration.size[1]) // bin_x
    height = (window.height or calibration.size[0]) // bin_y
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
    return replace(
        camera,
        fx=camera.fx * x,
        fy=camera.fy * y,
        cx=(camera.cx + 0.5) * x - 0.5,
        cy=(camera.cy + 0.5) * y - 0.5,
        width=width,
        height=height,
    )


def typical(height: int, width: int) -> Intrinsics:
    """The camera that is assumed where none is known: square pixels, 58 degrees across."""
    focal = _TYPICAL_FOCAL_RATIO * max(height, width)
    return Intrinsics(
        fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height
    )


def _checked(k: Sequence[float]) -> tuple[float, float, float, float]:
    """fx, fy, cx and cy of a 3×3 matrix."""
    if len(k) != 9 or not all(math.isfinite(value) for value in k):
        raise CameraError(
            'bad_k', 'camera_info.k must be nine finite numbers; calibrate the camera'
        )
    fx, _, cx, _, fy, cy, *_ = (float(value) for value in k)
    if not (0 < fx < MAX_FOCAL_PX and 0 < fy < MAX_FOCAL_PX):
        raise CameraError(
            'bad_k',
            f'camera_info has focal lengths {fx:g} and {fy:g}, expected 0 to {MAX_FOCAL_PX:g} '
            'pixels; an uncalibrated camera publishes zeros: calibrate it or set its calibration '
            'file',
        )
    return fx, fy, cx, cy
