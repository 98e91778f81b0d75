# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision from matches, of all frames or of resamples of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.metrics.matching import (
    AREA_RANGES,
    IOU_THRESHOLDS,
    Matches,
    bit,
)

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Score thresholds at which precision and recall are reported."""

RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
"""The recalls at which precision is read (COCO's 101 points)."""

SCORE_BINS = 10
"""Number of score ranges of the reliability."""

CALIBRATION_SCORE = 0.3
"""Lower detections are not part of the calibration: a robot ignores them, and they are most."""

AT_50 = 0
"""Index of the overlap 0.5."""


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """All detections of one class over all frames, best score first.

    ``frame`` (N,) is the frame of each detection, ``objects`` (F, A) how many objects of each
    size every frame has.
    """

    frame: NDArray[np.int64]
    scores: NDArray[np.float64]
    found: NDArray[np.uint64]
    ignored: NDArray[np.uint64]
    objects: NDArray[np.int64]


def gather(parts: Sequence[tuple[int, Matches]], frames: int) -> ClassMatches:
    """Concatenate the matches of one class, given as (index of the frame, matches)."""
    objects = np.zeros((frames, len(AREA_RANGES)), np.int64)
    for frame, part in parts:
        objects[frame] = part.objects
    scores = np.concatenate([m.scores for _, m in parts])
    # Stable: among equal scores the earlier frame comes first, as in COCO.
    order = np.argsort(-scores, kind='stable')
    return ClassMatches(
        frame=np.repeat([f for f, _ in parts], [len(m.scores) for _, m in parts])[order],
        scores=scores[order],
        found=np.concatenate([m.found for _, m in parts])[order],
        ignored=np.concatenate([m.ignored for _, m in parts])[order],
        objects=objects,
    )


def class_ap(
    each: ClassMatches, weights: NDArray[np.floating], sizes: int = len(AREA_RANGES)
) -> NDArray[np.float64]:
    """Average precision of one class.

    Args:
        each: The matches of its detections.
        weights: (B, F), the number of times that each frame is drawn in each of B resamples.
        sizes: Number of size ranges to evaluate, ``all`` first.

    Returns:
        (sizes, T, B), NaN where there is no object.
    """
    result = np.full((sizes, len(IOU_THRESHOLDS), len(weights)), np.nan)
    counted = np.asarray(weights, np.float64)[:, each.frame]  # (B, N)
    for size in range(sizes):
        total = weights @ each.objects[:, size]  # (B,)
        ranked, counted_before = np.zeros(0), None
        for overlap in range(len(IOU_THRESHOLDS) if total.any() else 0):
            found = bit(each.found, size, overlap)
            counts = ~bit(each.ignored, size, overlap)
            # Mostly nothing is ignored, and one sum serves all overlaps.
            if counted_before is None or (counts != counted_before).any():
                ranked, counted_before = np.cumsum(counted * counts, axis=1), counts
            result[size, overlap] = average_precision(
                np.cumsum(counted[:, found], axis=1), ranked[:, found], total
            )
    return result


def average_precision(
    right: NDArray[Any], ranked: NDArray[Any], total: NDArray[Any]
) -> NDArray[np.float64]:
    """AP of B resamples, from the counts at each true positive (B, K) and of objects (B,).

    True positives are enough: precision only falls between them.
    """
    precision = right / (ranked + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid='ignore', divide='ignore'):
        recall = right / total[:, None]
    # Number of the 101 recalls that are reached at each true positive.
    reached = np.searchsorted(RECALLS, recall.ravel(), side='right').reshape(recall.shape)
    steps = np.diff(reached, axis=1, prepend=0)
    average = (best * steps).sum(axis=1) / len(RECALLS)
    return np.where(total > 0, average, np.nan)


def operating_points(classes: Sequence[ClassMatches]) -> list[dict[str, float | None]]:
    """Precision and recall at each threshold, all classes together, at an overlap of 0.5."""
    objects = sum(int(each.objects[:, 0].sum()) for each in classes)
    points: list[dict[str, float | None]] = []
    if not classes:
        return points
    scores = np.concatenate([each.scores for each in classes])
    found = np.concatenate([bit(each.found, 0, AT_50) for each in classes])
    counts = np.concatenate([~bit(each.ignored, 0, AT_50) for each in classes])
    for threshold in THRESHOLDS:
        kept = scores >= threshold
        right, counted = int(found[kept].sum()), int(counts[kept].sum())
        points.append(
            {
                'score': threshold,
                'precision': right / counted if counted else None,
                'recall': right / objects if objects else None,
            }
        )
    return points


def reliability(classes: Sequence[ClassMatches]) -> list[dict[str, float | int]]:
    """Precision and mean score by range of the score, all classes together, at an IoU of 0.5.

    Returns:
        One entry for each of ``SCORE_BINS`` equal ranges of the score that has detections: its
        number of detections, their mean ``score`` and their ``precision``.
    """
    if not classes:
        return []
    scores = np.concatenate([each.scores for each in classes])
    found = np.concatenate([bit(each.found, 0, AT_50) for each in classes])
    counts = np.concatenate([~bit(each.ignored, 0, AT_50) for each in classes])
    counts &= scores >= CALIBRATION_SCORE
    scores, found = scores[counts], found[counts]
    bins = np.minimum((scores * SCORE_BINS).astype(np.intp), SCORE_BINS - 1)
    return [
        {
            'detections': int((bins == i).sum()),
            'score': float(scores[bins == i].mean()),
            'precision': float(found[bins == i].mean()),
        }
        for i in np.unique(bins).tolist()
    ]


def calibration_error(bins: Sequence[Mapping[str, float | int]]) -> float | None:
    """Expected calibration error: mean |precision − score| over bins, weighted by detections.

    (Naeini et al., AAAI 2015; with a detection's precision in place of accuracy, as in Küppers
    et al., arXiv 2004.13546, who take detections of score ≥ 0.3 too.)
    """
    total = sum(each['detections'] for each in bins)
    if not total:
        return None
    gaps = (each['detections'] * abs(each['precision'] - each['score']) for each in bins)
    return float(sum(gaps) / total)
