# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The accuracy figures that a run prints and the model card reports; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.execution.options import Options
from mt_perception.pipeline import Pipeline
from mt_perception.training.recipe import Recipe, SetSpec
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Result

# Average precision wants detections of every score; depth is judged however far it is.
JUDGED = Options(score_threshold=0.001, max_detections=300, max_depth_m=1000.0)


class Metric(Protocol):
    """What every metric of `evaluation.metrics` does."""

    def process(self, sample: Sample, result: Result) -> Mapping[str, Any]:
        """Add one frame."""

    def evaluate(self) -> Mapping[str, Any]:
        """Give the figures over all frames."""


def all_figures(pipeline: Pipeline, data: Path, recipe: Recipe) -> dict[str, float]:
    """Measure a model on the validation parts of a recipe's data.

    Args:
        pipeline: the model.
        data: the data folder.
        recipe: names the annotation file whose validation part is used, and the RGB-D sets whose
            held-out frames are used.

    Returns:
        `ap`, `ap50`, `miou`, `iou/<class>`; for every scene, and their mean, `abs_rel`,
        `delta1`, `abs_rel_scaled` (by the ratio of medians) and `abs_rel_constant` (of the
        best constant for each image).
    """
    folder = (data / recipe.detection_labels).parent
    detection, segmentation = DetectionMetric(), SegmentationMetric()
    both: dict[str, Metric] = {DETECTION: detection, SEGMENTATION: segmentation}
    measure(pipeline, folder, recipe.validation_split, None, both)
    found, classes = detection.evaluate(), segmentation.evaluate()
    # Images without boxes, or without pixels, give no figure.
    told = {'ap': found.get('ap'), 'ap50': found.get('ap50'), 'miou': classes.get('miou')}
    told |= {f'iou/{name}': row['iou'] for name, row in classes.get('classes', {}).items()}
    figures: dict[str, float] = {n: float(v) for n, v in told.items() if v is not None}
    scenes = [depth_figures(pipeline, data, spec) for spec in recipe.sets if spec.kind == 'rgbd']
    for spec, scene in zip((s for s in recipe.sets if s.kind == 'rgbd'), scenes, strict=True):
        figures |= {f'{name}/{spec.name}': value for name, value in scene.items()}
    for name in scenes[0] if scenes else ():
        figures[name] = sum(scene[name] for scene in scenes) / len(scenes)
    return figures


def depth_figures(
    pipeline: Pipeline, data: Path, spec: SetSpec, split: str | None = 'held_out'
) -> dict[str, float]:
    """Measure depth on one RGB-D set; `split` None takes all of its frames."""
    depth = DepthMetric()
    measure(pipeline, data / spec.folder, split, spec.focal_px, {DEPTH: depth})
    figures = depth.evaluate()
    return {
        'abs_rel': figures['metric']['abs_rel'],
        'delta1': figures['metric']['delta1'],
        'abs_rel_scaled': figures['median']['abs_rel'],
        'abs_rel_constant': figures['constant']['abs_rel'],
    }


def measure(
    pipeline: Pipeline,
    folder: Path,
    split: str | None,
    focal_px: float | None,
    metrics: Mapping[str, Metric],
) -> None:
    """Run a model over a data set and show every frame to the metrics of the tasks."""
    tasks: Sequence[str] = tuple(metrics)
    # Truth that no metric asks for is not even read.
    labels = {
        task: pipeline.manifest.tasks[task].labels if task in metrics else ()
        for task in (DETECTION, SEGMENTATION)
    }
    classes = ClassMap(labels[DETECTION], labels[SEGMENTATION], read_taxonomy())
    before = pipeline.options
    pipeline.options = replace(JUDGED, size=before.size)
    options = SourceOptions(split=split, camera=focal_px)
    with open_samples(str(folder), options, classes) as samples:
        for sample in samples:
            result = pipeline.run(sample.frame, tasks)
            for metric in metrics.values():
                metric.process(sample, result)
    pipeline.options = before
