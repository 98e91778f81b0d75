# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The depth map of a frame from one of the three depth outputs of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CameraError, TaskError
from mt_perception.geometry.camera import typical
from mt_perception.image.letterbox import Letterbox
from mt_perception.types import FISHEYE, PINHOLE, DepthMap, Intrinsics

_FARTHEST = 1e-3
"""Inverse depth below this fraction of the largest is as good as infinitely far."""


def depth(
    outputs: Mapping[str, NDArray[Any]],
    letterbox: Letterbox,
    camera: Intrinsics | None,
    max_depth_m: float,
) -> DepthMap:
    """Make the depth map of one frame.

    The same object at the same distance looks larger through a longer lens. A network that
    returns depth divided by the focal length in its own pixels needs no knowledge of the camera;
    metres are made here.

    Args:
        outputs: One float array (1, h, w): ``depth_per_focal``, metres per network pixel of focal
            length; ``depth``, metres; or ``inverse_depth``, 1 / depth up to scale and shift.
        letterbox: How the image lies in the network's input.
        camera: The camera at the image's size; None takes a typical one.
        max_depth_m: Metric depth beyond this is unknown.

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
    if kind == 'inverse_depth':
        full = _relative(letterbox.map_to_image(found, cv2.INTER_LINEAR))
        return DepthMap(full, used, assumed_intrinsics=camera is None, relative=True)
    if kind == 'depth_per_focal':
        found *= np.float32(used.fx * letterbox.scale_x)
    found[~((found > 0) & (found <= max_depth_m))] = np.nan
    full = letterbox.map_to_image(found, cv2.INTER_LINEAR)
    return DepthMap(full, used, assumed_intrinsics=camera is None)


def _relative(inverse: NDArray[Any]) -> NDArray[np.float32]:
    """Depth with a median of 1, of inverse depth."""
    finite = np.where(np.isfinite(inverse), inverse, 0)
    top = float(finite.max())
    if top <= 0:
        raise TaskError('the network gave no positive inverse depth')
    found = 1 / np.maximum(finite, _FARTHEST * top)
    return np.asarray(found / np.median(found), np.float32)


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
    if (used.height, used.width) != (height, width):
        raise CameraError(
            'other_size',
            f'the intrinsics are for {used.width}x{used.height} pixels, '
            f'the image has {width}x{height}',
        )
    return used
