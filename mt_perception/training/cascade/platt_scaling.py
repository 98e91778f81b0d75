# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Platt scaling: makes equal scores of two detectors equally likely to be right.

The probability that a detection is right is fitted as sigmoid(slope · logit(score) + bias) for
both detectors, over all scores: average precision depends on low scores, too. (Platt,
Probabilistic outputs for support vector machines, 1999, equation 8.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.average_precision import gather
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.logistic_fit import fit_log_odds
from mt_perception.evaluation.metrics.matching import IOU_THRESHOLDS, bit
from mt_perception.types import Detections, TaskResult

_LEAST = 1e-4


def to_logits(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logits of scores."""
    clipped = np.clip(np.asarray(scores, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def score_matches(
    results: Sequence[TaskResult], samples: Sequence[Sample]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of detections, and the share of IoU thresholds at which each is right."""
    metric = DetectionMetric()
    for result, sample in zip(results, samples, strict=True):
        assert isinstance(result, Detections)
        if sample.truth is not None and sample.truth.objects is not None:
            metric.observe(result, sample.truth.objects)
    classes = [gather(parts, metric.frames) for parts in metric.matches.values()]
    counts = np.concatenate([~bit(each.ignored, 0, 0) for each in classes])
    right = np.concatenate(
        [
            np.mean([bit(each.found, 0, t) for t in range(len(IOU_THRESHOLDS))], axis=0)
            for each in classes
        ]
    )
    return np.concatenate([each.scores for each in classes])[counts], right[counts]


def same_log_odds(
    first: tuple[NDArray[np.float64], NDArray[np.float64]],
    second: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[float, float]:
    """Return slope and offset of the second detector's logits, so that scores agree.

    Args:
        first: scores of the detector that stays, and the probability that each is right.
        second: those of the detector to change.
    """
    (a, b), (c, d) = (
        fit_log_odds(to_logits(scores), np.ones(len(scores)), right)
        for scores, right in (first, second)
    )
    return (c / a, (d - b) / a) if a > 0 and c > 0 else (1.0, 0.0)
