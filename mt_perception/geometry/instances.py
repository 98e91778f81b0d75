# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of instances: the pixels of a detection's box that have the class of its object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mt_perception.geometry.box_window import box_window
from mt_perception.types import UNLABELLED, DepthMap, Detections, Segmentation

NO_INSTANCE = 0
_MOST = 65_535

_INNER = 0.5
"""Size of the central part of a box whose most frequent class is the object's."""

_SAMPLES = 16
"""Upper limit on rows and on columns of pixels that determine the class of a box."""


def instance_values(detections: Detections) -> NDArray[np.uint16]:
    """Return the pixel value of each detection in the instance image, uint16 (N,).

    The value is the identity of its track, or its place in the list from 1 without tracking, from
    1 again after 65535. A detection without a track has 0.
    """
    ids = detections.track_ids
    if ids is None:
        ids = np.arange(1, len(detections) + 1)
    return np.where(ids > 0, (ids - 1) % _MOST + 1, NO_INSTANCE).astype(np.uint16)


def instance_image(
    detections: Detections, segmentation: Segmentation, depth: DepthMap | None = None
) -> NDArray[np.uint16]:
    """Return the detection of each pixel.

    Detector and segmentation have different classes. The class of a box is the one that is most
    frequent in its centre, and its mask the pixels of this class in the box. Where masks overlap,
    the pixel belongs to the nearest object or, without a depth map, to the smallest box.

    Args:
        detections: The detections; a box that is not finite has no pixels.
        segmentation: The segmentation of the same image.
        depth: The depth map of the same image; None if there is none.

    Returns:
        uint16 (H, W): the value of ``instance_values``, 0 where no object is.
    """
    ids = segmentation.class_ids
    image = np.full(ids.shape, NO_INSTANCE, np.uint16)
    finite = np.isfinite(detections.boxes).all(axis=1)
    boxes, values = detections.boxes[finite], instance_values(detections)[finite]
    if depth is None:
        order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind='stable')
    else:
        distance = [
            _median_depth(depth.depth[box_window(box, ids.shape, _INNER, _SAMPLES)])
            for box in boxes.tolist()
        ]
        order = np.argsort(-np.array(distance), kind='stable')
    for index in order.tolist():
        box = boxes[index].tolist()
        inner = ids[box_window(box, ids.shape, _INNER, _SAMPLES)]
        counts = np.bincount(inner.ravel(), minlength=UNLABELLED + 1)
        counts[UNLABELLED] = 0
        if counts.any():
            window = box_window(box, ids.shape)
            np.copyto(image[window], values[index], where=ids[window] == counts.argmax())
    return image


def _median_depth(z: NDArray[np.float32]) -> float:
    """Return the median of the known depths; infinity if there are none."""
    known = z[np.isfinite(z)]
    return float(np.median(known)) if known.size else np.inf
