# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a recipe's data sets, with the teachers' cached predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError, SourceError
from mt_perception.evaluation.datasets.dataset_folder import TRAIN
from mt_perception.evaluation.datasets.recording import read_recording
from mt_perception.evaluation.datasets.taxonomy import DEFAULT_TAXONOMY, ClassMap, read_taxonomy
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.read_datasets import (
    Kept,
    detector_classes,
    read_coco,
    read_regions,
    read_rgbd,
    read_segmentation,
)
from mt_perception.training.data.samples import Sample, read_array
from mt_perception.training.distillation.known_sizes import NOMINAL_FOCAL_PX, write_labels
from mt_perception.training.distillation.teachers import (
    cache_predictions,
    relative_depth_teacher,
    voc_teacher,
    with_relative_depth,
    with_voc_labels,
)
from mt_perception.training.losses.segmentation import EXCLUDED
from mt_perception.training.recipe import Recipe, SetSpec

_VOC, _RELATIVE, _PIXELS, _OBJECTS = 'voc', 'relative_depth', 'pixels', 'object_depth'
_BOXES = 'boxes'
_CACHED = ('voc_labels', 'relative_depth', 'object_depth', 'soft_labels', 'teacher_boxes')
# An image shows a class if at least this many pixels have its label.
_SHOWN_PIXELS = 300
_SHOWN_SHARE, _SURE = 0.02, 128
_SHOWS_NOTHING = 0.02
# Limits of the sampling rate of an image, relative to the median image.
_MOST_OFTEN, _LEAST_OFTEN = 3.0, 0.5


def network_classes(recipe: Recipe, data: Path, start: Sequence[str] = ()) -> ClassMap:
    """Return the classes of a recipe's network.

    Args:
        recipe: optionally names an annotation file and a taxonomy.
        data: the data folder.
        start: detector's classes of the weights to start from, which a recipe without an
            annotation file keeps.
    """
    taxonomy = read_taxonomy(recipe.taxonomy or DEFAULT_TAXONOMY)
    names = tuple(start)
    if recipe.detection_labels:
        names = detector_classes(data / recipe.detection_labels)
    return ClassMap(names, taxonomy.labels, taxonomy)


def read_sets(recipe: Recipe, data: Path, classes: ClassMap, cache: Path) -> tuple[SampleSet, ...]:
    """Read every set of a recipe; the teachers' predictions must be in the cache."""
    sets = []
    for spec in recipe.sets:
        samples = _read(spec, recipe, data, classes)
        if spec.voc_labels:
            samples = [with_voc_labels(s, cache / _VOC, classes) for s in samples]
        if spec.relative_depth:
            samples = [with_relative_depth(s, cache / _RELATIVE) for s in samples]
        if spec.object_depth:
            samples = [_with_object_depth(s, cache) for s in samples]
        if spec.soft_labels:
            folder = cache / _PIXELS
            samples = [replace(s, soft_label_path=folder / f'{s.name}.npy') for s in samples]
        if spec.teacher_boxes:
            folder = cache / _BOXES
            samples = [replace(s, teacher_boxes_path=folder / f'{s.name}.npy') for s in samples]
        if spec.zoom != 1 or spec.tilt_deg:
            samples = [replace(s, zoom=spec.zoom, tilt_deg=spec.tilt_deg) for s in samples]
        if spec.soft_labels:
            _check_soft_labels(samples, classes, cache)
        shares = class_shares(samples) if spec.balanced else None
        if spec.by_distance:
            shares = distance_shares([typical_distance(sample) for sample in samples])
        sets.append(SampleSet(spec.name, tuple(samples), spec.weight, shares))
    _check_names(
        [
            s
            for spec, one in zip(recipe.sets, sets, strict=True)
            if any(getattr(spec, use) for use in _CACHED)
            for s in one.samples
        ]
    )
    return tuple(sets)


def _check_soft_labels(samples: Sequence[Sample], classes: ClassMap, cache: Path) -> None:
    """Refuse cached soft labels of other classes; one file stands for all."""
    paths = [s.soft_label_path for s in samples if s.soft_label_path is not None]
    path = next((p for p in paths if p.exists()), None)
    wanted = len(classes.segmentation)
    if path is not None and (shape := read_array(path).shape)[2:] != (wanted,):
        raise ModelError(
            f'{path} has soft labels of shape {shape}, the network {wanted} classes; give another '
            f'--cache than {cache}, or remove it'
        )


def _check_names(samples: Iterable[Sample]) -> None:
    """Refuse two images of one name: they would share their cached predictions."""
    images: dict[str, Path] = {}
    for sample in samples:
        other = images.setdefault(sample.name, sample.image_path)
        if other != sample.image_path:
            raise SourceError(
                f'{other} and {sample.image_path} are both called {sample.name} in the cache; '
                'rename one of them or its data set'
            )


def write_pseudo_labels(
    recipe: Recipe, data: Path, classes: ClassMap, cache: Path
) -> Iterator[tuple[int, int]]:
    """Fill the cache with the teachers' predictions; yield (done, total) after each image."""
    read = [(spec, _read(spec, recipe, data, classes)) for spec in recipe.sets]
    voc = [s for spec, samples in read if spec.voc_labels for s in samples]
    relative = [s for spec, samples in read if spec.relative_depth for s in samples]
    by_objects = [
        with_relative_depth(s, cache / _RELATIVE)
        for spec, samples in read if spec.object_depth for s in samples
    ]  # fmt: skip
    done, total = 0, len(voc) + len(relative) + len(by_objects)
    if voc:
        for _ in cache_predictions(voc, voc_teacher(data / recipe.voc_teacher), cache / _VOC):
            done += 1
            yield done, total
    if relative:
        predict = relative_depth_teacher(data / recipe.relative_depth_teacher)
        for _ in cache_predictions(relative, predict, cache / _RELATIVE):
            done += 1
            yield done, total
    for _ in write_labels(by_objects, cache / _OBJECTS):
        done += 1
        yield done, total


def _with_object_depth(sample: Sample, cache: Path) -> Sample:
    """Point a sample at the depth that its objects' sizes give."""
    path = cache / _OBJECTS / f'{sample.name}.png'
    return replace(sample, depth_path=path, focal_px=NOMINAL_FOCAL_PX)


def typical_distance(sample: Sample) -> float:
    """Return the median depth of an image in metres; 0 if it has none."""
    depth = sample.depth()
    if depth is None:
        return 0.0
    measured = depth[depth > 0]
    return float(np.median(measured)) if measured.size else 0.0


def distance_shares(distances: Sequence[float]) -> tuple[float, ...]:
    """Return sampling probabilities with equal weight for every octave of distance.

    Args:
        distances: distance of each image in metres; images of distance 0 have the median weight.
    """
    values = np.asarray(distances, np.float64)
    octaves = np.where(values > 0, np.round(np.log2(np.maximum(values, 1e-3))), np.nan)
    counts = np.array([np.count_nonzero(octaves == octave) for octave in octaves])
    chances = np.where(counts > 0, 1.0 / np.maximum(counts, 1), np.nan)
    median = float(np.nanmedian(chances)) if (counts > 0).any() else 1.0
    chances = np.clip(
        np.nan_to_num(chances, nan=median), _LEAST_OFTEN * median, _MOST_OFTEN * median
    )
    return tuple(chances / chances.sum())


def class_shares(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Return sampling probabilities that favour images of rare classes."""
    shows = np.array([_shown_classes(sample) for sample in samples])
    chances = (shows / np.maximum(shows.sum(axis=0), 1)).sum(axis=1) + _SHOWS_NOTHING / len(shows)
    median = float(np.median(chances))
    chances = np.clip(chances, _LEAST_OFTEN * median, _MOST_OFTEN * median)
    return tuple(chances / chances.sum())


def _shown_classes(sample: Sample) -> NDArray[np.bool_]:
    """Return which classes an image shows, by its labels and soft labels."""
    shown = np.zeros(EXCLUDED, np.bool_)
    if sample.semantic is not None:
        counts = np.bincount(sample.semantic().ravel(), minlength=256)
        shown |= counts[:EXCLUDED] > _SHOWN_PIXELS
    if sample.soft_label_path is not None and sample.soft_label_path.exists():
        soft_labels = read_array(sample.soft_label_path)
        sure = soft_labels.argmax(axis=2)[soft_labels.max(axis=2) > _SURE]
        counts = np.bincount(sure, minlength=EXCLUDED)
        shown |= counts[:EXCLUDED] > _SHOWN_SHARE * soft_labels[..., 0].size
    return shown


def _read(spec: SetSpec, recipe: Recipe, data: Path, classes: ClassMap) -> list[Sample]:
    folder = data / spec.folder
    if not folder.is_dir():
        raise SourceError(f'set {spec.name}: there is no folder {folder}')
    kept, split = _kept(spec, recipe, folder), spec.split or TRAIN
    if spec.kind == 'regions':
        samples = read_regions(folder, classes, kept)
    elif spec.kind == 'rgbd':
        samples = read_rgbd(folder, classes, spec.focal_px, split, spec.names, spec.ground, kept)
    elif spec.kind == 'segmentation':
        samples = read_segmentation(folder, classes, spec.names, split, kept)
    else:
        samples = read_coco(folder, classes, spec.split, spec.pixels, spec.annotations, kept)
    if not samples:
        raise SourceError(
            f'set {spec.name}: {folder} has no image of the split and labels that the recipe names'
        )
    return samples


def _kept(spec: SetSpec, recipe: Recipe, folder: Path) -> Kept:
    """Keep images that neither the set excludes nor a part of the validation data has."""
    recording = read_recording(folder)

    def kept(key: str) -> bool:
        if key in spec.without:
            return False
        parts = recipe.parts
        return parts is None or parts.part_of(spec.folder, key, recording) is None

    return kept
