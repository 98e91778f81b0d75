# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The depth map of a frame from one of the three depth outputs of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CameraError, TaskError
from mt_perception.geometry.camera import COEFFICIENTS, typical
from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.image.letterbox import Letterbox
from mt_perception.reports import CAMERA_UNKNOWN, NETWORK, RELATIVE, ScaleReport
from mt_perception.types import FISHEYE, PINHOLE, DepthMap, Intrinsics

_FARTHEST = 1e-3
"""Inverse depth below this fraction of the largest is as good as infinitely far."""


@dataclass(frozen=True, eq=False)
class NetworkDepth:
    """A depth output of a network, before it is scaled and mapped to the image.

    Attributes:
        values: float32 (h, w) over the network's input: metres, or inverse depth without a unit
            if ``relative``; not finite where unknown.
        relative: Whether the values are inverse depth.
        letterbox: How the image lies in the network's input.
        camera: The camera at the image's size.
        assumed: True if the camera was unknown and a typical one was assumed.
    """

    values: NDArray[np.float32]
    relative: bool
    letterbox: Letterbox
    camera: Intrinsics
    assumed: bool

    def inverse(self, step: int = 1) -> NDArray[np.float32]:
        """Inverse depth of every n-th cell of every n-th row, float32.

        It is not finite or not positive where it is unknown.
        """
        values = self.values[::step, ::step]
        if self.relative:
            return values
        with np.errstate(divide='ignore', invalid='ignore'):
            return np.asarray(1 / values, np.float32)

    def corrected(self, fit: DepthFit) -> NetworkDepth:
        """Return metres; not finite or not positive where they are unknown."""
        if fit.shift == 0 and not self.relative:
            # The same as below in a fifth of the time.
            with np.errstate(invalid='ignore'):
                power = self.values if fit.exponent == 1 else self.values**fit.exponent
            return replace(self, values=power * np.float32(fit.factor))
        return replace(self, values=fit.apply(self.inverse()), relative=False)

    def depth_map(self, max_depth_m: float, report: ScaleReport | None = None) -> DepthMap:
        """Return the depth map of the image.

        Args:
            max_depth_m: Metric depth beyond this is unknown.
            report: Source of the scale; None if it is that of the network.

        Raises:
            TaskError: No inverse depth is positive.
        """
        report = report or ScaleReport(CAMERA_UNKNOWN if self.assumed else NETWORK)
        if self.relative:
            full, unit = _relative(self.letterbox.map_to_image(self.values, cv2.INTER_LINEAR))
            report = replace(report, source=RELATIVE, factor=1 / unit)
            return DepthMap(full, self.camera, self.assumed, relative=True, scale=report)
        there = (self.values > 0) & (self.values <= max_depth_m)
        found = np.where(there, self.values, np.float32(np.nan))
        full = self.letterbox.map_to_image(found, cv2.INTER_LINEAR)
        return DepthMap(full, self.camera, self.assumed, scale=report)


def network_depth(
    outputs: Mapping[str, NDArray[Any]], letterbox: Letterbox, camera: Intrinsics | None
) -> NetworkDepth:
    """Check the depth output of one frame and give it its focal length.

    The same object at the same distance looks larger through a longer lens. A network that
    returns depth divided by the focal length in its own pixels does not depend on the camera; this
    function converts it to metres.

    Args:
        outputs: One float array (1, h, w): ``depth_per_focal``, metres per network pixel of focal
            length; ``depth``, metres; or ``inverse_depth``, 1 / depth up to scale and shift.
        letterbox: How the image lies in the network's input.
        camera: The camera at the image's size; None takes a typical one.

    Raises:
        TaskError: The shape is another one, or no number is finite.
        CameraError: The camera belongs to an image of another size.
    """
    ((kind, values),) = outputs.items()
    if values.ndim != 3 or values.shape[0] != 1 or not values.size:
        raise TaskError(f'expected {kind} (1, h, w), found {values.shape}')
    if not np.isfinite(values).any():
        raise TaskError('the network gave no finite depth')
    used = _camera(letterbox.image_size, camera)
    found = values[0].astype(np.float32)
    if kind == 'depth_per_focal':
        found *= np.float32(used.fx * letterbox.scale_x)
    return NetworkDepth(found, kind == 'inverse_depth', letterbox, used, camera is None)


def _relative(inverse: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Return depth scaled to a median of 1, and the median, from inverse depth."""
    finite = np.where(np.isfinite(inverse), inverse, 0)
    top = float(finite.max())
    if top <= 0:
        raise TaskError('the network gave no positive inverse depth')
    found = 1 / np.maximum(finite, _FARTHEST * top)
    unit = float(np.median(found))
    return np.asarray(found / unit, np.float32), unit


def _camera(image_size: tuple[int, int], camera: Intrinsics | None) -> Intrinsics:
    height, width = image_size
    used = camera or typical(height, width)
    numbers = (used.fx, used.fy, used.cx, used.cy)
    if not all(map(math.isfinite, numbers)) or min(used.fx, used.fy) <= 0:
        raise CameraError(
            'bad_intrinsics',
            f'expected finite intrinsics with positive focal lengths, found fx, fy, cx, cy = '
            f'{numbers}; calibrate the camera',
        )
    if used.projection not in (PINHOLE, FISHEYE):
        raise CameraError(
            'bad_intrinsics',
            f'projection must be {PINHOLE} or {FISHEYE}, found {used.projection!r}',
        )
    if used.distortion and len(used.distortion) not in COEFFICIENTS[used.projection]:
        raise CameraError(
            'bad_intrinsics',
            f'the distortion of a {used.projection} has '
            f'{" or ".join(map(str, COEFFICIENTS[used.projection]))} coefficients, found '
            f'{len(used.distortion)}; leave it empty if it is unknown',
        )
    if (used.height, used.width) != (height, width):
        raise CameraError(
            'other_size',
            f'the intrinsics are for {used.width}x{used.height} pixels, '
            f'the image has {width}x{height}',
        )
    return used
