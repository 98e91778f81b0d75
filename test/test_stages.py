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
from mt_perception.execution.options import Options
from mt_perception.execution.stages import SKIPPED, attempt
from mt_perception.image.letterbox import fit
from mt_perception.pipeline import Pipeline
from mt_perception.planning.plan import Plan, full_plan
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
        assert result.execution.facts[SKIPPED] == 'segmentation'
        everything = run(pipeline, image)
        assert result.execution.macs < everything.execution.macs
        assert SKIPPED not in everything.execution.facts


def test_where_it_runs_its_result_is_bit_equal(pipeline: Pipeline) -> None:
    found, expected = run(pipeline, RED, IF_RED), run(pipeline, RED)
    assert found.segmentation is not None
    assert expected.segmentation is not None
    assert found.segmentation.class_ids.tobytes() == expected.segmentation.class_ids.tobytes()
    assert set(found.execution.blocks) == set(expected.execution.blocks)
    assert SKIPPED not in found.execution.facts


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


def test_a_decider_that_fails_speaks_against_nothing(pipeline: Pipeline) -> None:
    plan = full_plan(pipeline.manifest.graph, pipeline.manifest.tasks)
    tried = attempt(plan, pipeline.manifest, fit((64, 64), 64, 8), Options(conditions=(IF_RED,)))
    assert tried.plan.guards['segmentation']({})
    assert tried.served().tasks == tried.plan.tasks


def test_without_its_decider_in_the_plan_a_task_runs(pipeline: Pipeline) -> None:
    """A budget may leave detection out, or give its last result again."""
    plan = full_plan(pipeline.manifest.graph, ('segmentation', 'depth'))
    tried = attempt(plan, pipeline.manifest, fit((64, 64), 64, 8), Options(conditions=(IF_RED,)))
    assert tried.plan is plan
    assert tried.served() is plan


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
    assert ran['grey'].facts[SKIPPED] in ('segmentation, depth', 'depth, segmentation')


def test_a_runner_that_knows_no_guards_serves_everything(pipeline: Pipeline) -> None:
    """Such as one on another machine: what it has done is not thrown away."""
    plan = full_plan(pipeline.manifest.graph, pipeline.manifest.tasks)
    tried = attempt(plan, pipeline.manifest, fit((64, 64), 64, 8), Options(conditions=(IF_RED,)))
    bare = Plan(tried.plan.tasks, tried.plan.blocks)
    assert pipeline.runner.run(bare, np.zeros((1, 64, 64, 3), np.uint8)).tensors
    assert set(tried.served().tasks) == set(plan.tasks)


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
