# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The letterbox: there and back is the identity, for every size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.image.letterbox import fit

SIDES = st.integers(1, 9000) | st.integers(1, 40)
SIZES = st.tuples(SIDES, SIDES)
NETWORKS = st.tuples(st.integers(1, 40), st.sampled_from([1, 8, 32])).map(
    lambda n: (n[0] * n[1], n[1])
)


@given(SIZES, NETWORKS)
def test_sizes(image_size: tuple[int, int], network: tuple[int, int]) -> None:
    long_side, multiple = network
    box = fit(image_size, long_side, multiple)
    assert max(box.network_size) == max(box.content_size) == long_side
    for content, whole in zip(box.content_size, box.network_size, strict=True):
        assert 1 <= content <= whole < content + multiple
        assert whole % multiple == 0


@given(SIZES, NETWORKS)
def test_a_little_slack_saves_padding(
    image_size: tuple[int, int], network: tuple[int, int]
) -> None:
    plain, loose = fit(image_size, *network), fit(image_size, *network, slack=0.04)
    assert all(a <= b for a, b in zip(loose.network_size, plain.network_size, strict=True))
    for less, whole in zip(loose.content_size, plain.content_size, strict=True):
        assert 0.96 * whole - 1 <= less <= whole


def test_slack_counts_what_a_camera_gives() -> None:
    assert fit((480, 640), 352, 32, slack=0.04).network_size == (256, 352)
    assert fit((480, 640), 352, 32, slack=0.04).content_size == (256, 341)
    assert fit((480, 640), 416, 32, slack=0.04) == fit((480, 640), 416, 32)


@given(SIZES, NETWORKS, st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
def test_boxes_there_and_back(
    image_size: tuple[int, int],
    network: tuple[int, int],
    parts: list[tuple[float, float, float, float]],
) -> None:
    box = fit(image_size, *network)
    height, width = image_size
    boxes = np.array(parts) * [width, height, width, height]
    there = boxes * [box.scale_x, box.scale_y, box.scale_x, box.scale_y]
    assert (there <= np.array([*box.content_size[::-1]] * 2) + 1e-6).all()
    np.testing.assert_allclose(box.boxes_to_image(there), boxes, atol=0.5)


@given(SIZES, NETWORKS, st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 4), min_size=1, max_size=5))
def test_boxes_end_inside_the_image(
    image_size: tuple[int, int],
    network: tuple[int, int],
    boxes: list[tuple[float, float, float, float]],
) -> None:
    mapped = fit(image_size, *network).boxes_to_image(np.array(boxes))
    assert (mapped >= 0).all()
    assert (mapped <= np.array([image_size[1], image_size[0]] * 2)).all()


@given(
    st.tuples(st.integers(1, 1500), st.integers(1, 1500)),
    st.sampled_from([64, 160, 416]),
    st.sampled_from([1, 4, 8]),
)
def test_maps_there_and_back(image_size: tuple[int, int], long_side: int, stride: int) -> None:
    """A map that holds each cell's position comes back as positions in the image."""
    box = fit(image_size, long_side, 32)
    height, width = image_size
    rows, columns = (side // stride for side in box.network_size)
    for axis, scale, side, cells in (
        (0, box.scale_y, height, rows),
        (1, box.scale_x, width, columns),
    ):
        centres = (np.arange(cells, dtype=np.float32) + 0.5) * (stride / scale)
        values = np.broadcast_to(centres[:, None] if axis == 0 else centres, (rows, columns))
        mapped = box.map_to_image(np.ascontiguousarray(values), cv2.INTER_LINEAR)
        assert mapped.shape == image_size
        line = mapped[:, 0] if axis == 0 else mapped[0]
        # Within half a cell of the edges there is nothing to interpolate between.
        margin = int(np.ceil(stride / scale))
        inner = slice(margin, side - margin)
        np.testing.assert_allclose(line[inner], (np.arange(side) + 0.5)[inner], atol=0.5)


def test_the_padding_is_the_pad_value_and_the_image_lies_upper_left() -> None:
    image = np.full((30, 80, 3), 200, np.uint8)
    box = fit((30, 80), 160, 32)
    made = box.network_image(image, 114)
    assert made.shape == (1, 64, 160, 3)
    assert made.flags.c_contiguous
    assert (made[0, :60] == 200).all()
    assert (made[0, 60:] == 114).all()


def test_an_image_of_the_network_size_is_taken_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    box = fit((64, 96), 96, 32)
    np.testing.assert_array_equal(box.network_image(image, 0)[0], image)


def test_the_padding_does_not_leak_into_maps() -> None:
    box = fit((30, 80), 160, 32)
    values = np.zeros((64 // 4, 160 // 4), np.float32)
    values[60 // 4 :] = 1e6
    assert not box.map_to_image(values, cv2.INTER_LINEAR).any()


def test_large_images_do_not_alias() -> None:
    """Fine stripes become grey, as a lens would blur them, not coarse stripes."""
    image = np.zeros((2160, 3840, 3), np.uint8)
    image[:, ::2] = 255
    made = fit(image.shape[:2], 416, 32).network_image(image, 114)
    assert np.ptp(made[0, :234]) < 40


@pytest.mark.parametrize('view', ['strided', 'reversed', 'readonly'])
def test_views_are_taken_and_left_alone(view: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    odd = {'strided': image[::2, 10:70], 'reversed': image[:, ::-1], 'readonly': image}[view]
    before = odd.copy()
    odd.flags.writeable = False
    box = fit(odd.shape[:2], 64, 32)
    np.testing.assert_array_equal(box.network_image(odd, 0), box.network_image(before, 0))
    np.testing.assert_array_equal(odd, before)
