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

    Boxes follow the optical flow. The velocities of their tracks, in its place or in addition,
    were less accurate on every video.

    Args:
        result: Result of an earlier frame of the same size.
        motion: Optical flow from the earlier to the later frame.
        image_size: (height, width) of the frames.
    """
    if isinstance(result, Detections):
        boxes = motion.warp_boxes(result.boxes, image_size)
        inside = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(axis=1))
        return replace(result, boxes=boxes)[inside]
    if isinstance(result, DepthMap):
        return replace(result, depth=motion.warp_map(result.depth))
    confidence = None if result.confidence is None else motion.warp_map(result.confidence)
    return replace(result, class_ids=motion.warp_map(result.class_ids), confidence=confidence)
