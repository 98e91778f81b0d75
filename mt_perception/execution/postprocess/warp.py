# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Warps an earlier result to a later frame, along the optical flow between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mt_perception.image.optical_flow import OpticalFlow
from mt_perception.types import DepthMap, Detections, TaskResult

_LEAST_SIDE = 1.0
"""A box with a shorter side, in pixels, has left the image."""


def warped(
    result: TaskResult,
    motion: OpticalFlow,
    image_size: tuple[int, int],
    shifts: NDArray[np.float32] | None = None,
) -> TaskResult:
    """Return the result at the positions of a later frame.

    Args:
        result: Result of an earlier frame of the same size.
        motion: Optical flow from the earlier to the later frame.
        image_size: (height, width) of the frames.
        shifts: Expected change of each box by its track, (N, 4) in pixels, NaN without a track;
            None if nothing is tracked.
    """
    if isinstance(result, Detections):
        boxes = _shifted(result.boxes, motion, image_size, shifts)
        inside = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(axis=1))
        return replace(result, boxes=boxes)[inside]
    if isinstance(result, DepthMap):
        return replace(result, depth=motion.warp_map(result.depth))
    confidence = None if result.confidence is None else motion.warp_map(result.confidence)
    return replace(result, class_ids=motion.warp_map(result.class_ids), confidence=confidence)


def _shifted(
    boxes: NDArray[np.float32],
    motion: OpticalFlow,
    image_size: tuple[int, int],
    shifts: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Return boxes moved by their tracks, and by the optical flow where there is none.

    Tracks alone are as accurate as the flow (measured on video), and cost less.
    """
    tracked: NDArray[np.bool_] = np.zeros(len(boxes), bool)
    moved = boxes.copy()
    if shifts is not None:
        tracked = np.asarray(np.isfinite(shifts).all(axis=1))
        limit = np.array([image_size[1], image_size[0]] * 2, np.float32)
        moved[tracked] = np.clip(boxes[tracked] + shifts[tracked], 0, limit)
    if not tracked.all():
        moved[~tracked] = motion.warp_boxes(boxes[~tracked], image_size)
    return moved
