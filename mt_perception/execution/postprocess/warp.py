# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Warps an earlier result to a later frame, along the optical flow between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mt_perception.image.optical_flow import OpticalFlow
from mt_perception.types import DepthMap, Detections, TaskResult

_LEAST_SIDE = 1.0
"""A box with a shorter side, in pixels, has left the image."""


def warped(result: TaskResult, motion: OpticalFlow, image_size: tuple[int, int]) -> TaskResult:
    """Return the result at the positions of a later frame.

    Args:
        result: Result of an earlier frame of the same size.
        motion: Optical flow from the earlier to the later frame.
        image_size: (height, width) of the frames.
    """
    if isinstance(result, Detections):
        boxes = motion.warp_boxes(result.boxes, image_size)
        left = np.all(boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE, axis=1)
        return replace(
            result,
            boxes=boxes[left],
            scores=result.scores[left],
            class_ids=result.class_ids[left],
        )
    if isinstance(result, DepthMap):
        return replace(result, depth=motion.warp_map(result.depth))
    return replace(result, class_ids=motion.warp_map(result.class_ids))
