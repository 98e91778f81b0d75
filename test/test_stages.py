# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conditional tasks on real frames: left out where nothing calls for them, else as ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.errors import OptionError
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Stage
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import DETECTION, Frame, Result

IF_RED = 'segmentation if detection finds red'


def frame(bgr: tuple[int, int, int]) -> Frame:
    return Frame(np.full((64, 64, 3), bgr, np.uint8))


RED, BLUE, GREY = frame((0, 0, 220)), frame((220, 0, 0)), frame((90, 90, 90))


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline.load(write_tiny_model(tmp_path_factory.mktemp('tiny')))


def run(pipeline: Pipeline, image: Frame, *conditions: str, wanted: Any = None) -> Result:
    pipeline.options = Options(conditions=conditions)
    return pipeline.run(image, wanted)


def test_a_task_is_left_out_where_nothing_calls_for_it(pipeline: Pipeline) -> None:
    for image in (BLUE, GREY):
        result = run(pipeline, image, IF_RED)
        assert result.segmentation is None
        assert not result.failures
        assert result.depth is not None
        assert 'segmentation' not in (*result.execution.tasks, *result.execution.blocks)
        assert result.execution.skipped == ('segmentation',)
        everything = run(pipeline, image)
        assert result.execution.macs < everything.execution.macs
        assert not everything.execution.skipped


def test_where_it_runs_its_result_is_bit_equal(pipeline: Pipeline) -> None:
    found, expected = run(pipeline, RED, IF_RED), run(pipeline, RED)
    assert found.segmentation is not None
    assert expected.segmentation is not None
    assert found.segmentation.class_ids.tobytes() == expected.segmentation.class_ids.tobytes()
    assert set(found.execution.blocks) == set(expected.execution.blocks)
    assert not found.execution.skipped


def test_anything_will_do(pipeline: Pipeline) -> None:
    rule = 'depth if detection finds anything'
    assert run(pipeline, BLUE, rule).depth is not None
    assert run(pipeline, GREY, rule).depth is None


def test_only_detections_that_are_given_out_count(pipeline: Pipeline) -> None:
    pipeline.options = Options(conditions=(IF_RED,), score_threshold=0.99)
    result = pipeline.run(RED)
    assert result.detections is not None
    assert not len(result.detections)
    assert result.segmentation is None


def test_what_decides_runs_where_only_the_other_is_wanted(pipeline: Pipeline) -> None:
    result = run(pipeline, RED, IF_RED, wanted=('segmentation',))
    assert result.segmentation is not None
    assert result.execution.tasks == (DETECTION, 'segmentation')
    assert run(pipeline, BLUE, IF_RED, wanted=('segmentation',)).execution.tasks == (DETECTION,)


def test_conditions_on_other_tasks_change_nothing(pipeline: Pipeline) -> None:
    found = run(pipeline, BLUE, IF_RED, wanted=('depth',))
    assert found.execution.blocks == ('trunk', 'depth')


def test_a_decider_that_fails_rules_nothing_out(pipeline: Pipeline) -> None:
    class WithoutBoxes:
        def run(self, stage: Stage, run: FrameRun) -> None:
            pipeline.runner.run(stage, run)
            run.tensors.pop('detection/boxes', None)

    broken = Pipeline(pipeline.manifest, WithoutBoxes(), options=Options(conditions=(IF_RED,)))
    result = broken.run(BLUE)
    assert set(result.failures) == {DETECTION}
    assert result.segmentation is not None


def test_an_unexpected_error_of_a_decider_costs_its_task_only(pipeline: Pipeline) -> None:
    class MangledBoxes:
        def run(self, stage: Stage, run: FrameRun) -> None:
            pipeline.runner.run(stage, run)
            if 'detection/boxes' in run.tensors:
                # No check of a tensor expects this.
                run.tensors['detection/boxes'] = None  # type: ignore[assignment]

    broken = Pipeline(pipeline.manifest, MangledBoxes(), options=Options(conditions=(IF_RED,)))
    result = broken.run(BLUE)
    assert set(result.failures) == {DETECTION}
    assert 'AttributeError' in result.failures[DETECTION]
    assert result.segmentation is not None
    assert result.depth is not None


def test_a_reused_decider_decides(pipeline: Pipeline) -> None:
    """Detection waits for its rate or is reused: its last result decides while there is one."""
    fresh = Pipeline(pipeline.manifest, pipeline.runner, options=Options(conditions=(IF_RED,)))
    fresh.budget = Budget(max_stale_ms=1000.0)
    first = fresh.run(Frame(BLUE.image, 10**8))
    again = fresh.run(Frame(BLUE.image, 2 * 10**8))
    assert first.segmentation is None
    assert again.segmentation is None
    assert again.execution.skipped == ('segmentation',)
    assert DETECTION in again.execution.reuse.tasks


def test_without_a_decision_a_task_runs(pipeline: Pipeline) -> None:
    """Detection waits for its rate, and nothing is reused."""
    fresh = Pipeline(pipeline.manifest, pipeline.runner, options=Options(conditions=(IF_RED,)))
    fresh.budget = Budget(max_rate_hz={DETECTION: 1.0})
    assert fresh.run(Frame(BLUE.image, 10**8)).segmentation is None
    later = fresh.run(Frame(BLUE.image, 2 * 10**8))
    assert later.execution.not_due == (DETECTION,)
    assert later.segmentation is not None


def test_blocks_that_conditional_tasks_share_run_for_either(tmp_path: Path) -> None:
    """Two tasks behind one more block: it runs if one of them does."""
    conditions = ('segmentation if detection finds red', 'depth if detection finds blue')
    pipeline = Pipeline.load(write_tiny_model(tmp_path / 'tiny'))
    pipeline.options = Options(conditions=conditions)
    ran = {name: pipeline.run(image).execution for name, image in
           (('red', RED), ('blue', BLUE), ('grey', GREY))}  # fmt: skip
    assert ran['red'].tasks == (DETECTION, 'segmentation')
    assert ran['blue'].tasks == (DETECTION, 'depth')
    assert ran['grey'].tasks == (DETECTION,)
    assert set(ran['grey'].skipped) == {'segmentation', 'depth'}


def test_a_runner_that_serves_all_stages_at_once_runs_once(pipeline: Pipeline) -> None:
    """Such as a remote host: gates still decide which results are given out."""
    ran = []

    class AllAtOnce:
        def run(self, stage: Stage, run: FrameRun) -> None:
            ran.append(stage.tasks)
            image = run.image
            for one in run.plan.stages:
                run.tensors.setdefault('image', image)
                pipeline.runner.run(one, run)

    remote = Pipeline(pipeline.manifest, AllAtOnce(), options=Options(conditions=(IF_RED,)))
    assert remote.run(RED).segmentation is not None
    assert len(ran) == 1
    assert remote.run(BLUE).segmentation is None
    assert len(ran) == 2


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('walls if detection finds red', 'the model has the tasks'),
        ('depth if segmentation finds red', 'of which detection can decide'),
        ('depth if detection finds person', 'does not find person'),
    ],
)
def test_what_the_model_cannot_serve_is_refused(pipeline: Pipeline, text: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        pipeline.options = Options(conditions=(text,))
