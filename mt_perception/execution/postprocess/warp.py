# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An earlier result, moved to where things are in a later frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mt_perception.image.optical_flow import Motion
from mt_perception.types import DepthMap, Detections, Segmentation

Output = Detections | DepthMap | Segmentation

_LEAST_SIDE = 1.0
"""A box of which less is left, in pixels, has gone out of view."""


def moved(result: Output, motion: Motion, image_size: tuple[int, int]) -> Output:
    """The result, as it lies over a later frame.

    Args:
        result: Of an earlier frame of the same size.
        motion: What moved where since.
        image_size: (height, width) of the frames.
    """
    if isinstance(result, Detections):
        boxes = motion.moved_boxes(result.boxes, image_size)
        left = np.all(boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE, axis=1)
        return replace(
            result,
            boxes=boxes[left],
            scores=result.scores[left],
            class_ids=result.class_ids[left],
        )
    if isinstance(result, DepthMap):
        return replace(result, depth=motion.moved_map(result.depth))
    return replace(result, class_ids=motion.moved_map(result.class_ids))
