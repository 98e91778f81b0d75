# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes in 3-D from boxes in the image, a depth map and, if there is one, a segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.geometry.box_window import box_window
from mt_perception.geometry.rays import has_rays, rays
from mt_perception.types import DepthMap, Detections, Intrinsics, Segmentation

_SAMPLES = 32
"""Upper limit on rows and on columns of pixels that are read in one box."""

_FEWEST = 8
"""Samples of an object that are necessary for a position."""

_SHARE = 0.1
"""Fraction of a box that a class has to cover, so that its pixels are the object's."""

_INNER = 0.5
"""Without a segmentation: size of the central part of a box that counts as the object."""

_SPREAD = 0.25
"""Samples farther from the median depth than this fraction of it are background or foreground."""


@dataclass(frozen=True, eq=False)
class Boxes3D:
    """Axis-aligned boxes in the optical frame (x right, y down, z forward), in metres.

    A box is centred on the median depth of the visible surface, whose extent along z is its size.

    Attributes:
        indices: int64 (N,), the detections that they belong to, in ascending order; detections
            without a known depth have no box.
        centers: float64 (N, 3).
        sizes: float64 (N, 3).
    """

    indices: NDArray[np.int64]
    centers: NDArray[np.float64]
    sizes: NDArray[np.float64]


def boxes3d(
    detections: Detections, depth: DepthMap, segmentation: Segmentation | None = None
) -> Boxes3D:
    """Locate detections in space.

    The depth of an object is the median over its own pixels: those of its class inside the box
    or, where no segmentation has its class, the central part of the box. At that depth the box
    extends between the rays through the centres of its sides.

    Args:
        detections: The detections.
        depth: The depth map of the same image, in metres.
        segmentation: The segmentation of the same image; None if there is none.

    Returns:
        The boxes; none if the rays of the camera are unknown, or the depth has no unit.
    """
    camera = depth.intrinsics
    rows = []
    if has_rays(camera) and not depth.relative:
        sides = _side_rays(camera, detections.boxes)
        for index, box in enumerate(detections.boxes.tolist()):
            if not np.isfinite((*sides[index], *box)).all():
                continue
            label = detections.labels[int(detections.class_ids[index])]
            z = _own_depths(box, label, depth, segmentation)
            if z is None:
                continue
            last = len(z) - 1
            near, middle, far = z[
                [round(0.1 * last), round(0.5 * last), round(0.9 * last)]
            ].tolist()
            left, right, top, bottom = sides[index]
            rows.append(
                (
                    index,
                    (left + right) / 2 * middle,
                    (top + bottom) / 2 * middle,
                    middle,
                    (right - left) * middle,
                    (bottom - top) * middle,
                    far - near,
                )
            )
    table = np.array(rows, np.float64).reshape(-1, 7)
    return Boxes3D(table[:, 0].astype(np.int64), table[:, 1:4], table[:, 4:])


def _side_rays(camera: Intrinsics, boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return x of the left and right sides and y of the upper and lower sides of boxes, (N, 4)."""
    x0, y0, x1, y1 = boxes.astype(np.float64).T
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    middles = np.stack([(x0, y), (x1, y), (x, y0), (x, y1)]).transpose(2, 0, 1)
    found = rays(camera, middles).reshape(-1, 4, 2)
    return np.column_stack((found[:, :2, 0], found[:, 2:, 1]))


def _own_depths(
    box: list[float], label: str, depth: DepthMap, segmentation: Segmentation | None
) -> NDArray[np.float32] | None:
    """Sorted depths of an object's pixels without outliers; None if too few are known."""
    window = box_window(box, depth.depth.shape, 1.0, _SAMPLES)
    own = None
    if segmentation is not None and label in segmentation.labels:
        own = segmentation.class_ids[window] == segmentation.labels.index(label)
    if own is None or own.mean() < _SHARE:
        window = box_window(box, depth.depth.shape, _INNER, _SAMPLES)
        z = depth.depth[window].ravel()
    else:
        z = depth.depth[window][own]
    z = np.sort(z[np.isfinite(z) & (z > 0)])
    if len(z) < _FEWEST:
        return None
    median = z[len(z) // 2]
    low, high = np.searchsorted(z, (median * (1 - _SPREAD), median * (1 + _SPREAD)))
    return z[low:high] if high - low >= _FEWEST else None
