# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The temporal filter of depth: less flicker, no blur, and nothing of another scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mt_perception import Options, Pipeline
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.options import NONE
from mt_perception.execution.plan import Plan
from mt_perception.execution.postprocess.depth import NetworkDepth, network_depth
from mt_perception.image.letterbox import fit
from mt_perception.image.optical_flow import FlowSearch, OpticalFlow
from mt_perception.planning.depth_correction import DepthCorrection
from mt_perception.planning.depth_filter import MAX_GAP_S, DepthFilter, _grey
from mt_perception.types import Frame, Intrinsics

HEIGHT, WIDTH, CELL = 240, 320, 4
BOX = fit((HEIGHT, WIDTH), 320, 32)
"""240 rows lie in 256 rows of the network, so the map has padding."""
CAMERA = Intrinsics(fx=300, fy=300, cx=159.5, cy=119.5, width=WIDTH, height=HEIGHT)
PERIOD_S = 0.1
NOISE = 0.05


def smooth(
    seed: int, sigma: float, size: tuple[int, int] = (HEIGHT, 2 * WIDTH)
) -> NDArray[np.float32]:
    """Smooth noise with mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(size=size).astype(np.float32), (0, 0), sigma)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def texture(seed: int = 0) -> NDArray[np.uint8]:
    grey = np.clip(128 + 40 * smooth(seed, 6), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def depth_of(metres: NDArray[np.float32]) -> NetworkDepth:
    """A network's depth of an image's metres; the padding repeats the last row."""
    cells = metres[CELL // 2 :: CELL, CELL // 2 :: CELL]
    rows = BOX.network_size[0] // CELL - len(cells)
    padded = np.pad(cells, ((0, rows), (0, 0)), 'edge')
    return network_depth({'depth': padded[None]}, BOX, CAMERA)


def noisy(depth: NetworkDepth, seed: int) -> NetworkDepth:
    """With noise of areas, as networks have it, and of the whole frame."""
    rng = np.random.default_rng(seed)
    noise = NOISE * smooth(seed, 2, depth.values.shape) + rng.normal(0, NOISE)
    return replace(depth, values=(depth.values * np.exp(noise)).astype(np.float32))


def frame(image: NDArray[np.uint8], step: float) -> Frame:
    return Frame(np.ascontiguousarray(image), round((1 + step * PERIOD_S) * 1e9), 'c', CAMERA)


def change(maps: Sequence[NetworkDepth]) -> float:
    logs = [np.log(made.values[: HEIGHT // CELL]) for made in maps]
    return float(np.mean([np.median(abs(b - a)) for a, b in pairwise(logs)]))


def error(made: NetworkDepth, truth: NetworkDepth) -> float:
    rows = slice(0, HEIGHT // CELL)
    return float(np.mean(abs(np.log(made.values[rows] / truth.values[rows]))))


STILL = texture()[:, :WIDTH]
METRES = np.exp(1 + 0.5 * smooth(1, 12)).astype(np.float32)
SCENE = depth_of(METRES[:, :WIDTH])


def test_a_still_scene_flickers_at_most_half_and_is_closer_to_the_truth() -> None:
    frames = [noisy(SCENE, seed) for seed in range(20)]
    filter_ = DepthFilter()
    made = [filter_.filtered(frame(STILL, step), seen) for step, seen in enumerate(frames)]
    assert change(made[3:]) < 0.5 * change(frames[3:])
    assert error(made[-1], SCENE) < 0.75 * error(frames[-1], SCENE)
    assert np.array_equal(made[0].values, frames[0].values), 'the first has no predecessor'
    padding = slice(HEIGHT // CELL, None)
    assert np.array_equal(made[-1].values[padding], frames[-1].values[padding])


@pytest.mark.parametrize('speed', [1, 5, 12], ids='{} pixels a frame'.format)
def test_a_moved_scene_does_not_blur(speed: int) -> None:
    image, filter_ = texture(), DepthFilter()
    errors = []
    for step in range(20):
        columns = slice(step * speed, step * speed + WIDTH)
        truth = depth_of(METRES[:, columns])
        seen = noisy(truth, step)
        made = filter_.filtered(frame(image[:, columns], step), seen)
        errors.append((error(made, truth), error(seen, truth)))
    filtered, unfiltered = np.mean(errors[1:], axis=0)
    assert filtered < 0.75 * unfiltered, 'it filters'
    assert filtered < 0.04


@pytest.mark.parametrize('near_m', [1.5, 4.5])
def test_an_object_that_moves_has_no_lag_where_it_was_and_is(near_m: float) -> None:
    filter_, last = DepthFilter(), None
    object_ = 255 - texture(7)[60:180, :60]
    for step in range(6):
        image, metres = STILL.copy(), np.full((HEIGHT, WIDTH), 6, np.float32)
        left = 20 + 40 * step
        image[60:180, left : left + 60], metres[60:180, left : left + 60] = object_, near_m
        truth = depth_of(metres)
        made = filter_.filtered(frame(image, step), truth)
        wrong = abs(np.log(made.values / truth.values))
        if last is not None:
            changed = truth.values != last.values
            assert wrong[changed].mean() < 0.2 * np.log(6 / near_m), 'unfiltered it is 0'
            assert wrong[~changed].mean() < 0.02 * np.log(6 / near_m)
        last = truth


def test_padding_beside_a_tall_image_is_not_filtered() -> None:
    box, filter_ = fit((WIDTH, HEIGHT), WIDTH, 32), DepthFilter()
    camera = replace(CAMERA, width=HEIGHT, height=WIDTH)
    tall = np.ascontiguousarray(STILL.transpose(1, 0, 2))
    width = HEIGHT // CELL
    values = np.full((1, *(side // CELL for side in box.network_size)), 2, np.float32)
    for step in range(2):
        seen = network_depth({'depth': values * np.float32(1.1**step)}, box, camera)
        made = filter_.filtered(Frame(tall, 10**9 + step * 10**8, 'c', camera), seen)
    assert made.values.shape[1] > width
    np.testing.assert_array_equal(made.values[:, width:], seen.values[:, width:])
    assert (made.values[:, :width] < 0.99 * seen.values[:, :width]).all()


OTHER_CAMERA = replace(CAMERA, fx=310.0)


@pytest.mark.parametrize(
    'later',
    [
        (frame(255 - STILL, 1), SCENE),
        (frame(STILL, -1), SCENE),
        (frame(STILL, 0), SCENE),
        (frame(STILL, (MAX_GAP_S + 0.01) / PERIOD_S), SCENE),
        (replace(frame(STILL, 1), stamp_ns=0), SCENE),
        (replace(frame(STILL, 1), frame_id='other'), SCENE),
        (frame(STILL, 1), replace(SCENE, camera=OTHER_CAMERA)),
        (frame(STILL, 1), replace(SCENE, values=SCENE.values[::2, ::2])),
        (frame(STILL, 1), replace(SCENE, relative=True)),
    ],
    ids=['cut', 'back', 'same time', 'gap', 'no stamp', 'frame id', 'camera', 'size', 'unit'],
)
def test_another_scene_shares_nothing(later: tuple[Frame, NetworkDepth]) -> None:
    filter_ = DepthFilter()
    filter_.filtered(frame(STILL, 0), noisy(SCENE, 1))
    assert filter_.filtered(*later) is later[1]


def test_a_frame_without_a_stamp_is_no_predecessor() -> None:
    filter_ = DepthFilter()
    filter_.filtered(replace(frame(STILL, 0), stamp_ns=0), noisy(SCENE, 1))
    assert filter_.filtered(replace(frame(STILL, 0), stamp_ns=10**8), SCENE) is SCENE


def test_a_filtered_frame_is_that_of_the_equation() -> None:
    filter_, image = DepthFilter(), texture()[:, 3 : WIDTH + 3]
    first, second = noisy(SCENE, 1), noisy(SCENE, 2)
    filter_.filtered(frame(STILL, 0), first)
    made = filter_.filtered(frame(image, 1), second).values[: HEIGHT // CELL]
    size, cells = (52, 39), (WIDTH // CELL, HEIGHT // CELL)
    before, after = (_grey(one, cells[::-1], cells[::-1]) for one in (STILL, image))
    assert after.shape == size[::-1]
    motion = OpticalFlow(before, after, FlowSearch(finest=1))
    last, new = (
        cv2.merge([np.log(cv2.resize(one, size, interpolation=cv2.INTER_AREA)), grey])
        for one, grey in (
            (one.values[: HEIGHT // CELL], grey.astype(np.float32))
            for one, grey in ((first, before), (second, after))
        )
    )
    step, error = np.moveaxis(new.astype(np.float64) - motion.interpolate_map(last), -1, 0)
    trust = 1 / (1 + (error / 12.0) ** 2) / (1 + (step / 0.3) ** 4)
    factors = cv2.resize(np.exp(-0.7 * trust * step), cells)
    np.testing.assert_allclose(made, second.values[: HEIGHT // CELL] * factors, 1e-5)


def test_no_flow_is_computed_while_the_image_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    flow = FlowSearch.flow

    def counted(self: FlowSearch, *images: NDArray[np.uint8]) -> NDArray[np.float32]:
        calls.append(1)
        return flow(self, *images)

    monkeypatch.setattr(FlowSearch, 'flow', counted)
    rng = np.random.default_rng(0)
    filter_, shift = DepthFilter(), 0
    for step in range(4):
        shift += 5 if step == 3 else 0
        image = texture()[:, shift : WIDTH + shift].astype(np.int16)
        image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        made = filter_.filtered(frame(image, step), noisy(SCENE, step))
        assert len(calls) == (step == 3)
        assert step == 0 or not np.array_equal(made.values, noisy(SCENE, step).values)


@pytest.mark.parametrize('size', [(240, 320), (180, 320), (480, 640), (95, 250)])
def test_the_image_has_the_positions_of_the_cells(size: tuple[int, int]) -> None:
    """A step of brightness lies in the cell of the same step of depth, the padding outside."""
    box = fit(size, 320, 32)
    image = np.zeros((*size, 3), np.uint8)
    image[size[0] // 2 :] = 200
    pixels = box.network_image(image, 114)[0]
    output = (box.network_size[0] // CELL, box.network_size[1] // CELL)
    cells = -(-box.content_size[0] // CELL), -(-box.content_size[1] // CELL)
    grey = _grey(pixels, cells, output)
    assert max(grey.shape) == 52
    middle = box.content_size[0] / 2 / CELL * len(grey) / cells[0]
    assert (grey[: int(middle - 0.5)] == 0).all()
    end = int(box.content_size[0] / CELL * len(grey) / cells[0])
    assert (grey[int(middle + 1.5) : end] == 200).all()
    few = _grey(pixels, (5, 7), (5, 7))
    assert few.shape == (5, 7), 'an output of few cells'


def test_the_pipeline_passes_its_own_input(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, passed = Pipeline.load('cspnano', Options(depth_filter=True)), []

    def spy(
        self: DepthFilter, one: Frame, network: NetworkDepth, image: NDArray[np.uint8]
    ) -> NetworkDepth:
        content = tuple(slice(side) for side in network.letterbox.content_size)
        expected = network.letterbox.network_image(one.image, 0)[0]
        np.testing.assert_array_equal(image[content], expected[content])
        passed.append(image.shape[:2] == network.letterbox.network_size)
        return network

    monkeypatch.setattr(DepthFilter, 'filtered', spy)
    assert pipeline.run(frame(STILL, 0), ['depth']).depth is not None
    assert passed == [True]


def test_the_next_frame_does_share() -> None:
    filter_ = DepthFilter()
    filter_.filtered(frame(STILL, 0), noisy(SCENE, 1))
    assert filter_.filtered(frame(STILL, 1), SCENE) is not SCENE


@pytest.mark.parametrize('value', [np.nan, np.inf, -1.0, 0.0])
def test_unknown_depth_stays_and_does_not_spread(value: float) -> None:
    filter_ = DepthFilter()
    values = SCENE.values.copy()
    values[20:24, 30:34] = value
    for step in range(6):
        made = filter_.filtered(frame(STILL, step), noisy(replace(SCENE, values=values), step))
    unknown = ~(np.isfinite(made.values) & (made.values > 0))
    assert unknown.sum() == 16
    assert unknown[20:24, 30:34].all()
    inside, scene = (slice(21, 23), slice(31, 33)), SCENE.values
    known = filter_.filtered(frame(STILL, 6), SCENE).values
    np.testing.assert_array_equal(known[inside], scene[inside], 'it was unknown')
    farther = replace(SCENE, values=1.1 * scene)
    again = filter_.filtered(frame(STILL, 7), farther).values
    assert (again[inside] < 1.05 * scene[inside]).all(), 'it is filtered again'


def test_the_option_filters_before_the_scale_and_is_off_by_default() -> None:
    def maps(**options: bool) -> list[NDArray[np.float32]]:
        correction = DepthCorrection()
        correction.configure(Options(**options), 'net 1.0')
        assert correction.is_needed == options.get('depth_filter', False)
        return [
            correction.depth_map(FrameRun(Plan(), frame(STILL, k)), noisy(SCENE, k)).depth
            for k in range(2)
        ]

    assert Options().depth_scale == NONE
    plain = [noisy(SCENE, k).depth_map(80).depth for k in range(2)]
    np.testing.assert_array_equal(maps(), plain)
    first, second = maps(depth_filter=True)
    np.testing.assert_array_equal(first, plain[0])
    assert np.median(abs(np.log(second / first))) < 0.5 * np.median(abs(np.log(plain[1] / first)))


def test_a_pipeline_filters_its_own_depth() -> None:
    pipeline = Pipeline.load('cspnano', Options(depth_filter=True))
    plain = Pipeline.load('cspnano')
    for step in range(3):
        image = np.clip(STILL.astype(np.int16) + 6 * (step % 2), 0, 255).astype(np.uint8)
        made = pipeline.run(frame(image, step), ['depth']).depth
        seen = plain.run(frame(image, step), ['depth']).depth
        assert made is not None
        assert seen is not None
        assert np.array_equal(made.depth, seen.depth) == (step == 0)
        assert made.scale.source == 'network'


@pytest.mark.parametrize(
    ('step', 'brighter', 'confidence'),
    [(0.1, 0, 1 / (1 + (1 / 3) ** 4)), (0.3, 0, 0.5), (0.3, 12, 0.25), (0.0001, 24, 0.2)],
)
def test_the_filtered_depth_is_that_of_the_formula(
    step: float, brighter: int, confidence: float
) -> None:
    """In a scene without texture nothing moves, and depth changes everywhere by one factor."""
    filter_ = DepthFilter()
    flat = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    grey = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    filter_.filtered(frame(grey, 0), depth_of(flat))
    later = depth_of(flat * np.float32(np.exp(step)))
    made = filter_.filtered(frame(grey + np.uint8(brighter), 1), later)
    expected = (1 - 0.7 * confidence) * step
    found = np.log(made.values[: HEIGHT // CELL] / 2)
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=1e-6)
