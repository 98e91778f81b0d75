# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label images of network classes from label images, polygons, boxes and depth images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.annotations import Annotation, check_aspect
from mt_perception.evaluation.datasets.layout import Layout
from mt_perception.evaluation.datasets.maps import read_depth_map, read_label_map
from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.evaluation.datasets.truth_files import label_names
from mt_perception.training.data.plane_segmentation import room_masks
from mt_perception.training.losses.segmentation import EXCLUDED
from mt_perception.types import UNLABELLED

_FAR_PX = 100_000
# Label of a pixel inside boxes of different classes.
_CONFLICT = 254


def outlined_areas(
    objects: Sequence[Annotation], classes: ClassMap
) -> list[tuple[int, tuple[NDArray[np.float32], ...]]]:
    """Return classes and outlines, the largest objects first."""
    ordered = sorted(objects, key=lambda a: -a.area)
    return [(classes.segmentation_id(a.label), a.polygons) for a in ordered]


def label_table(
    layout: Layout, classes: ClassMap, names: Mapping[int, str] | None, other: str | None
) -> NDArray[np.uint8]:
    """Return the network class of each id of the label images."""
    named = label_names(layout) if names is None else names
    if other is not None and names is not None:
        # In label images of single classes, 0 is unlabelled and other ids are some object.
        named = {**dict.fromkeys(range(1, 256), other), **names}
    return classes.segmentation_table(named)


def read_labels(path: Path, table: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a label image as network classes."""
    ids = read_label_map(path)
    check_aspect((ids.shape[0], ids.shape[1]), size, str(path))
    return np.asarray(table[ids], np.uint8)


@lru_cache(maxsize=1024)
def label_room(
    path: Path, units: float, focal_per_width: float, ids: tuple[int, int]
) -> NDArray[np.uint8]:
    """Label ground and walls, which a depth image shows."""
    depth = np.nan_to_num(read_depth_map(path, units), nan=0.0)
    label = np.full(depth.shape, UNLABELLED, np.uint8)
    ground, walls, above = room_masks(depth, focal_per_width * depth.shape[1])
    label[ground], label[walls], label[above] = ids[0], ids[1], EXCLUDED + ids[0]
    return label


def fill_polygons(
    size: tuple[int, int], areas: Sequence[tuple[int, Sequence[NDArray[np.float32]]]]
) -> NDArray[np.uint8]:
    """Draw polygons, the largest first, so that smaller objects on top stay visible."""
    label = np.full(size, UNLABELLED, np.uint8)
    for index, polygons in areas:
        # Far outside, OpenCV's integers overflow and it draws for hours.
        rings = [np.round(ring.clip(-_FAR_PX, _FAR_PX)).astype(np.int32) for ring in polygons]
        cv2.fillPoly(label, rings, index)
    return label


def paint_boxes(
    size: tuple[int, int], boxes: Sequence[tuple[int, NDArray[np.float32]]], shrink: float
) -> NDArray[np.uint8]:
    """Label the insides of boxes, shrunk on each side; intersections of classes are unlabelled."""
    label = np.full(size, UNLABELLED, np.uint8)
    for index, box in boxes:
        x1, y1, x2, y2 = box.tolist()
        width, height = x2 - x1, y2 - y1
        left, right = round(x1 + shrink * width), round(x1 + (1 - shrink) * width)
        top, bottom = round(y1 + shrink * height), round(y1 + (1 - shrink) * height)
        region = label[max(top, 0) : bottom, max(left, 0) : right]
        region[...] = np.where((region == UNLABELLED) | (region == index), index, _CONFLICT)
    label[label == _CONFLICT] = UNLABELLED
    return label
