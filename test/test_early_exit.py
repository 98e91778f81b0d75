# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Early exits: the first stage serves a task, or its gate opens the blocks after it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_early import FIRST_MACS, SECOND_MACS, mean_gate, write_tiny_early
from tiny_model import DEPTH_OF_WHITE

from mt_perception.cli.main import main
from mt_perception.errors import ModelError
from mt_perception.execution.options import Options
from mt_perception.execution.plan import expected_share
from mt_perception.model.folder import read_manifest, read_manifest_data
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.planning.frame_state import FrameState
from mt_perception.planning.gated_plan import gated_plan
from mt_perception.reports import Execution
from mt_perception.types import Frame, Intrinsics, Result

EVERYTHING = FIRST_MACS + SECOND_MACS


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_early(tmp_path_factory.mktemp('early'))


def picture(blue: int, green: int = 0, red: int = 0, stamp_ns: int = 0) -> Frame:
    image = np.full((64, 64, 3), (blue, green, red), np.uint8)
    return Frame(image, stamp_ns=stamp_ns, intrinsics=Intrinsics(1, 1, 32, 32, 64, 64))


def served_by(result: Result) -> dict[str, int]:
    """The stage that served detection and depth, by what the tiny model returns."""
    assert result.detections is not None
    assert result.depth is not None
    brightness = float(np.nanmedian(result.depth.depth)) / DEPTH_OF_WHITE
    return {'score': round(float(result.detections.scores[0]), 3), 'depth': round(brightness, 3)}


def test_the_full_path_and_the_first_stage(folder: Path) -> None:
    pipeline = Pipeline.load(folder)
    full = pipeline.run(picture(255))
    assert served_by(full) == {'score': 0.5, 'depth': 0.667}
    assert full.execution.macs == EVERYTHING
    assert full.execution.second_stage is None
    pipeline.budget = Budget(path='first')
    first = pipeline.run(picture(255))
    assert served_by(first) == {'score': 1.0, 'depth': 0.333}
    assert first.execution.macs == FIRST_MACS
    assert 'second' not in first.execution.blocks


def test_each_gate_opens_where_the_gain_is_worth_its_cost(folder: Path) -> None:
    # Blue has saturation 1, and depth 0.0067: at this budget detection alone is worth it.
    pipeline = Pipeline.load(folder, budget=Budget(compute=0.9))
    result = pipeline.run(picture(255))
    assert served_by(result) == {'score': 0.5, 'depth': 0.333}
    assert result.execution.second_stage == ('detection',)
    assert result.execution.path == 'gated'
    assert result.execution.macs == EVERYTHING - 100
    assert result.execution.blocks[-3:] == ('second', 'late_detection', 'segmentation')
    assert result.execution.values()['policy.second_stage'] == 'detection'
    assert result.execution.reason == 'gates within budget 0.9'
    grey = pipeline.run(picture(200, 200, 200))
    assert grey.execution.second_stage == ()
    assert grey.execution.macs == FIRST_MACS
    assert not grey.failures


def test_blocks_that_another_task_opened_cost_nothing(folder: Path) -> None:
    def plan_with(threshold: float) -> Result:
        pipeline = Pipeline.load(folder, budget=Budget(compute=0.9))
        state = FrameState()
        planner = pipeline._planner
        made = planner.plan

        def plan(*given: Any) -> Any:
            return replace(made(*given), threshold=threshold)

        planner.plan = plan  # type: ignore[method-assign]
        return pipeline.run(picture(255), state=state)

    # Depth gains 0.0067. Alone it would cost 0.3 of everything, after detection 0.1.
    assert plan_with(0.05).execution.second_stage == ('detection', 'depth')
    assert plan_with(0.08).execution.second_stage == ('detection',)
    assert plan_with(4.0).execution.second_stage == ()


def test_a_gated_plan_takes_all_of_the_time_or_that_of_its_first_stage(folder: Path) -> None:
    pipeline, state, plans = Pipeline.load(folder), FrameState(), []
    planner = pipeline._planner
    made = planner.plan

    def plan(*given: Any) -> Any:
        plans.append(made(*given))
        return plans[-1]

    planner.plan = plan  # type: ignore[method-assign]
    for budget in (Budget(compute=0.9), Budget(path='first'), Budget()):
        pipeline.budget = budget
        pipeline.run(picture(255), state=state)
    gated, first, full = plans
    assert (gated.path, gated.latency_share, gated.first_share) == (
        'gated', 1.0, pytest.approx(first.latency_share),
    )  # fmt: skip
    assert 0 < first.latency_share < 1
    assert (first.threshold, first.first_share) == (full.threshold, full.first_share)
    assert gated.full_macs == full.full_macs == EVERYTHING
    pipeline.budget = Budget(compute=0.9)
    pipeline.run(picture(255), state=state)
    for spent, threshold in ((0.0, -np.inf), (9.0, np.inf)):
        for _ in range(9):
            state.spending.add(spent, 1.0)
        pipeline.run(picture(255), state=state)
        assert plans[-1].threshold == threshold, 'beyond three frames of credit or debt'


def test_only_wanted_tasks(folder: Path) -> None:
    pipeline = Pipeline.load(folder, budget=Budget(compute=0.9))
    result = pipeline.run(picture(255), ['depth', 'segmentation'])
    assert result.execution.second_stage == ()
    assert {'depth', 'segmentation'} == set(result.execution.tasks)
    assert 'gate_detection' not in result.execution.blocks
    alone = pipeline.run(picture(255), ['segmentation'])
    assert alone.execution.second_stage is None
    assert alone.execution.blocks == ('trunk', 'segmentation')


def test_budgets_are_realised(folder: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [picture(*map(int, rng.integers(0, 256, 3))) for _ in range(200)]
    pipeline = Pipeline.load(folder)
    for budget in (0.3, 0.4, 0.6, 0.7, 0.8, 0.9):
        pipeline.budget = Budget(compute=budget)
        state = FrameState()
        for frame in frames:
            result = pipeline.run(frame, state=state)
        assert result.execution.budget is not None
        assert result.execution.budget.realised == pytest.approx(budget, abs=0.05)


def test_two_runs_decide_alike(folder: Path) -> None:
    def stages() -> list[Any]:
        rng = np.random.default_rng(1)
        pipeline = Pipeline.load(folder, budget=Budget(compute=0.75))
        frames = [picture(*map(int, rng.integers(0, 256, 3))) for _ in range(30)]
        return [pipeline.run(frame).execution.second_stage for frame in frames]

    first = stages()
    assert first == stages()
    assert len(set(first)) > 1


def test_a_conditional_task_has_no_gate(folder: Path) -> None:
    options = Options(conditions=('depth if detection finds red',))
    pipeline = Pipeline.load(folder, options, budget=Budget(compute=0.9))
    blue = pipeline.run(picture(255))
    assert blue.execution.skipped == ('depth',)
    assert blue.execution.second_stage == ('detection',)
    red = pipeline.run(picture(0, 0, 255))
    assert red.execution.skipped == ()
    assert served_by(red)['depth'] == 0.667
    # On the path of the first stage a condition that is false skips, too.
    pipeline.budget = Budget(path='first')
    assert pipeline.run(picture(255)).execution.skipped == ('depth',)
    assert served_by(pipeline.run(picture(0, 0, 255)))['depth'] == 0.333


def test_a_result_of_either_stage_is_reused(folder: Path) -> None:
    pipeline = Pipeline.load(folder, budget=Budget(compute=0.9, max_stale_ms=500))
    first = pipeline.run(picture(255, stamp_ns=10**9))
    again = pipeline.run(picture(255, stamp_ns=10**9 + 10**8))
    assert first.execution.second_stage == ('detection',)
    assert again.execution.path == 'reuse'
    assert served_by(again) == served_by(first)


def test_a_full_path_that_is_too_slow_closes_the_gates(folder: Path) -> None:
    pipeline = Pipeline.load(folder, budget=Budget(compute=0.9, latency_ms=1000))
    state = FrameState()
    pipeline.run(picture(255), state=state)
    assert state.controller is not None
    for _ in range(8):
        state.controller.observe(time.perf_counter(), 1400.0, 0.0, 1.0)
    pipeline.run(picture(255), state=state)
    result = pipeline.run(picture(255), state=state)
    assert result.execution.path == 'first'


def test_the_expected_share_of_the_time(folder: Path) -> None:
    plan = gated_plan(read_manifest(folder), ['detection', 'depth', 'segmentation'])
    plan = replace(plan, latency_share=1.0, first_share=0.4)
    names = [block.name for block in plan.blocks]
    assert expected_share(plan, names) == pytest.approx(1.0)
    early = [n for n in names if not n.startswith(('late', 'second'))]
    first = [block.name for block in plan.stages[0].blocks]
    assert expected_share(plan, first) == pytest.approx(0.4)
    assert 0.4 < expected_share(plan, [*early, 'second', 'late_detection']) < 1.0
    assert expected_share(replace(plan, first_share=0.0), first) == 1.0


def test_a_gate_that_fails_stays_closed(tmp_path: Path) -> None:
    def infinite(data: dict[str, Any]) -> None:
        content = mean_gate('gate_detection', reciprocal=True).SerializeToString()
        (tmp_path / 'gate_detection.onnx').write_bytes(content)
        gate = data['early_exit']['gates']['detection']
        gate['sha256'] = hashlib.sha256(content).hexdigest()

    pipeline = Pipeline.load(write_tiny_early(tmp_path, infinite), budget=Budget(compute=0.9))
    # Grey has saturation 0, and 1 / 0 is infinite.
    result = pipeline.run(picture(100, 100, 100))
    assert result.execution.second_stage == ()
    assert result.detections is not None


def test_the_report_survives_a_record() -> None:
    plain = Execution(('depth',), ('trunk',), 'gated', '', 1, (1, 1), {})
    for stages in (None, (), ('detection', 'depth')):
        made = replace(plain, second_stage=stages)
        assert plain.with_values(made.values()).second_stage == stages


def test_inspect_lists_the_gates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(folder)]) == 0
    assert 'gate_detection' in capsys.readouterr().out


def wrong(path: tuple[str, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (('tasks', 'depth', 'early'), {'depth': 'depth/depth_per_focal'}, 'depth.early must name'),
        (
            ('tasks', 'depth', 'early'),
            {'depth_per_focal': 'detection/scores'},
            "block 'detection' is not part of the full path",
        ),
        (('early_exit', 'thresholds'), {0.6: 1.0, 0.8: 2.0}, 'decreasing numbers'),
        (('early_exit', 'thresholds'), {0.6: float('inf')}, 'not finite'),
        (('early_exit', 'thresholds'), {}, 'thresholds is out of range'),
        (('early_exit', 'gates', 'segmentation'), {}, 'not a task with early outputs'),
        (
            ('early_exit', 'gates', 'depth', 'inputs'),
            {'values': 'late_depth/depth_per_focal'},
            "does not compute 'late_depth/depth_per_focal'",
        ),
        (('early_exit', 'unknown'), 1, 'unknown'),
        (('early_exit', 'gates', 'depth'), None, 'depth must be a mapping'),
        (('paths',), [], 'lacks the path of closed gates'),
    ],
)
def test_a_wrong_manifest_is_refused(
    tmp_path: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    write_tiny_early(tmp_path, wrong(path, value))
    with pytest.raises(ModelError, match=message):
        read_manifest(tmp_path)


def test_every_task_with_early_outputs_needs_a_gate(tmp_path: Path) -> None:
    write_tiny_early(tmp_path, lambda data: data['early_exit']['gates'].pop('depth'))
    with pytest.raises(ModelError, match="task 'depth' has early outputs and no gate"):
        read_manifest(tmp_path)


def test_an_early_path_needs_early_outputs(tmp_path: Path) -> None:
    def edit(data: dict[str, Any]) -> None:
        del data['early_exit']
        for task in ('detection', 'depth'):
            del data['tasks'][task]['early']

    write_tiny_early(tmp_path, edit)
    with pytest.raises(ModelError, match='no task has early outputs'):
        read_manifest(tmp_path)


def test_the_json_schema_accepts_early_exits(folder: Path) -> None:
    jsonschema = pytest.importorskip('jsonschema', reason='pip install "mt_perception[test]"')
    schema = Path(__file__).parent.parent / 'docs' / 'manifest.schema.json'
    check = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
    assert [error.message for error in check.iter_errors(read_manifest_data(folder))] == []
