# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A remote detector's scores come to mean what the robot's mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Stage
from mt_perception.network.multitask import build
from mt_perception.pipeline import Pipeline
from mt_perception.training.split.score_calibration import Point, calibrate, same_precision
from mt_perception.training.split.split_recipe import read_split_recipe
from mt_perception.training.split.train_split import SplitNetwork

ROOT = Path(__file__).resolve().parent.parent
SCORES = [round(0.05 * i, 2) for i in range(1, 20)]


def points(slope: float, offset: float) -> list[Point]:
    """A detector whose logits are (true logit - offset) / slope."""
    found: list[Point] = []
    for score in SCORES:
        logit = slope * np.log(score / (1 - score)) + offset
        found.append({'score': score, 'precision': 0.2 + 0.8 / (1 + np.exp(-logit))})
    return found


@pytest.mark.parametrize(('slope', 'offset'), [(1.0, 0.0), (1.3, 0.4), (0.7, -0.5)])
def test_the_line_between_two_detectors_is_found(slope: float, offset: float) -> None:
    found = same_precision(points(1.0, 0.0), points(slope, offset))
    np.testing.assert_allclose(found, (slope, offset), atol=0.08)


def test_without_anything_to_go_by_scores_stay() -> None:
    nothing: list[Point] = [{'score': 0.5, 'precision': None}]
    assert same_precision(nothing, points(1.0, 0.0)) == (1.0, 0.0)
    assert same_precision(points(1.0, 0.0), nothing) == (1.0, 0.0)
    assert same_precision([], []) == (1.0, 0.0)


def test_a_cut_is_calibrated_on_real_images(
    data: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs with made-up detections: what is set is the line between them."""
    cut = SplitNetwork(build('cspnano'), read_split_recipe(ROOT / 'recipes' / 'offload.yaml'))
    pipeline = Pipeline.load(model_path)

    class Sure:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, stage: Stage, run: FrameRun) -> None:
            pipeline_runner.run(stage, run)
            scores = run.tensors['detection/scores']
            logits = np.log(scores / (1 - scores + 1e-6) + 1e-9)
            sure = 1 / (1 + np.exp(-(logits * 0.5 - 1))).astype(np.float32)
            run.tensors['detection/scores'] = sure

    pipeline_runner = pipeline.runner
    monkeypatch.setattr('mt_perception.training.split.score_calibration.TorchSplitRunner', Sure)
    calibrate(cut, pipeline, data / 'coco', 'val2017')
    slope, offset = cut.remote.calibration.tolist()
    assert slope == pytest.approx(2.0, abs=0.3)
    assert offset == pytest.approx(2.0, abs=0.4)
