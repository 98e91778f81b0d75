# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Turning the camera of an RGB-D image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mt_perception.training.data.tilt import Tilt, random_tilt

SIZE, FOCAL = (120, 160), 150.0


def ground(down: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Depth of the plane X · down = 1.2 m by ray casting, 0 above the horizon."""
    height, width = shape
    fx, fy = FOCAL * width / SIZE[1], FOCAL * height / SIZE[0]
    rows, columns = np.indices(shape)
    x, y = (columns - (width - 1) / 2) / fx, (rows - (height - 1) / 2) / fy
    slope = x * down[0] + y * down[1] + down[2]
    return np.where(slope > 0.02, 1.2 / np.maximum(slope, 0.02), 0).astype(np.float32)


@pytest.mark.parametrize('shape', [SIZE, (60, 80)])
@pytest.mark.parametrize(('pitch', 'roll'), [(10, 0), (0, 12), (-9, 7)])
def test_a_turned_camera_sees_the_same_plane(
    shape: tuple[int, int], pitch: float, roll: float
) -> None:
    """The plane's depth after the turn equals the plane seen by the turned camera."""
    about_x = cv2.Rodrigues(np.radians([pitch, 0.0, 0.0]))[0]
    about_z = cv2.Rodrigues(np.radians([0.0, 0.0, roll]))[0]
    turn = about_z @ about_x
    down = np.array([0.0, 1.0, 0.15])
    found = Tilt(turn, FOCAL, SIZE).depth(ground(down, shape))
    expected = ground(turn @ down, shape)
    # Far pixels and borders differ by more than a rounded pixel.
    both = (found > 0) & (expected > 0) & (expected < 4)
    assert both.mean() > 0.1
    assert np.median(np.abs(found / np.maximum(expected, 1e-3) - 1)[both]) < 0.01


def test_image_and_labels_turn_together() -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    image[30:60, 40:90] = 200
    label = (image[..., 0] > 0).astype(np.uint8)
    tilt = random_tilt(12, FOCAL, SIZE, np.random.default_rng(3))
    turned = tilt.image(image, 114)
    assert (turned == 114).any()
    same = (turned[..., 0] > 160) == (tilt.map(label, 0) > 0)
    assert same.mean() > 0.98


def test_a_camera_that_is_unknown_is_not_turned() -> None:
    depth = np.ones(SIZE, np.float32)
    rng = np.random.default_rng(0)
    for tilt in (random_tilt(10, None, SIZE, rng), random_tilt(0, FOCAL, SIZE, rng)):
        assert tilt.depth(depth) is depth
