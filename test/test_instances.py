# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Instance images: each pixel belongs to the right detection, whatever overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.geometry.box_window import box_window
from mt_perception.geometry.instances import instance_image, instance_values
from mt_perception.types import UNLABELLED, DepthMap, Detections, Intrinsics, Segmentation

CAMERA = Intrinsics(fx=60, fy=60, cx=40, cy=30, width=80, height=60)
GROUND, PERSON = 1, 0
LABELS = ('person', 'ground')


def detections(*boxes: list[int], ids: list[int] | None = None) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count).astype(np.float32),
        np.zeros(count, np.int64),
        ('dancer',),
        None if ids is None else np.array(ids, np.int64),
    )


def discs(*centres: tuple[int, int, int]) -> tuple[Segmentation, list[np.ndarray]]:
    """Round persons (x, y, radius) on the ground, and where each is."""
    rows, columns = np.mgrid[:60, :80]
    masks = [(columns - x) ** 2 + (rows - y) ** 2 <= r * r for x, y, r in centres]
    ids = np.full((60, 80), GROUND, np.uint8)
    for mask in masks:
        ids[mask] = PERSON
    return Segmentation(ids, LABELS), masks


def box(x: int, y: int, r: int) -> list[int]:
    return [x - r, y - r, x + r + 1, y + r + 1]


def test_a_mask_is_the_object_and_not_its_box() -> None:
    segmentation, (left, right) = discs((20, 30, 10), (60, 30, 12))
    found = detections(box(20, 30, 10), box(60, 30, 12), ids=[7, 3])
    image = instance_image(found, segmentation)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image == 7, left)
    np.testing.assert_array_equal(image == 3, right)
    assert set(np.unique(image)) == {0, 3, 7}


@pytest.mark.parametrize('near', [0, 1])
def test_the_nearest_object_has_the_pixels_that_two_claim(near: int) -> None:
    segmentation, masks = discs((30, 30, 14), (44, 30, 14))
    z = np.full((60, 80), 5, np.float32)
    for index in (1 - near, near):
        z[masks[index]] = 2 if index == near else 4
    found = detections(box(30, 30, 14), box(44, 30, 14), ids=[1, 2])
    image = instance_image(found, segmentation, DepthMap(z, CAMERA))
    np.testing.assert_array_equal(image == near + 1, segmentation.mask('person') & box_mask(
        found.boxes[near]
    ))  # fmt: skip
    assert (image == 2 - near).any()


def box_mask(box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box.astype(int)
    mask = np.zeros((60, 80), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_without_depth_the_smallest_box_is_in_front() -> None:
    ids = np.full((60, 80), PERSON, np.uint8)
    found = detections([0, 0, 80, 60], [30, 20, 50, 40])
    image = instance_image(found, Segmentation(ids, LABELS))
    assert (image[20:40, 30:50] == 2).all()
    assert (image == 1).sum() == 60 * 80 - 400


def test_an_object_of_unknown_depth_is_behind() -> None:
    segmentation = Segmentation(np.zeros((60, 80), np.uint8), LABELS)
    z = np.full((60, 80), np.nan, np.float32)
    z[:, :30] = 3
    found = detections([20, 0, 80, 60], [0, 0, 30, 60], ids=[1, 2])
    image = instance_image(found, segmentation, DepthMap(z, CAMERA))
    assert (image[:, :30] == 2).all()
    assert (image[:, 30:] == 1).all()


def test_values_are_identities_and_fit_16_bits() -> None:
    assert instance_values(detections([0, 0, 5, 5], [0, 0, 6, 6])).tolist() == [1, 2]
    ids = [1, 65_535, 65_536, 10**12, -1]
    found = detections(*([0, 0, 5, 5] for _ in ids), ids=ids)
    assert instance_values(found).tolist() == [1, 65_535, 1, (10**12 - 1) % 65_535 + 1, 0]


def test_nothing_and_unlabelled_pixels() -> None:
    unlabelled = Segmentation(np.full((60, 80), UNLABELLED, np.uint8), LABELS)
    assert not instance_image(detections([0, 0, 80, 60]), unlabelled).any()
    assert not instance_image(detections(), unlabelled).any()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('with_depth', [False, True])
def test_a_box_that_is_not_finite_has_no_pixels(value: float, with_depth: bool) -> None:
    segmentation = Segmentation(np.zeros((60, 80), np.uint8), LABELS)
    found = detections([0, 0, 80, 60], [10, 10, 20, 20])
    found.boxes[0, 2] = value
    depth = DepthMap(np.full((60, 80), 2, np.float32), CAMERA) if with_depth else None
    image = instance_image(found, segmentation, depth)
    assert (image[10:20, 10:20] == 2).all()
    assert (image > 0).sum() == 100


@given(
    st.lists(st.floats(-5, 90, width=32), min_size=4, max_size=4),
    st.floats(0.1, 1),
    st.integers(0, 9),
)
def test_a_window_is_never_empty_and_inside(
    numbers: list[float], part: float, samples: int
) -> None:
    x0, x1 = sorted(numbers[:2])
    y0, y1 = sorted(numbers[2:])
    pixels = np.zeros((60, 80))[box_window((x0, y0, x1, y1), (60, 80), part, samples)]
    assert pixels.size > 0
    assert not samples or max(pixels.shape) <= samples
