# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pipeline: a frame in, results in the frame's own pixels out, whatever the frame."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import (
    COLOURS,
    DEPTH_OF_WHITE,
    SEGMENTS,
    broken_head,
    depth_head,
    fragile_head,
    nan_on_black_head,
    with_confidence,
    write_tiny_model,
)

from mt_perception.errors import ImageError, ModelError, OptionError
from mt_perception.execution.frame_run import FrameRun, Runner
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Stage
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.planning.frame_state import FrameState
from mt_perception.planning.path_plan import full_plan
from mt_perception.types import UNLABELLED, Detections, Frame, Intrinsics

RED = (0, 0, 255)


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline.load(write_tiny_model(tmp_path_factory.mktemp('tiny')))


def scene(height: int = 480, width: int = 640) -> np.ndarray:
    """Black, with a red square of a quarter of the width in the middle."""
    image = np.zeros((height, width, 3), np.uint8)
    y, x, half = height // 2, width // 2, max(1, width // 8)
    image[max(0, y - half) : y + half, max(0, x - half) : x + half] = RED
    return image


def test_all_three_in_image_pixels(pipeline: Pipeline) -> None:
    camera = Intrinsics(600, 600, 320, 240, 640, 480)
    frame = Frame(scene(), stamp_ns=123, frame_id='camera_optical', intrinsics=camera)
    result = pipeline.run(frame)
    assert (result.stamp_ns, result.frame_id, result.failures) == (123, 'camera_optical', {})

    assert result.detections is not None
    x0, y0, x1, y1 = result.detections.boxes[0]
    assert 240 <= (x0 + x1) / 2 <= 400
    assert 160 <= (y0 + y1) / 2 <= 320
    assert result.detections.labels[result.detections.class_ids[0]] == 'red'
    assert result.detections.scores[0] == 1

    assert result.segmentation is not None
    ids = result.segmentation.class_ids
    assert ids.shape == (480, 640)
    assert (ids[170:310, 250:390] == SEGMENTS.index('red')).all()
    assert (ids[:150] == SEGMENTS.index('grey')).all()

    assert result.depth is not None
    depth = result.depth.depth
    assert depth.shape == (480, 640)
    # Red is a third of white; 60 network pixels of focal length.
    np.testing.assert_allclose(depth[200:280, 280:360], DEPTH_OF_WHITE / 3 * 60, rtol=1e-5)
    assert np.isnan(depth[:100]).all()
    assert result.depth.intrinsics == camera


def test_what_was_run_and_what_it_cost(pipeline: Pipeline) -> None:
    run = pipeline.run(Frame(scene())).execution
    assert run.tasks == ('detection', 'segmentation', 'depth')
    assert run.blocks == ('trunk', 'detection', 'segmentation', 'depth')
    assert run.network_size == (48, 64)
    whole = full_plan(pipeline.manifest.graph, run.tasks).macs
    assert run.macs == round(whole * 48 / 64)
    assert list(run.stage_ms) == ['plan', 'preprocess', 'inference', 'postprocess', 'total']
    assert list(run.block_ms) == list(run.blocks)
    assert all(ms > 0 for ms in (*run.stage_ms.values(), *run.block_ms.values()))
    parts = sum(ms for stage, ms in run.stage_ms.items() if stage != 'total')
    assert parts <= run.stage_ms['total']
    assert sum(run.block_ms.values()) <= run.stage_ms['inference']


@pytest.mark.parametrize('wanted', [['depth'], ['segmentation', 'detection'], []])
def test_only_what_is_wanted_runs(pipeline: Pipeline, wanted: list[str]) -> None:
    result = pipeline.run(Frame(scene()), wanted)
    made = {
        'detection': result.detections,
        'segmentation': result.segmentation,
        'depth': result.depth,
    }
    assert {task for task, value in made.items() if value is not None} == set(wanted)
    heads = set(result.execution.blocks) - {'trunk'}
    assert heads == set(wanted)
    assert ('trunk' in result.execution.blocks) == bool(wanted)
    assert result.failures == {}


def test_a_task_that_the_model_lacks(pipeline: Pipeline) -> None:
    with pytest.raises(ModelError, match='normals'):
        pipeline.run(Frame(scene()), ['normals'])


@pytest.mark.parametrize('level', [0, 255])
def test_black_and_white_have_empty_detections(pipeline: Pipeline, level: int) -> None:
    result = pipeline.run(Frame(np.full((120, 160, 3), level, np.uint8)))
    assert result.detections is not None
    assert len(result.detections) == 0
    assert result.failures == {}


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(2, 400), st.integers(0, 2**32 - 1))
def test_any_size_gives_results_of_that_size(
    pipeline: Pipeline, height: int, width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    thorough = Pipeline(pipeline.manifest, pipeline.runner, options=Options(score_threshold=0))
    result = thorough.run(Frame(image))
    assert result.failures == {}
    assert result.detections is not None
    assert (result.detections.boxes >= 0).all()
    assert (result.detections.boxes <= [width, height, width, height]).all()
    assert result.segmentation is not None
    assert result.segmentation.class_ids.shape == (height, width)
    assert set(np.unique(result.segmentation.class_ids)) <= {0, 1, 2, 3, UNLABELLED}
    assert result.depth is not None
    assert result.depth.depth.shape == (height, width)
    assert not np.isinf(result.depth.depth).any()


@pytest.mark.parametrize(
    'size', [(1, 2), (1, 5000), (5000, 1), (3, 3), (2160, 3840), (4320, 7680)]
)
def test_extreme_sizes_and_a_size_that_changes(pipeline: Pipeline, size: tuple[int, int]) -> None:
    for shape in (size, (48, 64)):
        result = pipeline.run(Frame(scene(*shape)))
        assert result.failures == {}
        assert result.depth is not None
        assert result.depth.depth.shape == shape


@pytest.mark.parametrize(
    ('image', 'reason'),
    [
        (np.zeros((0, 5, 3), np.uint8), 'zero_size'),
        (np.zeros((5, 0, 3), np.uint8), 'zero_size'),
        (np.zeros((1, 1, 3), np.uint8), 'too_small'),
        (np.zeros((5, 5), np.uint8), 'wrong_type'),
        (np.zeros((5, 5, 4), np.uint8), 'wrong_type'),
        (np.zeros((5, 5, 3), np.float32), 'wrong_type'),
        (np.broadcast_to(np.zeros(3, np.uint8), (20000, 5, 3)), 'too_large'),
    ],
)
def test_what_is_no_image(pipeline: Pipeline, image: np.ndarray, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        pipeline.run(Frame(image))
    assert caught.value.reason == reason
    assert pipeline.run(Frame(scene())).failures == {}


def test_the_image_is_not_touched_and_the_results_do_not_share_it(pipeline: Pipeline) -> None:
    for image in (scene(), scene(48, 64)):  # Also at the network's own size.
        before = image.copy()
        image.flags.writeable = False
        result = pipeline.run(Frame(image))
        np.testing.assert_array_equal(image, before)
        assert result.segmentation is not None
        assert not np.shares_memory(result.segmentation.class_ids, image)


def test_two_runs_are_equal(pipeline: Pipeline) -> None:
    image = np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8)
    one, two = pipeline.run(Frame(image)), pipeline.run(Frame(image))
    assert one.detections is not None
    assert two.detections is not None
    np.testing.assert_array_equal(one.detections.boxes, two.detections.boxes)
    np.testing.assert_array_equal(one.depth.depth, two.depth.depth)
    np.testing.assert_array_equal(one.segmentation.class_ids, two.segmentation.class_ids)


def test_options_change_between_frames(tmp_path: Path) -> None:
    pipeline = Pipeline.load(write_tiny_model(tmp_path), Options(size=128))
    assert pipeline.run(Frame(scene())).execution.network_size == (96, 128)
    pipeline.options = replace(pipeline.options, size=32, classes=('green',))
    result = pipeline.run(Frame(scene()))
    assert result.execution.network_size == (24, 32)
    assert result.detections is not None
    assert len(result.detections) == 0
    before = pipeline.options
    with pytest.raises(OptionError, match='size'):
        pipeline.options = Options(size=7)
    assert pipeline.options is before


def test_options_that_change_during_a_frame_wait_for_the_next(pipeline: Pipeline) -> None:
    class Meddler:
        def run(self, stage: Stage, run: FrameRun) -> None:
            meddled.options = Options(classes=('green',))
            pipeline.runner.run(stage, run)

    meddled = Pipeline(pipeline.manifest, Meddler())
    this, following = meddled.run(Frame(scene())), meddled.run(Frame(scene()))
    assert this.detections is not None
    assert following.detections is not None
    assert len(this.detections) > 0
    assert len(following.detections) == 0


def test_intrinsics_of_another_image_cost_depth_only(pipeline: Pipeline) -> None:
    other = Intrinsics(600, 600, 320, 240, 1280, 720)
    result = pipeline.run(Frame(scene(), intrinsics=other))
    assert '1280x720' in result.failures['depth']
    assert result.depth is None
    assert result.detections is not None


def test_a_head_that_raises_on_a_frame(tmp_path: Path) -> None:
    pipeline = Pipeline.load(write_tiny_model(tmp_path, replace={'depth': fragile_head()}))
    black = pipeline.run(Frame(np.zeros((48, 64, 3), np.uint8)))
    assert set(black.failures) == {'depth'}
    assert "block 'depth' failed" in black.failures['depth']
    assert black.depth is None
    assert black.detections is not None
    assert black.segmentation is not None
    assert pipeline.run(Frame(scene())).failures == {}


def test_a_head_that_says_nan(tmp_path: Path) -> None:
    pipeline = Pipeline.load(write_tiny_model(tmp_path, replace={'depth': nan_on_black_head()}))
    half = np.zeros((48, 64, 3), np.uint8)
    half[:, 32:] = 255
    result = pipeline.run(Frame(half))
    assert result.failures == {}
    assert result.depth is not None
    assert np.isnan(result.depth.depth[:, :24]).all()
    assert np.isfinite(result.depth.depth[:, 40:]).all()
    black = pipeline.run(Frame(np.zeros((48, 64, 3), np.uint8)))
    assert black.failures == {'depth': 'the network gave no finite depth'}


def test_a_model_that_never_does_what_it_says_is_refused(tmp_path: Path) -> None:
    for name, head in {
        'raises': broken_head(),
        'nan': depth_head(float('nan')),
        'infinite': depth_head(float('inf')),
    }.items():
        with pytest.raises(ModelError, match='depth'):
            Pipeline.load(write_tiny_model(tmp_path / name, replace={'depth': head}))
    for task in ('detection', 'segmentation'):
        folder = write_tiny_model(
            tmp_path / task, edit=lambda m, t=task: m['tasks'][t].update(labels=['blue'])
        )
        with pytest.raises(ModelError, match=f'{task}: .*labels'):
            Pipeline.load(folder)


def test_an_absent_provider_is_a_warning(tmp_path: Path) -> None:
    pipeline = Pipeline.load(write_tiny_model(tmp_path), providers=['CoreML', 'cpu'])
    assert pipeline.providers == ('CPUExecutionProvider',)
    assert 'CoreMLExecutionProvider' in pipeline.warnings[0]
    assert pipeline.run(Frame(scene())).failures == {}


class Faulty:
    """Runs the network, and then gives one task a tensor that no check foresees."""

    def __init__(self, inner: Runner, tensor: str, value: object) -> None:
        self.inner, self.tensor, self.value = inner, tensor, value

    def run(self, stage: Stage, run: FrameRun) -> None:
        self.inner.run(stage, run)
        run.tensors[self.tensor] = self.value


@pytest.mark.parametrize(
    ('task', 'tensor'),
    [
        ('detection', 'detection/boxes'),
        ('depth', 'depth/depth_per_focal'),
        ('segmentation', 'segmentation/class_ids'),
    ],
)
@pytest.mark.parametrize('value', [None, 'text', np.array(['a', 'b']), [[1], [2, 3]]])
def test_any_error_in_one_task_costs_that_task_alone(
    pipeline: Pipeline, task: str, tensor: str, value: object
) -> None:
    faulty = Pipeline(pipeline.manifest, Faulty(pipeline.runner, tensor, value))
    result = faulty.run(Frame(scene(), stamp_ns=3))
    assert set(result.failures) == {task}
    assert result.failures[task]
    made = {
        'detection': result.detections,
        'depth': result.depth,
        'segmentation': result.segmentation,
    }
    assert {name for name, value in made.items() if value is None} == {task}


def test_an_image_is_enough(pipeline: Pipeline) -> None:
    image = scene()
    np.testing.assert_array_equal(
        pipeline.run(image).detections.boxes, pipeline.run(Frame(image)).detections.boxes
    )
    drawn = pipeline.run(image).draw()
    assert drawn.shape == image.shape
    assert not np.array_equal(drawn, image)


def test_a_string_is_no_list_of_tasks(pipeline: Pipeline) -> None:
    with pytest.raises(ModelError, match="list of task names, found the string 'detection'"):
        pipeline.run(scene(), 'detection')


def test_several_cameras_remember_apart(pipeline: Pipeline) -> None:
    """Each camera reuses its own last result, whatever another one saw in between."""
    shared = Pipeline(pipeline.manifest, pipeline.runner)
    shared.budget = Budget(max_stale_ms=1000)
    cameras = [(FrameState(), scene()), (FrameState(), np.full((480, 640, 3), 90, np.uint8))]
    for stamp_ns in (10**8, 2 * 10**8):
        results = [shared.run(Frame(i, stamp_ns), state=s) for s, i in cameras]
    assert [r.execution.path for r in results] == ['reuse', 'reuse']
    assert len(results[0].detections) > 0
    assert len(results[1].detections) == 0


def test_threads_with_one_camera_wait_for_each_other(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: set[FrameState] = set()
    together = []
    commit = FrameState.commit

    def slow_commit(state: FrameState, *given: object) -> None:
        together.append(state in states)
        states.add(state)
        time.sleep(0.02)
        commit(state, *given)
        states.remove(state)

    monkeypatch.setattr(FrameState, 'commit', slow_commit)
    frame = Frame(scene(48, 64), stamp_ns=1)
    with ThreadPoolExecutor(4) as threads:
        for result in threads.map(lambda _: pipeline.run(frame), range(8)):
            assert not result.failures
    assert together == [False] * 8


def test_publishing_time_is_kept_free(pipeline: Pipeline) -> None:
    """A deadline holds for the last output; the runner gets the remaining time."""
    seen = []

    class Watching:
        def run(self, stage: Stage, run: FrameRun) -> None:
            seen.append(run.deadline_s)
            pipeline.runner.run(stage, run)

    watched = Pipeline(pipeline.manifest, Watching())
    watched.run(scene(), deadline_s=1e6)
    assert seen[-1] == 1e6
    time.sleep(0.02)
    watched.record_published()
    watched.run(scene(), deadline_s=1e6)
    assert seen[-1] <= 1e6 - 0.02
    watched.run(scene())
    assert seen[-1] is None


def test_a_fourth_task_needs_no_other_runtime(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    manifest = yaml.safe_load((folder / 'manifest.yaml').read_text())
    manifest['tasks']['doors'] = {
        **manifest['tasks']['detection'],
        'labels': [f'{colour} door' for colour in COLOURS],
    }
    (folder / 'manifest.yaml').write_text(yaml.safe_dump(manifest, sort_keys=False))
    pipeline = Pipeline.load(folder)

    result = pipeline.run(Frame(scene()), ['doors'])
    assert result.detections is None
    doors = result.extra['doors']
    assert isinstance(doors, Detections)
    assert doors.labels[doors.class_ids[0]] == 'red door'
    assert result.execution.blocks == ('trunk', 'detection')

    pipeline.options = Options(classes=('red door',))
    result = pipeline.run(Frame(scene()))
    assert result.detections is not None
    assert len(result.detections) == 0
    assert set(result.extra) == {'doors'}


def test_confidence_where_it_is_requested_and_the_model_has_one(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    without = pipeline.run(scene(), confidence=True).segmentation
    assert without is not None
    assert without.confidence is None
    able = Pipeline.load(with_confidence(tmp_path))
    plain = able.run(scene(), ['segmentation'])
    assert plain.execution.blocks == ('trunk', 'segmentation')
    assert plain.segmentation is not None
    assert plain.segmentation.confidence is None
    result = able.run(scene(), ['segmentation', 'depth'], confidence=True)
    assert set(result.execution.blocks) == {'trunk', 'segmentation', 'depth'}
    assert result.segmentation is not None
    found = result.segmentation.confidence
    assert found is not None
    assert (found.shape, found.dtype) == ((480, 640), np.uint8)
    # Logits: red 2/3 against -1/3, -1/3 and 0.15; black 0.15 against three times 0.
    red = np.exp(2 / 3) / (np.exp(2 / 3) + 2 * np.exp(-1 / 3) + np.exp(0.15))
    grey = np.exp(0.15) / (np.exp(0.15) + 3)
    assert found[240, 320] == pytest.approx(255 * red, abs=1)
    assert found[10, 10] == pytest.approx(255 * grey, abs=1)


def test_a_reused_confidence_moves_with_its_classes(tmp_path: Path) -> None:
    budget = Budget(compute=0.3, max_stale_ms=1000)
    able = Pipeline.load(with_confidence(tmp_path, slope=20.0, offset=17.5), budget=budget)
    ms = 1_000_000
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 90, (60, 80, 3), np.uint8), (800, 480))
    ground[200:280, 300:420] = RED
    first = able.run(Frame(ground[:, :640].copy(), 100 * ms), confidence=True)
    later = able.run(Frame(ground[:, 24:664].copy(), 150 * ms), confidence=True)
    assert later.execution.reuse is not None
    assert 'segmentation' in str(later.execution.reuse.tasks)
    assert first.segmentation is not None
    assert later.segmentation is not None
    # A sure pixel stays sure where the classes moved to.
    for one in (first.segmentation, later.segmentation):
        assert one.confidence is not None
        red = one.mask('red')
        assert np.median(one.confidence[red]) > np.median(one.confidence[~red]) + 20
