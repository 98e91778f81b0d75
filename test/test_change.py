# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Changes: a small thing that moves is seen through noise, and noise and exposure are not."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from mt_perception.image.change import GLANCE_SIDE, change, glance

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
    return change(glance(before), glance(after)) > STILL


@pytest.mark.parametrize(
    ('height', 'width'), [(480, 640), (1080, 1920), (100, 60), (3, 3), (1, 999)]
)
def test_a_glance_is_small(height: int, width: int) -> None:
    small = glance(room(height, width))
    assert small.ndim == 2
    assert max(small.shape) <= max(GLANCE_SIDE, 3)
    assert change(small, small) == 0


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


def test_a_pan_does_not_hide_itself() -> None:
    image = room(480, 700)
    assert changed(image[:, :640], image[:, 60:])


def test_a_slow_drift_adds_up() -> None:
    image = room(480, 700)
    steps = [image[:, k : k + 640] for k in range(0, 40, 2)]
    pairs = pairwise(steps)
    assert not any(changed(a, b) for a, b in pairs)
    assert changed(steps[0], steps[-1])
