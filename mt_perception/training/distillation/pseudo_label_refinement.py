# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Corrects a pixel teacher's opinion by what is known of the image: boxes, and what is seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.training.data.samples import Boxes
from mt_perception.training.distillation.pixel_teacher_spec import Context

# Where less than this share of the teacher's belief is left, it has no opinion.
_LEAST_LEFT = 0.35
_MARGIN_PX = 4


def things(classes: ClassMap) -> tuple[int, ...]:
    """Give the segmentation classes that gather nothing but what the detector knows."""
    members: dict[str, set[str]] = {}
    for name, label in classes.taxonomy.members.items():
        members.setdefault(label, set()).add(name)
    return tuple(
        index
        for index, label in enumerate(classes.segmentation)
        if members.get(label) and members[label] <= set(classes.detection)
    )


def within_boxes(
    values: NDArray[np.float32], boxes: Boxes, size: tuple[int, int], classes: ClassMap
) -> None:
    """Take things out of an opinion where no box of theirs is.

    Args:
        values: (h, w, C) probabilities, changed in place.
        boxes: of the image. Persons are labelled in every set that has boxes; other things only
            where the labels are complete.
        size: (height, width) of the stored image, whose pixels the boxes count.
        classes: the network's classes.
    """
    person = classes.segmentation_id('person')
    for index in things(classes) if boxes.complete else (person,):
        near = np.zeros(size, np.uint8)
        for (x1, y1, x2, y2), number in zip(boxes.corners, boxes.classes, strict=True):
            if classes.segmentation_id(classes.detection[int(number)]) == index:
                rows = slice(max(int(y1) - _MARGIN_PX, 0), int(y2) + _MARGIN_PX + 1)
                columns = slice(max(int(x1) - _MARGIN_PX, 0), int(x2) + _MARGIN_PX + 1)
                near[rows, columns] = 1
        forbid_outside(values, index, near)


def forbid_outside(values: NDArray[np.float32], index: int, near: NDArray[np.uint8]) -> None:
    """Take a class out of an opinion outside a mask that is stretched over the same image."""
    mask = cv2.resize(near.astype(np.float32), values.shape[1::-1], interpolation=cv2.INTER_AREA)
    values[..., index] *= mask > 0


def in_context(
    values: NDArray[np.float32],
    seen: Collection[str],
    context: Sequence[Context],
    classes: ClassMap,
) -> None:
    """Correct what a teacher gets wrong around certain objects.

    Args:
        values: (h, w, C) probabilities, changed in place.
        seen: names of objects in the image.
        context: the rules, which are applied in order.
        classes: the network's classes.
    """
    for rule in context:
        if rule.seen not in seen:
            continue
        said, meant = classes.segmentation_id(rule.said), classes.segmentation_id(rule.meant)
        if (values.argmax(axis=2) == meant).mean() >= rule.least:
            values[..., meant] += values[..., said]
            values[..., said] = 0
        else:
            values[values.argmax(axis=2) == said] = 0


def settle(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn probabilities whose sum has shrunk into bytes that sum to 255, or to 0: no opinion."""
    sums = values.sum(axis=2, keepdims=True)
    settled: NDArray[np.uint8] = np.rint(values / np.maximum(sums, 1e-6) * 255).astype(np.uint8)
    settled[sums[..., 0] < _LEAST_LEFT] = 0
    return settled
