# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Validation: the accuracy of a pipeline on the validation parts of a recipe's data sets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import yaml

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.dataset_folder import HELD_OUT, TRAIN
from mt_perception.evaluation.datasets.layout import find_layout
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import CHOOSE, Parts
from mt_perception.evaluation.datasets.recording import read_recording
from mt_perception.evaluation.datasets.taxonomy import DEFAULT_TAXONOMY, ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.datasets.truth_files import read_annotations
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.execution.options import Options
from mt_perception.model.manifest import Accuracy
from mt_perception.pipeline import Pipeline
from mt_perception.training.recipe import Recipe, SetSpec
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Result

# Average precision needs detections of every score; depth counts at any distance.
EVALUATION_OPTIONS = Options(score_threshold=0.001, max_detections=300, max_depth_m=1000.0)

VAL2017 = 'val2017'

TASKS = (DETECTION, SEGMENTATION, DEPTH)

MAX_RANGE_M = 80.0
"""True depth beyond this is left out."""

# Metrics of the manifest, with the task of each.
_REPORTED = {'ap': DETECTION, 'miou': SEGMENTATION, 'abs_rel': DEPTH}


class Metric(Protocol):
    """The interface of the metrics in `evaluation.metrics`."""

    def process(self, sample: Sample, result: Result) -> Mapping[str, Any]:
        """Add one frame."""

    def evaluate(self) -> Mapping[str, Any]:
        """Return the metrics over all frames."""


@dataclass(frozen=True)
class ValidationSet:
    """The validation part of one data set.

    Args:
        name: name in the log.
        folder: folder inside the data folder.
        tasks: tasks that it has labels for.
        split: its validation split; None takes all frames.
        focal_px: focal length in pixels of the stored images.
        names: class name of each id in the label images; empty reads the folder's YAML file.
        keys: images to use, by path without the suffix; None takes all.
    """

    name: str
    folder: str
    tasks: tuple[str, ...]
    split: str | None = HELD_OUT
    focal_px: float | None = None
    names: tuple[tuple[int, str], ...] = ()
    keys: frozenset[str] | None = None


@dataclass(frozen=True)
class SetMetrics:
    """The metrics of one data set.

    Args:
        source: the data set.
        values: metric → value; a task without labelled frames has none.
        frames: task → number of labelled frames.
    """

    source: ValidationSet
    values: Mapping[str, float]
    frames: Mapping[str, int]


def main_validation(recipe: Recipe, data: Path) -> tuple[Path, str]:
    """Return the folder of the detector's annotations and its validation split.

    Without `validation_split` in the recipe it is val2017 if the annotations have this split, else
    the held-out part.
    """
    folder = (data / recipe.detection_labels).parent
    if recipe.validation_split:
        return folder, recipe.validation_split
    annotations = read_annotations(find_layout(folder))
    images = () if annotations is None else annotations.images
    known = any(image.split == VAL2017 for image in images)
    return folder, VAL2017 if known else HELD_OUT


def validation_sets(recipe: Recipe, data: Path) -> tuple[ValidationSet, ...]:
    """Return the validation parts of a recipe's data.

    If the recipe has parts, only images of the part `choose` are used. RGB-D sets that are trained
    on as a whole have none.
    """
    found: dict[tuple[str, str | None], ValidationSet] = {}
    if recipe.detection_labels:
        folder, split = main_validation(recipe, data)
        inside = str(Path(recipe.detection_labels).parent)
        keys = None if recipe.parts is None else recipe.parts.images.get(inside, {}).get(CHOOSE)
        tasks = (DETECTION, SEGMENTATION)
        found[inside, split] = ValidationSet(folder.name, inside, tasks, split, keys=keys)
    for spec in recipe.sets:
        source = None
        if spec.kind == 'rgbd' and spec.split != 'all':
            source = depth_set(spec)
        elif spec.kind == 'segmentation':
            names = tuple((spec.names or {}).items())
            source = ValidationSet(spec.name, spec.folder, (SEGMENTATION,), names=names)
        elif spec.kind == 'coco' and spec.split == TRAIN:
            source = ValidationSet(spec.name, spec.folder, (DETECTION, SEGMENTATION))
        if source is not None:
            found.setdefault((source.folder, source.split), source)
    return tuple(found.values())


def scene_sets(data: Path, parts: Parts, part: str) -> tuple[ValidationSet, ...]:
    """Return the scenes of a part, of which no frame was trained on.

    Args:
        data: the data folder; recordings that it lacks are left out.
        parts: which scenes there are.
        part: choose or report.
    """
    found = []
    for folder in parts.folders(part):
        if not (data / folder / 'depth_mm').is_dir():
            continue
        recording = read_recording(data / folder)
        scenes: dict[str, list[str]] = {}
        for path in sorted((data / folder / 'rgb').iterdir()):
            if parts.part_of(folder, path.stem, recording) == part:
                names = {} if recording is None else recording.scenes
                scenes.setdefault(names.get(path.stem, Path(folder).name), []).append(path.stem)
        found += [
            ValidationSet(
                scene, folder, (DEPTH,), None, parts.focal_px.get(folder), keys=frozenset(keys)
            )
            for scene, keys in scenes.items()
        ]
    return tuple(found)


def depth_set(spec: SetSpec, split: str | None = HELD_OUT) -> ValidationSet:
    """Return the validation part of an RGB-D set."""
    return ValidationSet(spec.name, spec.folder, (DEPTH,), split, spec.focal_px)


def measure_metrics(
    pipeline: Pipeline, data: Path, recipe: Recipe, tasks: Collection[str] = TASKS
) -> dict[str, float]:
    """Measure a model on the validation parts of a recipe's data.

    Args:
        pipeline: the model.
        data: the data folder.
        recipe: names the data sets, and optionally a taxonomy and parts.
        tasks: the tasks to measure.

    Returns:
        `combined` of all sets; with parts, `abs_rel/unseen` and `abs_rel_scaled/unseen`, the means
        over the scenes of the part `choose`.
    """
    sets = [s for s in validation_sets(recipe, data) if set(s.tasks) & set(tasks)]
    found = combined([measure_set(pipeline, data, s, recipe.taxonomy) for s in sets])
    if recipe.parts is not None and DEPTH in tasks:
        unseen = combined(
            [measure_set(pipeline, data, s) for s in scene_sets(data, recipe.parts, CHOOSE)]
        )
        kept = ('abs_rel', 'abs_rel_scaled')
        found |= {f'{name}/unseen': unseen[name] for name in kept if name in unseen}
    return found


def measure_sets(pipeline: Pipeline, data: Path, recipe: Recipe) -> tuple[SetMetrics, ...]:
    """Measure a model on each validation set of a recipe."""
    sets = validation_sets(recipe, data)
    return tuple(measure_set(pipeline, data, source, recipe.taxonomy) for source in sets)


def combined(sets: Sequence[SetMetrics]) -> dict[str, float]:
    """Return every metric's mean over the sets that have it, and each set's own value.

    Returns:
        `ap`, `ap50`, `miou`, `iou/<class>`; `abs_rel`, `delta1`, `abs_rel_scaled` (scaled by the
        ratio of medians) and `abs_rel_constant` (of the best constant for each image); and
        `<metric>/<set>` for metrics of more than one set, and for depth always. A task without
        labelled frames has no metric.
    """
    values: dict[str, list[float]] = {}
    for measured in sets:
        for name, value in measured.values.items():
            values.setdefault(name, []).append(value)
    found = {name: sum(rows) / len(rows) for name, rows in values.items()}
    for measured in sets:
        for name, value in measured.values.items():
            if '/' not in name and (len(values[name]) > 1 or DEPTH in measured.source.tasks):
                found[f'{name}/{measured.source.name}'] = value
    return found


def accuracy_rows(sets: Sequence[SetMetrics]) -> tuple[Accuracy, ...]:
    """Return the manifest's rows: measured values, and the data of each."""
    values = combined(sets)
    return tuple(
        Accuracy(task, name, round(values[name], 4), _data_of(name, task, sets))
        for name, task in _REPORTED.items()
        if name in values
    )


def _data_of(name: str, task: str, sets: Sequence[SetMetrics]) -> str:
    measured = [m for m in sets if name in m.values]
    parts = ', '.join(
        f'{m.source.folder} {m.source.split or "all"} ({m.frames[task]} images)' for m in measured
    )
    return parts if len(measured) == 1 else f'mean over {parts}'


def measure_set(
    pipeline: Pipeline, data: Path, source: ValidationSet, taxonomy: Path | None = None
) -> SetMetrics:
    """Measure a model on one data set.

    Args:
        pipeline: the model; tasks that it does not have are left out.
        data: the data folder.
        source: the data set.
        taxonomy: file of segmentation classes; None for the package's own.
    """
    kinds: dict[str, Callable[[], Metric]] = {
        DETECTION: DetectionMetric,
        SEGMENTATION: SegmentationMetric,
        DEPTH: partial(DepthMetric, MAX_RANGE_M),
    }
    metrics = {task: kinds[task]() for task in source.tasks if task in pipeline.manifest.tasks}
    if metrics:
        folder = data / source.folder
        with _class_names(source) as names:
            options = SourceOptions(
                split=_split_of(folder, source.split),
                camera=source.focal_px,
                class_names=names,
                keys=source.keys,
            )
            _run(pipeline, folder, options, metrics, taxonomy)
    values: dict[str, float] = {}
    frames: dict[str, int] = {}
    for task, metric in metrics.items():
        found = metric.evaluate()
        frames[task] = int(found.get('frames', 0))
        values |= {n: float(v) for n, v in _figures(task, found).items() if v is not None}
    return SetMetrics(source, values, frames)


def _figures(task: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a task by their names in a run's log."""
    if task == DETECTION:
        return {name: found.get(name) for name in ('ap', 'ap50')}
    if task == SEGMENTATION:
        per_class = {f'iou/{n}': row['iou'] for n, row in found.get('classes', {}).items()}
        return {'miou': found.get('miou'), **per_class}
    if not found:
        return {}
    return {
        'abs_rel': found['metric']['abs_rel'],
        'delta1': found['metric']['delta1'],
        'abs_rel_scaled': found['median']['abs_rel'],
        'abs_rel_constant': found['constant']['abs_rel'],
    }


def measure(
    pipeline: Pipeline,
    folder: Path,
    split: str | None,
    focal_px: float | None,
    metrics: Mapping[str, Metric],
    taxonomy: Path | None = None,
    keys: frozenset[str] | None = None,
) -> None:
    """Run a model over a data set and pass every frame to the metrics of the tasks."""
    options = SourceOptions(split=split, camera=focal_px, keys=keys)
    _run(pipeline, folder, options, metrics, taxonomy)


@contextmanager
def _class_names(source: ValidationSet) -> Iterator[str | None]:
    """Provide the class names of a set as a YAML file, if the recipe has them."""
    if not source.names:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'classes.yaml'
        path.write_text(yaml.safe_dump({'classes': dict(source.names)}), encoding='utf-8')
        yield str(path)


def _split_of(folder: Path, split: str | None) -> str | None:
    """Return the validation split of a folder that has a folder for each split."""
    if split != HELD_OUT:
        return split
    for name in (HELD_OUT, 'valid', 'val', 'test'):
        try:
            find_layout(folder, name)
        except SourceError:
            continue
        return name
    return split


def _run(
    pipeline: Pipeline,
    folder: Path,
    options: SourceOptions,
    metrics: Mapping[str, Metric],
    taxonomy: Path | None,
) -> None:
    # Labels of other tasks are not read.
    labels = {
        task: pipeline.manifest.tasks[task].labels if task in metrics else ()
        for task in (DETECTION, SEGMENTATION)
    }
    taxonomy = taxonomy or DEFAULT_TAXONOMY
    classes = ClassMap(labels[DETECTION], labels[SEGMENTATION], read_taxonomy(taxonomy))
    with (
        evaluation_options(pipeline),
        open_samples(str(folder), options, classes) as samples,
    ):
        for sample in samples:
            result = pipeline.run(sample.frame, tuple(metrics), confidence=True)
            for metric in metrics.values():
                metric.process(sample, result)


@contextmanager
def evaluation_options(pipeline: Pipeline) -> Iterator[None]:
    """Give a pipeline the options for validation, at its own input size, within a context."""
    before = pipeline.options
    pipeline.options = replace(EVALUATION_OPTIONS, size=before.size)
    try:
        yield
    finally:
        pipeline.options = before
