# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metres from the network's depth per focal length, with the camera that saw the image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CameraError, TaskError
from mt_perception.geometry.camera import typical
from mt_perception.image.letterbox import Letterbox
from mt_perception.types import DepthMap, Intrinsics


def depth(
    depth_per_focal: NDArray[Any],
    letterbox: Letterbox,
    camera: Intrinsics | None,
    max_depth_m: float,
) -> DepthMap:
    """Make the depth map of one frame.

    The same object at the same distance looks larger through a longer lens. The network
    therefore predicts depth divided by the focal length in its own pixels, which needs no
    knowledge of the camera, and metres are made here.

    Args:
        depth_per_focal: float32 (1, h, w), metres per network pixel of focal length.
        letterbox: How the image lies in the network's input.
        camera: The camera at the image's size; None takes a typical one.
        max_depth_m: What is farther is unknown.

    Raises:
        TaskError: The shape is another one, or no number is finite.
        CameraError: The camera belongs to an image of another size.
    """
    if depth_per_focal.ndim != 3 or depth_per_focal.shape[0] != 1 or not depth_per_focal.size:
        raise TaskError(f'expected depth_per_focal (1, h, w), found {depth_per_focal.shape}')
    height, width = letterbox.image_size
    used = camera or typical(height, width)
    if (used.height, used.width) != (height, width):
        raise CameraError(
            'other_size',
            f'the intrinsics are for {used.width}x{used.height} pixels, '
            f'the image has {width}x{height}',
        )
    metres = depth_per_focal[0].astype(np.float32) * np.float32(used.fx * letterbox.scale_x)
    if not np.isfinite(metres).any():
        raise TaskError('the network gave no finite depth')
    metres[~((metres > 0) & (metres <= max_depth_m))] = np.nan
    full = letterbox.map_to_image(metres, cv2.INTER_LINEAR)
    return DepthMap(full, used, assumed_intrinsics=camera is None)
