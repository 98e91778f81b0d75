# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Defaults and small rules of plans, frame runs and options, by hand."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.errors import OptionError, TaskError
from mt_perception.execution.frame_run import FrameRun, run_plan
from mt_perception.execution.options import Options
from mt_perception.execution.plan import (
    Plan,
    Stage,
    expected_share,
    releases,
    with_releases,
    with_tensors,
)
from mt_perception.execution.postprocess.task_result import task_result
from mt_perception.image.letterbox import Letterbox
from mt_perception.model.folder import read_manifest
from mt_perception.model.task_graph import IMAGE, Block
from mt_perception.types import Frame

TRUNK = Block('trunk', {'image': IMAGE}, ('s4', 's8'), macs=100, parameters=1)
NECK = Block('neck', {'x': 'trunk/s8'}, ('out',), macs=30, parameters=1)
BOXES = Block('boxes', {'x': 'trunk/s4', 'y': 'neck/out'}, ('boxes',), macs=7, parameters=1)
DEPTH = Block('depth', {'x': 'trunk/s8'}, ('map', 'spare'), macs=3, parameters=1)
FIRST = Stage((TRUNK, DEPTH), ('depth',), frozenset({'depth/map'}))
SECOND = Stage((TRUNK, NECK, BOXES), ('detection',), frozenset({'boxes/boxes'}))


def fields(value: object) -> dict[str, object]:
    return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}  # type: ignore[arg-type]


def test_defaults() -> None:
    assert fields(Stage(())) == {
        'blocks': (), 'tasks': (), 'results': frozenset(), 'gate': None, 'releases': (),
        'optional': frozenset(), 'early': False, 'early_exit': False,
    }  # fmt: skip
    assert fields(Plan()) == {
        'stages': (), 'path': 'full', 'reason': 'all requested tasks', 'scale': 1.0, 'reuse': {},
        'policy': None, 'not_due': (), 'change': None, 'age_ms': None, 'full_macs': 0,
        'latency_share': 0.0, 'first_share': 0.0, 'threshold': 0.0,
    }  # fmt: skip
    assert fields(Options()) == {
        'size': 0, 'score_threshold': 0.35, 'nms_iou': 0.65, 'max_detections': 100, 'classes': (),
        'max_depth_m': 80.0, 'depth_scale': 'none', 'camera_height_m': 0.0,
        'camera_pitch_deg': 0.0, 'camera_roll_deg': 0.0, 'depth_calibration': '',
        'depth_filter': False, 'tracking': False, 'track_min_score': 0.0, 'track_min_iou': 0.2,
        'track_max_age_ms': 1000.0, 'conditions': (),
    }  # fmt: skip
    run = fields(FrameRun(Plan(), Frame(np.zeros((2, 3, 3), np.uint8))))
    assert abs(run.pop('started_s') - time.monotonic()) < 60
    assert {name: run[name] for name in run if name not in ('plan', 'frame')} == {
        'tensors': {}, 'network_size': (0, 0), 'deadline_s': None, 'failures': {}, 'blocks': [],
        'block_ms': {}, 'loaded_bytes': 0, 'offload': None, 'results': {}, 'task_failures': {},
        'skipped': [], 'second_stage': [],
    }  # fmt: skip


def test_parts_of_a_plan() -> None:
    plan = Plan((FIRST, SECOND), reuse={'tilt': None, 'segmentation': None})
    assert plan.tasks == ('depth', 'detection', 'segmentation', 'tilt')
    assert plan.blocks == (TRUNK, DEPTH, NECK, BOXES)
    assert plan.block_names == ('trunk', 'depth', 'neck', 'boxes')
    assert SECOND.block_names == ('trunk', 'neck', 'boxes')
    assert plan.results == {'depth/map', 'boxes/boxes'}
    assert plan.read == {IMAGE, 'trunk/s4', 'trunk/s8', 'neck/out', 'depth/map', 'boxes/boxes'}
    assert plan.macs == 140


def test_time_between_closed_and_open_gates_is_linear_in_the_computation() -> None:
    plan = Plan((FIRST, SECOND), latency_share=0.9, first_share=0.5)
    names = ['trunk', 'depth']
    assert expected_share(plan, names) == pytest.approx(0.5)
    assert expected_share(plan, [*names, 'neck']) == pytest.approx(0.5 + 0.4 * 30 / 37)
    assert expected_share(plan, plan.block_names) == pytest.approx(0.9)
    assert expected_share(dataclasses.replace(plan, first_share=0.0), names) == 0.9
    assert expected_share(dataclasses.replace(plan, stages=(FIRST,)), names) == 0.9
    assert expected_share(Plan(latency_share=0.3, first_share=0.1), ()) == 0.3


def test_a_tensor_is_released_behind_its_last_reader() -> None:
    blocks = (TRUNK, NECK, DEPTH, BOXES)
    assert releases(blocks, {'boxes/boxes', 'depth/map'}) == (
        (IMAGE,), (), ('trunk/s8', 'depth/spare'), ('trunk/s4', 'neck/out'),
    )  # fmt: skip
    first, second = with_releases((FIRST, SECOND))
    # The second stage, which skips the trunk, still needs both of its outputs.
    assert first.releases == ((), ('depth/spare',))
    assert second.releases == ((IMAGE,), ('trunk/s8',), ('trunk/s4', 'neck/out'))
    kept = with_tensors(Plan((FIRST, SECOND)), frozenset({'neck/out', 'depth/spare', 'x/y'}))
    assert [stage.optional for stage in kept.stages] == [{'depth/spare'}, {'neck/out'}]
    assert [stage.releases for stage in kept.stages] == [
        ((), ()), ((IMAGE,), ('trunk/s8',), ('trunk/s4',)),
    ]  # fmt: skip
    assert 'neck/out' in kept.read


class Notes:
    """Remembers the stages it was given."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def run(self, stage: Stage, run: FrameRun) -> None:
        self.stages.append(stage)
        assert run.image.shape == (1, 4, 6, 3)


def test_a_frame_run() -> None:
    image = np.zeros((1, 4, 6, 3), np.uint8)
    runner = Notes()
    run = run_plan(runner, Plan((FIRST, SECOND)), image)
    assert runner.stages == [FIRST, SECOND]
    assert run.network_size == (4, 6)
    assert run.frame.image.shape == (4, 6, 3)
    assert run.received_s == run.started_s
    run.frame = Frame(image[0], received_s=5.0)
    assert run.received_s == 5
    run.tensors['depth/map'] = image
    run.failures['boxes/boxes'] = 'a defect'
    assert run.tensor('depth/map') is image
    with pytest.raises(TaskError, match=r'^a defect$'):
        run.tensor('boxes/boxes')
    with pytest.raises(TaskError, match="no block that computes 'neck/out' was run"):
        run.tensor('neck/out')
    assert run.has_results_of(FIRST)
    assert not run.has_results_of(SECOND)
    assert run.depth_scale is None

    def fails(error: Exception) -> object:
        raise error

    run.complete('a', lambda: fails(TaskError('no depth')))  # type: ignore[arg-type, return-value]
    run.complete('b', lambda: fails(KeyError('x')))  # type: ignore[arg-type, return-value]
    assert run.task_failures == {'a': 'no depth', 'b': "KeyError: 'x'"}
    assert not run.results


@pytest.mark.parametrize(
    ('wrong', 'says'),
    [
        ({'score_threshold': -0.01}, 'score_threshold must be from 0 to 1, found -0.01'),
        ({'score_threshold': 1.01}, 'score_threshold'),
        ({'nms_iou': 1.01}, 'nms_iou'),
        ({'track_min_score': 1.01}, 'track_min_score'),
        ({'track_min_iou': -0.01}, 'track_min_iou'),
        ({'track_max_age_ms': 0.0}, 'track_max_age_ms must be above 0'),
        ({'max_depth_m': 0.0}, 'max_depth_m must be above 0'),
        ({'max_detections': 0}, 'max_detections must be at least 1, found 0'),
        ({'depth_scale': 'sky'}, "none, ground, calibration, both, found 'sky'"),
        ({'depth_scale': 'both'}, 'depth_scale is both, but there is no calibration file'),
        ({'depth_scale': 'calibration'}, 'there is no calibration file'),
        ({'camera_height_m': -1e-9}, 'camera_height_m must be 0 or more'),
        ({'camera_height_m': 1.0, 'camera_pitch_deg': 91.0}, 'pitch 91'),
        ({'camera_height_m': 0.1, 'camera_roll_deg': 181.0}, 'roll 181'),
    ],
)
def test_limits_of_options(tmp_path: Path, wrong: dict[str, object], says: str) -> None:
    manifest = read_manifest(write_tiny_model(tmp_path))
    with pytest.raises(OptionError, match=says):
        Options(**wrong).checked(manifest)  # type: ignore[arg-type]


def test_options_at_their_limits(tmp_path: Path) -> None:
    manifest = read_manifest(write_tiny_model(tmp_path))
    for limit in (0.0, 1.0):
        options = Options(
            score_threshold=limit, nms_iou=limit, track_min_score=limit, track_min_iou=limit,
            max_detections=1, max_depth_m=1e-9, track_max_age_ms=math.inf,
            camera_pitch_deg=91.0, depth_scale='ground', depth_calibration='unused',
        )  # fmt: skip
        assert options.checked(manifest) is options
        assert options.calibration() is None


def test_results_of_each_kind_of_task(tmp_path: Path) -> None:
    """Confidence where the logits were computed; depth as the network has it, or as scaled."""
    manifest = read_manifest(write_tiny_model(tmp_path))
    box = Letterbox((8, 16), (8, 16), (8, 16))
    run = FrameRun(Plan(), Frame(np.zeros((8, 16, 3), np.uint8)))
    spec = manifest.tasks['depth']
    (name, tensor), = spec.outputs.items()  # fmt: skip
    run.tensors[tensor] = np.full((1, 2, 4), 2.0 if name == 'depth' else 0.2, np.float32)
    made = task_result(spec, run, box, Options())
    assert np.isfinite(made.depth).all()  # type: ignore[union-attr]
    assert task_result(spec, run, box, Options(), lambda found: found.camera) == (  # type: ignore[arg-type, return-value]
        made.intrinsics  # type: ignore[union-attr]
    )
    with pytest.raises(TaskError, match='was run'):
        task_result(manifest.tasks['detection'], run, box, Options())
