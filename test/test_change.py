# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Changes: a small thing that moves is seen through noise, and noise and exposure are not."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from mt_perception.image.change import CHANGE_SIDE, change, is_scene_cut, to_change_image
from mt_perception.image.letterbox import fit
from mt_perception.image.optical_flow import to_flow_image
from mt_perception.image.pyramid import ImagePyramid, resized

STILL = 10.0
"""What the node takes for no change, in grey levels."""


def room(height: int = 480, width: int = 640) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(40, 200, (12, 16, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def noisy(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def with_thing(image: np.ndarray, x: int, y: int, side: int, grey: int) -> np.ndarray:
    image = image.copy()
    image[y : y + side, x : x + side] = grey
    return image


def changed(before: np.ndarray, after: np.ndarray) -> bool:
    return change(to_change_image(before), to_change_image(after)) > STILL


@pytest.mark.parametrize(
    ('height', 'width'), [(480, 640), (1080, 1920), (100, 60), (3, 3), (1, 999)]
)
def test_what_is_looked_at_is_small(height: int, width: int) -> None:
    small = to_change_image(room(height, width))
    assert small.ndim == 2
    assert max(small.shape) <= max(CHANGE_SIDE, 3)
    assert change(small, small) == 0


@pytest.mark.parametrize('deviation', [0, 3, 8])
def test_eight_pixels_of_640_are_seen_wherever_they_are(deviation: float) -> None:
    image = room()
    for x in range(300, 309):
        y = 200 + x % 5
        grey = image[y : y + 8, x : x + 8].mean()
        after = with_thing(image, x, y, 8, round(grey + (60 if grey < 128 else -60)))
        assert changed(noisy(image, deviation, 1), noisy(after, deviation, 2))


def test_who_reads_one_image_gets_the_same_as_alone() -> None:
    image = room()
    shared = ImagePyramid(image)
    np.testing.assert_array_equal(to_change_image(shared), to_change_image(image))
    np.testing.assert_array_equal(resized(shared, 64, 80), resized(image, 64, 80))
    box = fit((480, 640), 256, 32)
    np.testing.assert_array_equal(box.network_image(shared, 0), box.network_image(image, 0))


@pytest.mark.parametrize('size', [(480, 640), (1080, 1920), (37, 53)])
def test_a_flow_image_before_changes_a_change_image_by_rounding_only(
    size: tuple[int, int],
) -> None:
    image = room(*size)
    shared = ImagePyramid(image)
    np.testing.assert_array_equal(to_flow_image(shared), to_flow_image(image))
    difference = to_change_image(shared) - to_change_image(image)
    assert np.abs(difference).max() <= 4, 'one grey level in each of four pixels'
    assert to_change_image(shared).shape == to_change_image(image).shape


@pytest.mark.parametrize('deviation', [0, 3, 8, 15])
def test_noise_is_no_change(deviation: float) -> None:
    before = noisy(room(), deviation, 1)
    for seed in range(2, 7):
        assert not changed(before, noisy(room(), deviation, seed))


@pytest.mark.parametrize('deviation', [0, 3, 8])
@pytest.mark.parametrize(('x', 'y'), [(0, 0), (300, 200), (628, 468), (111, 333)])
def test_a_small_thing_is_seen_wherever_it_comes_up(deviation: float, x: int, y: int) -> None:
    image = room()
    grey = 255 if image[y, x].mean() < 128 else 0
    after = with_thing(image, x, y, 12, grey)
    assert changed(noisy(image, deviation, 1), noisy(after, deviation, 2))


def test_a_small_thing_that_moves_by_its_own_size_is_seen() -> None:
    image = room()
    before, after = (with_thing(image, x, 200, 16, 255) for x in (300, 316))
    assert changed(noisy(before, 3, 1), noisy(after, 3, 2))


def test_exposure_is_no_change_but_a_lamp_is() -> None:
    image = room()
    assert not changed(image, cv2.add(image, (8, 8, 8, 0)))
    assert changed(image, cv2.add(image, (60, 60, 60, 0)))


@pytest.mark.parametrize('shift', [-9, 9])
def test_a_small_thing_is_measured_beyond_a_change_of_exposure(shift: int) -> None:
    """The shift of the whole image is taken from its local changes, in both directions."""
    image = np.full((480, 640, 3), 120, np.uint8)
    grey = int(image[0, 0, 0]) + shift
    for contrast in (60, -60):
        after = with_thing(np.full_like(image, grey), 300, 200, 64, grey + contrast)
        found = change(to_change_image(image), to_change_image(after))
        assert found == pytest.approx(60, abs=1.5)


def test_a_pan_does_not_hide_itself() -> None:
    image = room(480, 700)
    assert changed(image[:, :640], image[:, 60:])


def test_a_slow_drift_adds_up() -> None:
    image = room(480, 700)
    steps = [image[:, k : k + 640] for k in range(0, 40, 2)]
    pairs = pairwise(steps)
    assert not any(changed(a, b) for a, b in pairs)
    assert changed(steps[0], steps[-1])


def test_changes_by_hand() -> None:
    """Noise counts up to four grey levels, and a shift of exposure up to twelve."""
    still = np.zeros((80, 120), np.int16)
    places = np.indices(still.shape).sum(axis=0)
    for step, noise in ((4, 1 / 0.6745), (16, 4.0)):
        after = (still + np.sign(places % 5 - 2) * step).astype(np.int16)
        after[41, 41] = 4 * 90
        assert change(still, after) == pytest.approx(90 - 5 * noise)
    for shift, expected in ((12, 90), (-12, 90), (13, 13 + 90 - 20), (-13, 90 - 13 - 20)):
        after = still + np.int16(4 * shift)
        after[41, 41] += 4 * 90
        assert change(still, after) == expected
    assert is_scene_cut(still, still + np.int16(161))
    assert not is_scene_cut(still, still + np.int16(160))
