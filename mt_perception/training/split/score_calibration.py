# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrates the remote detector's scores to those of the robot's detector.

Two detectors that were trained separately differ in confidence, but the robot has one score
threshold. An affine map of the logits (Platt scaling) changes neither the order of detections
nor average precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.execution.frame_run import Runner
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import measure
from mt_perception.training.export.torch_runner import TorchSplitRunner
from mt_perception.training.split.train_split import SplitNetwork
from mt_perception.types import DETECTION

_THRESHOLDS = (0.25, 0.65)
"""Range of score thresholds over which the precisions are matched."""

Point = Mapping[str, float | None]
"""An operating point of a detector: `score` (the threshold) and `precision`."""


def calibrate(split: SplitNetwork, pipeline: Pipeline, folder: Path, part: str) -> None:
    """Set the calibration of a split's remote detector, measured at the middle rate.

    Args:
        split: both parts, trained; the remote part is changed.
        pipeline: the robot's model.
        folder: data set with boxes of every class.
        part: its split that is used.
    """
    remote = split.remote
    remote.calibration.copy_(torch.tensor([1.0, 0.0]))
    rate = len(split.bottleneck.log_gain) // 2
    runners = (pipeline.runner, TorchSplitRunner(split.eval(), rate))
    local, other = (_points(pipeline, runner, folder, part) for runner in runners)
    remote.calibration.copy_(torch.tensor(same_precision(local, other)))


def same_precision(local: Sequence[Point], remote: Sequence[Point]) -> tuple[float, float]:
    """Fit slope and offset of the remote logits so that equal scores have equal precision.

    Args:
        local: operating points of the detector that is matched.
        remote: operating points of the detector that is changed.

    Returns:
        (1, 0) if there are fewer than two common precisions.
    """
    theirs = [(p['precision'], p['score']) for p in remote if p['precision'] is not None]
    # Precision is made monotonic in the score, so that it can be inverted.
    precision = np.maximum.accumulate([float(p or 0) for p, _ in theirs] or [0.0])
    pairs = []
    for point in local:
        score, wanted = point['score'], point['precision']
        if score is None or wanted is None or not _THRESHOLDS[0] <= score <= _THRESHOLDS[1]:
            continue
        if precision[0] < wanted < precision[-1]:
            found = float(np.interp(wanted, precision, [float(s or 0) for _, s in theirs]))
            pairs.append((_logit(found), _logit(score)))
    if len(pairs) < 2:
        return 1.0, 0.0
    x, y = np.array(pairs).T
    slope, offset = np.polyfit(x, y, 1)
    return (float(slope), float(offset)) if slope > 0 else (1.0, float((y - x).mean()))


def _points(pipeline: Pipeline, runner: Runner, folder: Path, part: str) -> Sequence[Point]:
    metric = DetectionMetric()
    measure(Pipeline(pipeline.manifest, runner), folder, part, None, {DETECTION: metric})
    points: Any = metric.evaluate().get('operating_points', [])
    return list(points)


def _logit(score: float) -> float:
    return float(np.log(score / (1 - score)))
