# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Motion between two images, and results of the one moved to where they belong in the other."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Flow = NDArray[np.float32]
"""(h, w, 2): for each pixel of the later image, the way to its place (x, y) in the earlier one,
in pixels of the small images that it was found in."""


def flow_between(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Flow:
    """Dense optical flow from the later image back to the earlier one.

    Dense inverse search (Kroeger et al., ECCV 2016), as OpenCV has it.

    Args:
        before: uint8 (h, w), grey.
        after: uint8 (h, w), grey.
    """
    # Too small for its pyramid of patches; nothing moves by whole pixels there anyway.
    if min(before.shape) < 16:
        return np.zeros((*before.shape, 2), np.float32)
    # Not in OpenCV's own type stubs by the name that every OpenCV 4 has.
    create: Any = vars(cv2)['DISOpticalFlow_create']
    search = create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return np.asarray(search.calc(after, before, None), np.float32)


def moved_map(values: NDArray[Any], flow: Flow) -> NDArray[Any]:
    """A map over the earlier image, as it lies over the later one; nothing is interpolated.

    Args:
        values: (H, W) of any size, of a type that cv2.remap takes.
        flow: The motion.

    Returns:
        (H, W), of the same type; what came into view takes on what was next to it.
    """
    height, width = values.shape
    places: Flow = np.asarray(
        cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
    places = places * np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    places[..., 0] += np.arange(width, dtype=np.float32)
    places[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    nothing: Any = None
    moved = cv2.remap(values, places, nothing, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved)


def moved_boxes(
    boxes: NDArray[np.float32], flow: Flow, image_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Boxes of the earlier image, where their contents are in the later one.

    Args:
        boxes: (N, 4) x0 y0 x1 y1 in pixels of the image.
        flow: The motion.
        image_size: (height, width) of the image.

    Returns:
        (N, 4), inside the image; a box that left it has no width or no height.
    """
    height, width = image_size
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    moved = boxes.copy()
    for row, box in enumerate(boxes / np.tile(scale, 2)):
        x0, y0 = np.floor(box[:2]).astype(int)
        x1, y1 = np.maximum(np.ceil(box[2:]).astype(int), (x0 + 1, y0 + 1))
        inside = flow[max(0, y0) : y1, max(0, x0) : x1].reshape(-1, 2)
        if len(inside):
            moved[row] -= np.tile(_mode(inside) * scale, 2)
    return np.clip(moved, 0, np.array([width, height] * 2, np.float32))


def _mode(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The motion of the thing in a box: the mean of the faster half, if the box moves at all.

    A box around a person is half background, which the median would follow.
    """
    speed = np.hypot(vectors[:, 0], vectors[:, 1])
    fast = vectors[speed >= np.median(speed)]
    return np.asarray(np.median(fast, axis=0), np.float32)
