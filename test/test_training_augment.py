# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('torch')

import tiny_data
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.training.data.augment import (
    LABEL_STRIDE,
    PAD_VALUE,
    distort,
    make_example,
    place_boxes,
    random_view,
)
from mt_perception.training.data.read_datasets import read_rgbd
from mt_perception.training.data.samples import Boxes, Sample
from mt_perception.types import UNLABELLED

CANVAS = (256, 320)


def sample_with_square(folder: Path) -> Sample:
    """A white square on black, labelled class 3, with its box, and class 1 elsewhere."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[80:160, 100:220] = 255
    label = np.full((240, 320), 1, np.uint8)
    label[80:160, 100:220] = 3
    cv2.imwrite(str(folder / 'square.png'), image)
    boxes = Boxes(np.array([[100, 80, 220, 160]], np.float32), np.array([5]), True)
    return Sample('square', folder / 'square.png', (240, 320), boxes, lambda: label)


@pytest.mark.parametrize('seed', range(12))
def test_image_pixels_and_boxes_move_together(seed: int, tmp_path: Path) -> None:
    example = make_example(sample_with_square(tmp_path), CANVAS, np.random.default_rng(seed))
    small = example.clean[2::LABEL_STRIDE, 2::LABEL_STRIDE, 0]
    square = example.semantic == 3
    # Two cells of tolerance at the outline, none elsewhere.
    inner = cv2.erode(square.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    outer = cv2.dilate(square.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (small[inner] > 200).all()
    assert not (small[~outer & example.inside] > 200).any()
    if example.boxes is not None and len(example.boxes.corners) and square.any():
        rows, columns = np.nonzero(square)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        np.testing.assert_allclose(example.boxes.corners[0], seen * LABEL_STRIDE, atol=6)
        assert example.boxes.classes.tolist() == [5]


@pytest.mark.parametrize('seed', range(6))
def test_the_border_is_grey_and_says_nothing(seed: int, tmp_path: Path) -> None:
    example = make_example(sample_with_square(tmp_path), (320, 416), np.random.default_rng(seed))
    outside = cv2.erode((~example.inside).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (example.semantic[outside] == UNLABELLED).all()
    assert (example.relative_depth == -1).all()
    assert (example.depth_per_focal == 0).all()
    grey = example.image[2::LABEL_STRIDE, 2::LABEL_STRIDE][outside]
    assert (grey == PAD_VALUE).all(), 'colours are distorted inside the image only'


@pytest.mark.parametrize('seed', range(8))
def test_the_focal_length_follows_the_view(seed: int, tmp_path: Path) -> None:
    """A wall at 2 m, f = 50: whatever the view, depth is 2 m / (50 scale)."""
    sample = read_rgbd(tiny_data.write_rgbd(tmp_path / 'room', frames=1), tiny_data.classes(), 50)
    example = make_example(sample[0], (64, 96), np.random.default_rng(seed))
    scale = random_view(sample[0].size, (64, 96), np.random.default_rng(seed)).scale
    focal = 50 * scale
    values = np.unique(example.depth_per_focal[example.depth_per_focal > 0])
    assert len(values)
    for value in values * focal:
        assert min(abs(value - 1), abs(value - 2)) < 1e-3


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(16, 900), width=st.integers(16, 900), seed=st.integers(0, 2**31),
    canvas=st.sampled_from([(320, 416), (416, 320), (256, 256)]),
)  # fmt: skip
def test_a_view_always_shows_the_image(
    height: int, width: int, seed: int, canvas: tuple[int, int]
) -> None:
    view = random_view((height, width), canvas, np.random.default_rng(seed))
    rows = min(view.top + height * view.scale, canvas[0]) - max(view.top, 0)
    columns = min(view.left + width * view.scale, canvas[1]) - max(view.left, 0)
    assert rows > 0.3 * min(canvas[0], height * view.scale)
    assert columns > 0.3 * min(canvas[1], width * view.scale)


def test_boxes_that_are_hardly_in_view_are_dropped() -> None:
    boxes = Boxes(
        np.array([[0, 0, 100, 100], [90, 0, 190, 100], [50, 50, 51, 51]], np.float32),
        np.array([1, 2, 3]),
        True,
    )
    rng = np.random.default_rng(0)
    view = random_view((200, 200), (96, 96), rng)
    view = type(view)(scale=1.0, left=0, top=0, flip=False, size=(96, 96))
    left = place_boxes(boxes, view, (200, 200))
    assert left.classes.tolist() == [1]
    assert left.corners.tolist() == [[0, 0, 96, 96]]
    mirrored = place_boxes(boxes, type(view)(0.5, 0, 0, True, (96, 96)), (200, 200))
    assert mirrored.corners[0].tolist() == [46, 0, 96, 50]


def test_distortion_keeps_shape_and_follows_the_seed() -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8)
    once, again, other = (distort(image, np.random.default_rng(s)) for s in (1, 1, 2))
    assert once.shape == image.shape
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
