# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The planner in a real pipeline: the plans, reused results, and their cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_model import SIZE, write_tiny_model
from tiny_paths import COSTS, POLICY_MACS, write_tiny_paths

from mt_perception.errors import ModelError, OptionError
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Plan
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.planning.frame_state import FrameState
from mt_perception.planning.planner import Planner
from mt_perception.types import Detections, Frame, Intrinsics, Result

PERIOD_NS = 100_000_000
STALE = Budget(max_stale_ms=350.0)


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp('models')
    return {
        'paths': write_tiny_paths(place / 'paths', policy=False),
        'policy': write_tiny_paths(place / 'policy'),
        'plain': write_tiny_model(place / 'plain'),
    }


def load(folder: Path, budget: Budget | None = None, options: Options | None = None) -> Pipeline:
    return Pipeline.load(folder, options, budget=budget)


def scene(x: int = 20, level: int = 40) -> np.ndarray:
    """A grey room with a mottled red thing of 32 pixels."""
    image = np.full((96, 128, 3), level, np.uint8)
    mottled = np.random.default_rng(5).integers(150, 255, (8, 8), np.uint8)
    image[32:64, x : x + 32] = 0
    image[32:64, x : x + 32, 2] = cv2.resize(mottled, (32, 32), interpolation=cv2.INTER_CUBIC)
    return image


def film(images: Sequence[np.ndarray]) -> Iterator[Frame]:
    for number, image in enumerate(images, 1):
        yield Frame(image, number * PERIOD_NS, 'camera')


def still(count: int) -> list[np.ndarray]:
    """The same scene through the noise of a camera."""
    random = np.random.default_rng(0)
    noise = [random.normal(0, 2, (96, 128, 3)) for _ in range(count)]
    return [np.clip(scene() + n, 0, 255).astype(np.uint8) for n in noise]


def walk(count: int) -> list[np.ndarray]:
    """The thing moves by an eighth of its size a frame."""
    return [scene(x=4 + 4 * (number % 23)) for number in range(count)]


def run(pipeline: Pipeline, images: Sequence[np.ndarray]) -> list[Result]:
    return [pipeline.run(frame) for frame in film(images)]


def paths(results: Sequence[Result]) -> list[str]:
    return [result.execution.path for result in results]


def test_without_a_budget_everything_runs_on_every_frame(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        results = run(load(folder), still(5))
        assert paths(results) == ['full'] * 5
        assert {r.execution.reason for r in results} == {'all requested tasks'}
        assert {r.execution.budget.compute for r in results} == {1.0}
        assert results[-1].execution.values()['budget.realised'] == 1.0
        assert 'policy' not in results[0].execution.blocks


def test_a_still_scene_is_looked_at_again_when_its_results_are_too_old(
    folders: dict[str, Path],
) -> None:
    results = run(load(folders['plain'], STALE), still(9))
    assert paths(results) == ['full', 'reuse', 'reuse', 'reuse'] * 2 + ['full']
    first, second, third = results[0], results[1], results[2]
    assert second.execution.macs == 0
    assert second.execution.blocks == ()
    assert second.execution.tasks == ('depth', 'detection', 'segmentation')
    assert 'nothing changed' in second.execution.reason
    assert [r.execution.values().get('reuse.age_ms') for r in results[:4]] == [None, 100, 200, 300]
    # The header is that of the new frame, the contents are those of the old one.
    assert (third.stamp_ns, third.frame_id) == (3 * PERIOD_NS, 'camera')
    assert third.depth is first.depth
    assert third.detections is first.detections
    assert third.segmentation is first.segmentation


def test_given_again_or_run_again_is_the_same(folders: dict[str, Path]) -> None:
    images = [scene()] * 4
    again, anew = (run(load(folders['plain'], b), images) for b in (STALE, None))
    assert paths(again) != paths(anew)
    for a, b in zip(again, anew, strict=True):
        np.testing.assert_array_equal(a.depth.depth, b.depth.depth)
        np.testing.assert_array_equal(a.segmentation.class_ids, b.segmentation.class_ids)
        np.testing.assert_array_equal(a.detections.boxes, b.detections.boxes)


def test_a_small_thing_that_moves_is_run(folders: dict[str, Path]) -> None:
    assert paths(run(load(folders['plain'], STALE), walk(5))) == ['full'] * 5


def test_what_makes_earlier_results_useless(folders: dict[str, Path]) -> None:
    pipeline = load(folders['plain'], STALE)
    image, camera = scene(), Intrinsics(90, 90, 64, 48, 128, 96)

    def path(frame: Frame) -> str:
        return pipeline.run(frame).execution.path

    assert path(Frame(image, PERIOD_NS)) == 'full'
    assert path(Frame(image, 2 * PERIOD_NS)) == 'reuse'
    assert path(Frame(image, 2 * PERIOD_NS, intrinsics=camera)) == 'full', 'another camera'
    assert path(Frame(image, 3 * PERIOD_NS, intrinsics=camera)) == 'reuse'
    assert path(Frame(image[:90], 3 * PERIOD_NS)) == 'full', 'another size'
    assert path(Frame(image[:90], 1 * PERIOD_NS)) == 'full', 'a clock that jumped back'
    assert path(Frame(image[:90], 2 * PERIOD_NS)) == 'reuse'
    pipeline.options = Options(score_threshold=0.1)
    assert path(Frame(image[:90], 3 * PERIOD_NS)) == 'full', 'other options'
    assert path(Frame(image[:90])) == 'full', 'no stamp'
    assert path(Frame(image[:90])) == 'full', 'no stamp'
    pipeline.budget = Budget()
    assert path(Frame(image[:90], 4 * PERIOD_NS)) == 'full'


def test_a_task_that_was_not_wanted_is_run_and_the_others_are_not(
    folders: dict[str, Path],
) -> None:
    pipeline = load(folders['plain'], STALE)
    image = scene()
    pipeline.run(Frame(image, PERIOD_NS), ['depth'])
    result = pipeline.run(Frame(image, 2 * PERIOD_NS), ['depth', 'detection'])
    assert result.execution.blocks == ('trunk', 'detection')
    assert result.execution.values()['reuse.tasks'] == 'depth'
    assert result.depth is not None
    assert result.detections is not None


def test_tasks_at_their_own_rates(folders: dict[str, Path]) -> None:
    budget = Budget(max_rate_hz={'depth': 5.0, 'segmentation': 2.0})
    random = np.random.default_rng(0)
    pipeline, results = load(folders['plain'], budget), []
    for number in range(1, 31):
        jitter = int(random.integers(-9, 9) * 1e6)
        results.append(pipeline.run(Frame(scene(), number * PERIOD_NS + jitter)))
    assert all(r.detections is not None for r in results)
    assert sum(r.depth is not None for r in results) in (15, 16)
    assert sum(r.segmentation is not None for r in results) in (6, 7)
    assert results[1].execution.values()['policy.not_due'] == 'depth segmentation'
    assert set(results[1].execution.blocks) == {'trunk', 'detection'}
    # A bag that begins again waits for nothing.
    assert pipeline.run(Frame(scene(), PERIOD_NS)).depth is not None


def test_nothing_is_due(folders: dict[str, Path]) -> None:
    pipeline = load(folders['plain'], Budget(max_rate_hz={'depth': 1.0}))
    pipeline.run(Frame(scene(), PERIOD_NS), ['depth'])
    result = pipeline.run(Frame(scene(), 2 * PERIOD_NS), ['depth'])
    assert (result.depth, result.failures) == (None, {})
    assert result.execution.reason == 'no task is due'
    assert (result.execution.tasks, result.execution.macs) == ((), 0)


@pytest.mark.parametrize('compute', [0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize('model', ['paths', 'policy'])
def test_what_is_spent_is_the_budget(folders: dict[str, Path], model: str, compute: float) -> None:
    random = np.random.default_rng(1)
    images = [np.full((96, 128, 3), random.integers(0, 255), np.uint8) for _ in range(128)]
    whole = run(load(folders[model]), images)
    results = run(load(folders[model], Budget(compute=compute)), images)
    spent = sum(r.execution.macs for r in results) / sum(r.execution.macs for r in whole)
    assert spent == pytest.approx(compute, abs=0.05)
    realised = results[-1].execution.values()['budget.realised']
    assert realised == pytest.approx(compute, abs=0.05)
    asked = 'policy' in results[0].execution.blocks
    assert asked == (model == 'policy' and compute < 1)


def test_more_budget_is_never_spent_on_less(folders: dict[str, Path]) -> None:
    images = [*still(8), *walk(24)]
    spent = []
    for compute in (0.2, 0.4, 0.6, 0.8, 1.0):
        results = run(load(folders['paths'], replace(STALE, compute=compute)), images)
        spent.append(sum(r.execution.macs for r in results))
    assert spent == sorted(spent)
    assert spent[0] < spent[-1] / 2


def test_a_moving_scene_on_a_small_budget_is_moved_along(folders: dict[str, Path]) -> None:
    images = walk(23)
    whole = run(load(folders['plain']), images)
    results = run(load(folders['plain'], replace(STALE, compute=0.35)), images)
    spent = sum(r.execution.macs for r in results) / sum(r.execution.macs for r in whole)
    assert spent == pytest.approx(0.35, abs=0.05)
    moved = [n for n, r in enumerate(results) if r.execution.path == 'reuse']
    assert 'warped within' in results[moved[0]].execution.reason
    assert max(r.execution.values().get('reuse.age_ms', 0) for r in results) <= 350
    before = [max(n for n in range(number) if n not in moved) for number in moved]
    # The thing moves by 4 pixels a frame; what the tiny model finds jumps by its cells of 16.
    for number, base in zip(moved, before, strict=True):
        way = middle(results[number]) - middle(whole[base])
        assert 0.4 <= way / (4 * (number - base)) <= 1.3


def test_a_scene_cut_is_run_whatever_the_budget(folders: dict[str, Path]) -> None:
    images = [*still(2), *[np.full((96, 128, 3), 200, np.uint8)] * 2]
    results = run(load(folders['plain'], replace(STALE, compute=0.2)), images)
    assert paths(results)[2] == 'full'


def test_results_that_may_be_reused_cannot_be_changed(folders: dict[str, Path]) -> None:
    (result,) = run(load(folders['plain'], STALE), still(1))
    for array in (result.depth.depth, result.detections.boxes, result.segmentation.class_ids):
        with pytest.raises(ValueError, match='read-only'):
            array[:] = 0


def test_moved_boxes_keep_their_identities(folders: dict[str, Path]) -> None:
    options = Options(tracking=True)
    pipeline = load(folders['plain'], replace(STALE, compute=0.35), options)
    results = [pipeline.run(frame, ['detection']) for frame in film(walk(23))]
    moved = [n for n, r in enumerate(results) if r.execution.path == 'reuse']
    assert moved
    for number in moved[2:]:
        ids = results[number].detections.track_ids
        assert set(ids) <= set(results[number - 1].detections.track_ids)
    # The thing goes right, and so do the boxes between two runs.
    steps = [middle(results[n]) - middle(results[n - 1]) for n in moved[3:]]
    assert np.mean(steps) > 0.5


def test_identities_without_a_stamp_or_without_tracking(folders: dict[str, Path]) -> None:
    pipeline = load(folders['plain'], options=Options(tracking=True))
    assert pipeline.run(Frame(scene())).detections.track_ids is None
    found = pipeline.run(Frame(scene(), PERIOD_NS)).detections
    assert (found.track_ids > 0).all()
    assert [one.track_id for one in found] == found.track_ids.tolist()
    again = pipeline.run(Frame(scene(x=22), 2 * PERIOD_NS)).detections
    assert set(again.track_ids) & set(found.track_ids)
    assert load(folders['plain']).run(Frame(scene(), PERIOD_NS)).detections.track_ids is None


def test_tracking_changes_no_detection(folders: dict[str, Path]) -> None:
    plain = run(load(folders['plain']), walk(6))
    tracked = run(load(folders['plain'], options=Options(tracking=True)), walk(6))
    for a, b in zip(plain, tracked, strict=True):
        np.testing.assert_array_equal(a.detections.boxes, b.detections.boxes)
        np.testing.assert_array_equal(a.detections.scores, b.detections.scores)


def test_what_matters_less_is_run_less_often(folders: dict[str, Path]) -> None:
    weights = {'detection': 1.0, 'depth': 0.5, 'segmentation': 0.0}
    budget = Budget(compute=0.5, max_stale_ms=1000.0, weights=weights)
    results = run(load(folders['plain'], budget), walk(23))
    counts = {
        task: sum(task in r.execution.blocks for r in results)
        for task in ('detection', 'depth', 'segmentation')
    }
    assert counts['detection'] >= 8
    assert counts['depth'] == pytest.approx(counts['detection'] / 2, abs=1.5)
    # Only when it has become too old.
    assert counts['segmentation'] in (2, 3)
    assert all(r.depth is not None and r.segmentation is not None for r in results)
    assert max(r.execution.values().get('reuse.age_ms', 0) for r in results) <= 1000


def middle(result: Result) -> float:
    """How far right the detections are on average."""
    assert result.detections is not None
    return float(result.detections.boxes[:, ::2].mean())


def test_the_policy_looks_at_the_image(folders: dict[str, Path]) -> None:
    pipeline = load(folders['policy'], Budget(compute=0.6))
    images = [scene(level=level) for level in (250, 20, 250, 20, 250, 20)]
    results = run(pipeline, images)
    assert paths(results) == ['full', 'light'] * 3
    bright, dark = results[0].execution, results[1].execution
    assert dark.blocks == ('policy', 'trunk_light', 'detection', 'segmentation', 'depth')
    everything = sum(b.macs for b in pipeline.manifest.graph.blocks.values())
    assert bright.macs == round(everything * 48 / 64) + POLICY_MACS
    assert dark.macs < bright.macs
    assert 'path light within budget 0.6' in dark.reason


def test_a_policy_that_fails_is_done_without(folders: dict[str, Path]) -> None:
    manifest = load(folders['policy']).manifest

    def fails(image: np.ndarray, weights: Sequence[float], budget: float) -> np.ndarray:
        raise ModelError('the policy failed: NaN')

    pipeline = Pipeline(manifest, load(folders['policy']).runner, Planner(manifest, fails))
    pipeline.budget = Budget(compute=0.6)
    results = run(pipeline, still(10))
    assert all(not r.failures and r.detections is not None for r in results)
    assert 'the policy failed: NaN' in results[0].execution.reason
    assert results[-1].execution.values()['budget.realised'] == pytest.approx(0.6, abs=0.1)


def test_a_pinned_path(folders: dict[str, Path]) -> None:
    pipeline = load(folders['policy'])
    full = pipeline.run(Frame(scene()))
    pipeline.budget = Budget(path='light')
    light = pipeline.run(Frame(scene()))
    assert light.execution.path == 'light'
    assert light.execution.reason == 'path light is pinned'
    assert light.execution.blocks == ('trunk_light', 'detection', 'segmentation', 'depth')
    # Its trunk sees half as bright.
    np.testing.assert_allclose(light.depth.depth, full.depth.depth / 2, rtol=1e-5)
    pipeline.budget = Budget(path='small')
    small = pipeline.run(Frame(scene()))
    assert small.execution.network_size == (24, 32)
    assert small.depth.depth.shape == full.depth.depth.shape
    with pytest.raises(OptionError, match='auto, full, light, small'):
        pipeline.budget = Budget(path='tiny')
    assert pipeline.run(Frame(scene())).execution.path == 'small'


def test_a_scaled_path_stays_within_what_the_model_takes(folders: dict[str, Path]) -> None:
    options = Options(size=32)
    small = load(folders['paths'], Budget(path='small'), options).run(Frame(scene())).execution
    assert max(small.network_size) == 32 < SIZE


def test_weights_matter_where_there_is_no_policy(tmp_path: Path) -> None:
    def edit(data: dict) -> None:
        # The light path is as good as everything at depth, the small one at detection.
        for path, good in ((1, 'depth'), (2, 'detection')):
            data['paths'][path]['accuracy'] = {
                task: data['paths'][0 if task == good else path]['accuracy'][task]
                for task in data['paths'][0]['accuracy']
            }

    folder = write_tiny_paths(tmp_path, policy=False, edit=edit)
    for task, expected in (('depth', 'light'), ('detection', 'small')):
        weights = {'detection': 0.0, 'depth': 0.0, 'segmentation': 0.0, task: 1.0}
        pipeline = load(folder, Budget(compute=COSTS[1] + 0.04, weights=weights))
        assert pipeline.run(Frame(scene())).execution.path == expected


def test_the_same_frames_make_the_same_plans(folders: dict[str, Path]) -> None:
    images = [*still(10), *walk(20), *still(10)]
    budget = replace(STALE, compute=0.5, max_rate_hz={'segmentation': 3.0})
    runs = [run(load(folders['policy'], budget), images) for _ in range(2)]
    for a, b in zip(*runs, strict=True):
        mine, other = a.execution, b.execution
        assert (mine.path, mine.reason, mine.tasks) == (other.path, other.reason, other.tasks)
        assert (mine.values(), mine.macs) == (other.values(), other.macs)
    assert len({r.execution.path for r in runs[0]}) > 1


def test_a_latency_that_cannot_be_met_takes_the_fastest_path(folders: dict[str, Path]) -> None:
    results = run(load(folders['policy'], Budget(latency_ms=1e-3)), walk(10))
    assert paths(results)[-1] == 'small'
    assert 'target 0.001 ms' in results[-1].execution.reason
    results = run(load(folders['policy'], Budget(latency_ms=60_000.0)), walk(10))
    assert paths(results) == ['full'] * 10


def test_a_task_that_the_model_lacks(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match='normals'):
        load(folders['policy'], STALE).run(Frame(scene()), ['normals'])


def test_a_path_that_fails_is_found_when_the_model_is_loaded(tmp_path: Path) -> None:
    folder = write_tiny_paths(tmp_path)
    model = folder / 'trunk_light.onnx'
    model.write_bytes((folder / 'trunk.onnx').read_bytes())
    with pytest.raises(ModelError, match='trunk_light'):
        load(folder)


@pytest.mark.parametrize('budget', [0.3, 0.45, 0.75, 0.9])
def test_a_video_changes_its_path_seldom_and_keeps_the_budget(
    tmp_path: Path, budget: float
) -> None:
    pipeline = Pipeline.load(write_tiny_paths(tmp_path, policy=False), budget=Budget(budget))
    image = np.zeros((64, 64, 3), np.uint8)

    def paths(period_ns: int) -> tuple[list[str], float]:
        state = FrameState()
        ran = [
            pipeline.run(Frame(image, stamp_ns=(i + 1) * period_ns), state=state).execution
            for i in range(150)
        ]
        assert ran[-1].budget is not None
        return [one.path for one in ran], ran[-1].budget.realised

    def changes(names: list[str]) -> int:
        return sum(a != b for a, b in itertools.pairwise(names))

    (video, realised), (images, _) = paths(10**8), paths(0)
    assert realised == pytest.approx(budget, abs=0.05)
    assert changes(video) <= changes(images) / 3


@pytest.mark.parametrize(('score', 'continues'), [(0.11, True), (0.09, False)])
def test_a_detection_of_a_tenth_continues_a_track_and_is_not_returned(
    score: float, continues: bool
) -> None:
    # Options that are not the defaults: a track ends after 150 ms.
    state, options = FrameState(), Options(tracking=True, track_max_age_ms=150.0)
    model: Any = SimpleNamespace(name='n', version='1')
    state.configure(options, Budget(), model)

    def see(value: float, number: int) -> Detections:
        def make(given: Options) -> Detections:
            assert (given.score_threshold, given.max_detections) == (0.1, 300)
            boxes = np.array([[0, 0, 50, 50]], np.float32)
            return Detections(boxes, np.array([value], np.float32), np.array([0]), ('a',))

        found = state.tracked(make, options, Frame(scene(), number * PERIOD_NS))
        assert isinstance(found, Detections)
        return found

    first = see(0.9, 1)
    assert len(see(score, 2)) == 0
    again = see(0.9, 3)
    assert (again.track_ids.tolist() == first.track_ids.tolist()) == continues


def test_what_a_run_may_cost_where_others_are_warped() -> None:
    def allowance(compute: float, period_ms: float) -> float:
        state: Any = SimpleNamespace(period_ms=period_ms)
        return Planner._allowance(Budget(compute=compute, max_stale_ms=350.0), state)

    assert allowance(0.2, 100.0) == pytest.approx(0.8), 'one run and three warps'
    assert allowance(0.2, 0.0) == 0.2, 'the period is unknown'
    assert allowance(0.5, 100.0) == 1.0
    assert allowance(0.01, 1.0) == pytest.approx(0.31), 'at most 30 warps'
    for credit, affords in ((0.2, True), (0.19, False)):
        state = SimpleNamespace(spending=SimpleNamespace(credit=credit))
        assert Planner._can_afford_run(0.8, Budget(compute=0.2), state) == affords


def test_the_slowest_publication_of_the_latest_32_frames_is_expected() -> None:
    state = FrameState()
    state.record_published(5.0)
    assert state.publishing_s == 0
    execution: Any = SimpleNamespace(stage_ms={'total': 20.0})
    run: Any = SimpleNamespace(
        plan=Plan(), frame=Frame(scene(), received_s=9.95), results={}, block_ms={}
    )
    for number in range(33):
        state.commit(run, execution, now_s=10.0)
        state.record_published(10.5 if number == 0 else 10.01)
        assert state.publishing_s == pytest.approx(0.5 if number < 32 else 0.01)
        # 60 ms since arrival, of which 20 in the pipeline.
        assert state.outside_ms == pytest.approx(40 if number else 530)
