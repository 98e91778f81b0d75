# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Soft labels of the pixel teacher: cached class probabilities at stride 8, refined by boxes."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.network.multitask import Multitask
from mt_perception.training.cpu_bfloat16 import autocast
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.read_datasets import read_regions
from mt_perception.training.data.samples import Boxes, Sample
from mt_perception.training.distillation.pixel_teacher import (
    PixelTeacher,
    build_teacher,
    train_teacher,
)
from mt_perception.training.recipe import ContextRule, Recipe, SetSpec
from mt_perception.types import UNLABELLED

_LONG_SIDE, _MULTIPLE, _PAD_VALUE = 416, 32, 114
_BATCH = 8
STRIDE = 8
"""Network pixels per soft label along each side."""

# Lowest detection score of an object for context rules.
_DETECTED_FROM = 0.45
# Pixels with less remaining probability after refinement have no soft label.
_LEAST_LEFT = 0.35
_MARGIN_PX = 4


def write_soft_labels(
    recipe: Recipe,
    sets: Sequence[SampleSet],
    data: Path,
    classes: ClassMap,
    network: Multitask,
) -> Iterator[tuple[int, int]]:
    """Train the pixel teacher and write missing soft labels; yield (done, total).

    Existing soft labels are kept. If none is missing, the teacher is not trained.

    Args:
        recipe: settings of the teacher.
        sets: the recipe's sets; samples with a `soft_label_path` get soft labels.
        data: the data folder.
        classes: the network's classes.
        network: the trained network that the teacher extends.
    """
    missing = [
        [
            s
            for s in group.samples
            if s.soft_label_path is not None and not s.soft_label_path.exists()
        ]
        for group in sets
    ]
    spec, images = recipe.pixel_teacher, sum(map(len, missing))
    if spec is None or not images:
        return
    precision = getattr(torch, recipe.precision)
    teacher = build_teacher(copy.deepcopy(network), spec)
    drawn = [
        replace(
            group,
            weight=spec.weights[group.name],
            samples=tuple(replace(s, soft_label_path=None) for s in group.samples),
        )
        for group in sets
        if group.name in spec.weights
    ]
    steps = train_teacher(teacher, spec, drawn, recipe.canvases, recipe.seed, precision)
    for step, _ in steps:
        yield step, spec.steps + images
    done = spec.steps
    for source, samples in zip(recipe.sets, missing, strict=True):
        regions = complete_regions(source, data, classes)
        for part, predicted, scores in predict_pixels(teacher, samples, precision):
            for sample, values, row in zip(part, predicted, scores, strict=True):
                if sample.boxes is not None:
                    within_boxes(values, sample.boxes, sample.size, classes)
                for index, near in regions.get(sample.name, {}).items():
                    forbid_outside(values, index, near)
                present = _present_objects(sample, row, classes)
                apply_context(values, present, spec.context, classes)
                _write(sample, normalised(values))
            done += len(part)
            yield done, spec.steps + images


def predict_pixels(
    teacher: PixelTeacher, samples: Sequence[Sample], precision: torch.dtype
) -> Iterator[tuple[Sequence[Sample], NDArray[np.float32], NDArray[np.float32]]]:
    """Predict for samples, in batches of one image size.

    Yields:
        Samples, their probabilities (n, h, w, C) at stride 8, and the highest detection score of
        each class (n, classes).
    """
    by_size: dict[tuple[int, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        by_size[sample.size].append(sample)
    for group in by_size.values():
        for begin in range(0, len(group), _BATCH):
            part = group[begin : begin + _BATCH]
            views, height, width = network_views([s.image() for s in part])
            with torch.no_grad(), autocast(precision):
                probabilities, scores = teacher(views), teacher.class_scores(views)
            full = functional.interpolate(probabilities, scale_factor=4, mode='bilinear')
            coarse = (max(height // STRIDE, 1), max(width // STRIDE, 1))
            labels = functional.interpolate(full[:, :, :height, :width], size=coarse, mode='area')
            yield part, labels.permute(0, 2, 3, 1).contiguous().numpy(), scores.numpy()


def _present_objects(sample: Sample, scores: NDArray[np.float32], classes: ClassMap) -> set[str]:
    """Return the names of the objects in an image: complete labels, else detections."""
    if sample.boxes is not None and sample.boxes.complete:
        return {classes.detection[int(index)] for index in sample.boxes.classes}
    return {classes.detection[int(index)] for index in np.flatnonzero(scores >= _DETECTED_FROM)}


def complete_regions(
    source: SetSpec, data: Path, classes: ClassMap
) -> dict[str, dict[int, NDArray[np.uint8]]]:
    """Return name of a sample → class of which every instance has a box → mask of the boxes."""
    if not source.complete:
        return {}
    indices = [classes.segmentation_id(name) for name in source.complete]
    found = {}
    for sample in read_regions(data / source.folder, classes, shrink=-0.03):
        labels = np.full(sample.size, UNLABELLED, np.uint8)
        if sample.semantic is not None:
            labels = sample.semantic()
        found[sample.name] = {index: (labels == index).astype(np.uint8) for index in indices}
    return found


def _write(sample: Sample, values: NDArray[np.uint8]) -> None:
    assert sample.soft_label_path is not None
    write_array(sample.soft_label_path, values)


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write a .npy file of the cache; several processes may write the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f'.{os.getpid()}.part.npy')
    np.save(unfinished, values, allow_pickle=False)
    unfinished.rename(path)


def network_views(images: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, int, int]:
    """Scale images of one size to the network's long side, padded at the right and bottom."""
    stored = images[0].shape[:2]
    scale = _LONG_SIDE / max(stored)
    height, width = (max(1, round(n * scale)) for n in stored)
    padded = (-(-height // _MULTIPLE) * _MULTIPLE, -(-width // _MULTIPLE) * _MULTIPLE)
    canvas = np.full((len(images), *padded, 3), _PAD_VALUE, np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    for view, image in zip(canvas, images, strict=True):
        view[:height, :width] = cv2.resize(image, (width, height), interpolation=how)
    views = torch.from_numpy(canvas).permute(0, 3, 1, 2).float()
    return views.contiguous(memory_format=torch.channels_last), height, width


def things(classes: ClassMap) -> tuple[int, ...]:
    """Return the segmentation classes whose members are all detector classes."""
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
    """Set probabilities of object classes to zero outside their boxes.

    Args:
        values: (h, w, C) probabilities, changed in place.
        boxes: boxes of the image. Every set with boxes labels persons; other classes are only
            used if the labels are complete.
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
    """Set a class to zero outside a mask that is stretched over the same image."""
    mask = cv2.resize(near.astype(np.float32), values.shape[1::-1], interpolation=cv2.INTER_AREA)
    values[..., index] *= mask > 0


def apply_context(
    values: NDArray[np.float32],
    present: Collection[str],
    context: Sequence[ContextRule],
    classes: ClassMap,
) -> None:
    """Apply context rules to a teacher's prediction.

    Args:
        values: (h, w, C) probabilities, changed in place.
        present: names of the objects in the image.
        context: rules, applied in order.
        classes: the network's classes.
    """
    for rule in context:
        if rule.seen not in present:
            continue
        wrong, right = classes.segmentation_id(rule.said), classes.segmentation_id(rule.meant)
        if (values.argmax(axis=2) == right).mean() >= rule.least:
            values[..., right] += values[..., wrong]
            values[..., wrong] = 0
        else:
            values[values.argmax(axis=2) == wrong] = 0


def normalised(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Rescale probabilities to bytes that sum to 255, or to 0 where little probability is left."""
    sums = values.sum(axis=2, keepdims=True)
    scaled: NDArray[np.uint8] = np.rint(values / np.maximum(sums, 1e-6) * 255).astype(np.uint8)
    scaled[sums[..., 0] < _LEAST_LEFT] = 0
    return scaled
