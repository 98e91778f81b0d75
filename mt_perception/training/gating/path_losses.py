# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of each path on each training image against the full path: targets of the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.metrics.matching import box_overlaps
from mt_perception.evaluation.predictor import RunSettings, open_predictor
from mt_perception.execution.options import Options
from mt_perception.image.pyramid import resized
from mt_perception.model.folder import read_manifest
from mt_perception.network.multitask import TASKS
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.training.data.samples import Boxes, Sample
from mt_perception.training.export.model_metrics import EVALUATION_OPTIONS
from mt_perception.types import DETECTION, UNLABELLED, Detections, Frame, Intrinsics, Result

# Lowest score of a box of the reference detector.
_SURE = 0.5


def open_reference_detector(file: Path, labels: tuple[str, ...]) -> ReferenceDetector:
    """Open another detector (ONNX, of a kind that evaluation supports) as a reference.

    Args:
        file: the detector.
        labels: classes of the network's detector; boxes of other classes are dropped.
    """
    options = Options(score_threshold=_SURE)
    predictor = open_predictor(f'onnx:{file}', RunSettings(options, tasks=(DETECTION,)))
    names = predictor.labels[DETECTION]
    ours = np.array([labels.index(n) if n in labels else -1 for n in names], np.int64)

    def detect(frame: Frame) -> Boxes:
        found = predictor.run(replace(frame, intrinsics=None)).detections
        if found is None or not len(found):
            return Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), complete=True)
        classes = ours[found.class_ids]
        known = classes >= 0
        return Boxes(found.boxes[known], classes[known], complete=True)

    return detect


ReferenceDetector = Callable[[Frame], Boxes]
"""Returns the objects in an image."""

# Lowest score of a detection of the full path that stands in for missing labels.
_SURE_SCORE = 0.3
_MIN_IOU = 0.475
_MIN_PIXELS = 400


def path_pipelines(model: Path) -> list[Pipeline]:
    """Open every path of a model with the options for validation, the full path first."""
    names = [path.name for path in read_manifest(model).paths.choices]
    return [Pipeline.load(model, EVALUATION_OPTIONS, budget=Budget(path=name)) for name in names]


def path_losses_of(
    sample: Sample,
    image: NDArray[np.uint8],
    pipelines: Sequence[Pipeline],
    reference: ReferenceDetector | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Measure the losses of all paths on one image.

    Detection: one minus the mean quality of the objects' best detections. Segmentation: share of
    wrong pixels among the labelled ones. Depth: mean relative error. Missing labels are replaced
    by the full path's prediction, missing boxes by those of the reference detector.

    Args:
        sample: the labels.
        image: (H, W, 3) BGR.
        pipelines: one for every path, the full path first.
        reference: reference detector for unlabelled classes.

    Returns:
        Losses (T, P), and whether they were measured with labels (T,).
    """
    height, width = image.shape[:2]
    focal = sample.focal_px or float(width)
    camera = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
    frame = Frame(image, intrinsics=camera)
    results = [pipeline.run(frame, TASKS) for pipeline in pipelines]
    boxes = sample.boxes
    if reference is not None and (boxes is None or not boxes.complete):
        boxes = completed(boxes, reference(frame))
    found = (_detection(boxes, results), _segmentation(sample, results), _depth(sample, results))
    losses = np.stack([values for values, _ in found]).astype(np.float32)
    return losses, np.array([labelled for _, labelled in found])


def completed(labelled: Boxes | None, detected: Boxes) -> Boxes:
    """Add the reference detector's boxes of the classes without labels."""
    if labelled is None:
        return detected
    other = ~np.isin(detected.classes, labelled.classes)
    corners = np.concatenate([labelled.corners, detected.corners[other]])
    return Boxes(
        corners, np.concatenate([labelled.classes, detected.classes[other]]), complete=True
    )


def _detection(boxes: Boxes | None, results: Sequence[Result]) -> tuple[NDArray[np.float64], bool]:
    first = results[0].detections
    assert first is not None
    if boxes is None:
        sure = first.scores > _SURE_SCORE
        corners, classes = first.boxes[sure], first.class_ids[sure]
    else:
        corners, classes = boxes.corners, boxes.classes
    if not len(corners):
        return np.zeros(len(results)), False
    qualities = [_quality(result.detections, corners, classes) for result in results]
    return 1 - np.array(qualities), boxes is not None


def _quality(
    found: Detections | None, corners: NDArray[np.float32], classes: NDArray[np.int64]
) -> float:
    """Return the mean over objects of the quality of the best detection of the class.

    Quality is the share of the ten IoU thresholds from 0.5 to 0.95 that the box reaches, times
    its score up to a saturation at 0.3. Average precision depends on scores in a similar way.
    """
    if found is None or not len(found):
        return 0.0
    iou = box_overlaps(corners, found.boxes)
    reached = np.clip((iou - _MIN_IOU) / 0.5, 0, 1) * (classes[:, None] == found.class_ids[None])
    return float((reached * np.minimum(1, found.scores[None] / _SURE_SCORE)).max(axis=1).mean())


def _segmentation(sample: Sample, results: Sequence[Result]) -> tuple[NDArray[np.float64], bool]:
    maps = [r.segmentation.class_ids for r in results if r.segmentation is not None]
    height, width = maps[0].shape
    truth = np.full((height, width), UNLABELLED, np.uint8)
    if sample.semantic is not None:
        truth = np.asarray(
            cv2.resize(sample.semantic(), (width, height), interpolation=cv2.INTER_NEAREST),
            np.uint8,
        )
    known = truth < 128
    labelled = bool(known.mean() > 0.1)
    if not labelled:
        return np.array([np.mean(m != maps[0]) for m in maps]), False
    return np.array([np.mean(m[known] != truth[known]) for m in maps]), True


def _depth(sample: Sample, results: Sequence[Result]) -> tuple[NDArray[np.float64], bool]:
    maps = [r.depth.depth for r in results if r.depth is not None]
    measured = sample.depth()
    if measured is None:
        logs = [np.log(m) - np.log(maps[0]) for m in maps]
        return np.array([np.nanmean(np.abs(values)) for values in logs]), False
    height, width = maps[0].shape
    truth = cv2.resize(measured, (width, height), interpolation=cv2.INTER_NEAREST)
    known = (truth > 0) & (truth < EVALUATION_OPTIONS.max_depth_m)
    if known.sum() < _MIN_PIXELS:
        return np.zeros(len(maps)), False
    errors = [np.abs(m[known] - truth[known]) / truth[known] for m in maps]
    return np.array([float(np.nanmean(e)) for e in errors]), True


def relative(losses: NDArray[np.float32], labelled: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Normalise losses, so that tasks and kinds of label are comparable.

    With labels: the difference to the full path's loss, over the full path's mean accuracy.
    Without: the distance to the full path, scaled to the same mean.

    Args:
        losses: (N, T, P).
        labelled: (N, T).

    Returns:
        (N, T, P), 0 for the full path.
    """
    beyond = losses - losses[:, :, :1]
    for task in range(losses.shape[1]):
        known = labelled[:, task]
        if not known.any():
            continue
        full = float(losses[known, task, 0].mean())
        # Depth is measured by its error, the other tasks by their accuracy.
        unit = full if TASKS[task] == 'depth' else 1 - full
        beyond[:, task] /= max(unit, 1e-3)
        if (~known).any():
            mean = float(np.abs(beyond[~known, task, 1:]).mean())
            beyond[~known, task] *= float(beyond[known, task, 1:].mean()) / max(mean, 1e-6)
    return beyond


def measure_path_losses(
    samples: Sequence[Sample],
    pipelines: Sequence[Pipeline],
    reference: ReferenceDetector | None,
    size: tuple[int, int],
) -> Mapping[str, NDArray[np.generic]]:
    """Measure all images; also return them as thumbnails of a size (height, width)."""
    losses, labelled, thumbnails = [], [], []
    for sample in samples:
        image = sample.image()
        values, known = path_losses_of(sample, image, pipelines, reference)
        losses.append(values)
        labelled.append(known)
        thumbnails.append(resized(image, *size))
    return {
        'losses': np.stack(losses),
        'labelled': np.stack(labelled),
        'thumbnails': np.stack(thumbnails).astype(np.uint8),
    }


def distances(results: Sequence[Result]) -> NDArray[np.float64]:
    """Return the distances of every path's results to the full path's, (T, P), without labels.

    Args:
        results: results for one image, the full path's first.
    """
    unlabelled = Sample('', Path(), (1, 1))
    detection, _ = _detection(None, results)
    return np.stack(
        [
            detection - detection[0],
            _segmentation(unlabelled, results)[0],
            _depth(unlabelled, results)[0],
        ]
    )
