# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a remote detector's scores mean what the robot's own scores mean.

Two detectors that were trained apart are not equally sure of themselves, and a threshold on their
scores is one parameter of the robot's. A straight line between the logits changes neither the
order of detections nor average precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.execution.executor import Runner
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.figures import measure
from mt_perception.training.export.torch_runner import TorchCutRunner
from mt_perception.training.split.train import CutNetwork
from mt_perception.types import DETECTION

_THRESHOLDS = (0.25, 0.65)
"""Between these scores a robot's threshold may lie."""

Point = Mapping[str, float | None]


def calibrate(cut: CutNetwork, pipeline: Pipeline, folder: Path, split: str) -> None:
    """Set the calibration of a cut's detector, at its middle rate.

    Args:
        cut: both halves, trained; its remote half is changed.
        pipeline: the robot's own model.
        folder: a data set with boxes of every class.
        split: the part of it that is used.
    """
    remote = cut.remote
    remote.calibration.copy_(torch.tensor([1.0, 0.0]))
    rate = len(cut.bottleneck.log_gain) // 2
    runners = (pipeline.runner, TorchCutRunner(cut.eval(), rate))
    local, other = (_points(pipeline, runner, folder, split) for runner in runners)
    remote.calibration.copy_(torch.tensor(same_precision(local, other)))


def same_precision(local: Sequence[Point], remote: Sequence[Point]) -> tuple[float, float]:
    """Give slope and offset of the remote logits at which equal scores are equally precise.

    Args:
        local: scores and the precision of what is above them, of the detector that is matched.
        remote: likewise, of the one that is changed.

    Returns:
        (1, 0) where there is too little to go by.
    """
    theirs = [(p['precision'], p['score']) for p in remote if p['precision'] is not None]
    # Precision rises with the score, but for chance.
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


def _points(pipeline: Pipeline, runner: Runner, folder: Path, split: str) -> Sequence[Point]:
    metric = DetectionMetric()
    measure(Pipeline(pipeline.manifest, runner), folder, split, None, {DETECTION: metric})
    points: Any = metric.evaluate().get('operating_points', [])
    return list(points)


def _logit(score: float) -> float:
    return float(np.log(score / (1 - score)))
