# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes and steps of reduced images, letterboxes, pyramids and warped results, by hand."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest

from mt_perception.errors import ImageError
from mt_perception.image.change import to_change_image
from mt_perception.image.encodings import (
    MAX_PIXELS,
    MAX_SIDE,
    check_image,
    check_size,
    grey_to_bgr,
    to_bgr,
)
from mt_perception.image.letterbox import Letterbox, fit, fit_inside
from mt_perception.image.optical_flow import OpticalFlow, to_flow_image
from mt_perception.image.pyramid import ImagePyramid


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def reason(*size: int) -> str:
    try:
        check_size(*size)
    except ImageError as error:
        return error.reason
    return ''


def test_limits_of_an_image() -> None:
    assert (MAX_SIDE, MAX_PIXELS) == (16384, 67108864)
    assert not any(reason(*size) for size in ((1, 2), (2, 1), (16384, 4096), (4096, 16384)))
    for size in ((16384, 4097), (4097, 16384), (16385, 2), (2, 16385)):
        assert reason(*size) == 'too_large'
    assert [reason(0, 3), reason(3, 0), reason(1, 1)] == ['zero_size', 'zero_size', 'too_small']


def test_an_image_for_the_pipeline() -> None:
    check_image(np.zeros((2, 3, 3), np.uint8))
    for wrong, says in (
        (None, 'NoneType; cv2.imread'),
        ([[1]], 'list'),
        (np.zeros((2, 3, 3), np.float32), r'float32 \(2, 3, 3\)'),
        (np.zeros((2, 3), np.uint8), r'uint8 \(2, 3\)'),
        (np.zeros((2, 3, 4), np.uint8), r'uint8 \(2, 3, 4\)'),
        (np.zeros((2, 3, 3, 3), np.uint8), r'\(2, 3, 3, 3\)'),
    ):
        with pytest.raises(ImageError, match=says) as caught:
            check_image(wrong)
        assert caught.value.reason == 'wrong_type'
    with pytest.raises(ImageError, match='found 3x0') as caught:
        check_image(np.zeros((0, 3, 3), np.uint8))
    assert caught.value.reason == 'zero_size'


def halves(low: float, high: float, dtype: type, shape: tuple[int, int] = (6, 10)) -> np.ndarray:
    """Columns of two values in turn, and their mean in one."""
    values = np.full(shape, low, dtype)
    values[:, 1::2] = high
    values[:, 4] = (low + high) / 2
    return values


@pytest.mark.parametrize(
    ('high', 'shown'),
    # An eighth of the range is stretched, more is scaled from the full range.
    [(8191, [0, 255, 127]), (8192, [0, 32, 16]), (65535, [0, 255, 127])],
)
def test_sixteen_bits_without_a_name(high: int, shown: list[int]) -> None:
    found = grey_to_bgr(halves(0, high, np.uint16))[2, [0, 1, 4]]
    np.testing.assert_allclose(found, np.stack([shown] * 3, axis=1), atol=1)


@pytest.mark.parametrize(
    ('name', 'dtype', 'low', 'high'),
    [
        ('64FC1', np.float64, 1e9, 1e9 + 0.25),
        ('64FC1', np.float64, 0.5, 0.5005),
        ('32FC1', np.float32, -1e-3, 1e-3),
        ('32FC1', np.float32, 5e4, 9e4),
        ('32SC1', np.int32, -70000, 70000),
        ('16UC1', np.uint16, 40000, 40100),
    ],
)
def test_a_range_fills_the_grey_levels(name: str, dtype: type, low: float, high: float) -> None:
    values = halves(low, high, dtype)
    found = to_bgr(values, name, 6, 10, values.strides[0])[3, [0, 1, 4], 1]
    np.testing.assert_allclose(found, [0, 255, 127.5], atol=1)


def test_a_range_is_measured_on_a_grid() -> None:
    """Of 256 rows and columns every second one, of 255 every one."""
    for side, shown in ((256, [0, 128, 255]), (255, [0, 1, 3])):
        values = np.full((side, side), 1000, np.float32)
        values[::2, ::4], values[::2, 2::4] = 0, 10
        values[0, 1] = 5
        found = to_bgr(values, '32FC1', side, side, 4 * side)
        assert found[0, :3, 0].tolist() == shown


@pytest.mark.parametrize(('top', 'shown'), [(1.0, 255), (1.0005, 255), (1.01, 1), (1.5, 2)])
def test_colours_of_floating_point_end_at_1_or_255(top: float, shown: int) -> None:
    values = np.zeros((6, 10, 3), np.float32)
    values[:, ::2] = top
    found = to_bgr(values, '32FC3', 6, 10, values.strides[0])
    assert found[2, :2].tolist() == [[shown] * 3, [0] * 3]


def test_nv24_by_the_formula() -> None:
    """BT.601 in limited range, of colours that no channel clips."""
    luma, u, v = (np.random.default_rng(i).integers(*r, (4, 6), np.uint8)
                  for i, r in enumerate([(90, 150), (110, 146), (110, 146)]))  # fmt: skip
    data = np.concatenate([luma, np.stack([u, v], axis=2).reshape(8, 6)])
    y, cb, cr = 1.164 * (luma - 16.0), u - 128.0, v - 128.0
    expected = np.stack([y + 2.018 * cb, y - 0.391 * cb - 0.813 * cr, y + 1.596 * cr], axis=2)
    assert expected.min() > 0
    assert expected.max() < 255
    np.testing.assert_allclose(to_bgr(data, 'nv24', 4, 6, 6), expected, atol=0.51)


def test_a_long_unknown_encoding_is_cut() -> None:
    with pytest.raises(ImageError, match=f"encoding '{'x' * 40}' is not known; known are bgr8, "):
        to_bgr(b'abc', 'x' * 41, 1, 1, 3)


@pytest.mark.parametrize(
    ('size', 'change', 'flow'),
    [
        ((480, 640), (120, 160), (180, 240)),
        ((640, 480), (160, 120), (240, 180)),
        ((3, 5), (3, 5), (3, 5)),
        ((1, 999), (2, 160), (1, 240)),
        ((999, 1), (160, 2), (240, 1)),
        ((160, 100), (160, 100), (160, 100)),
        ((240, 161), (160, 107), (240, 161)),
    ],
)
def test_reduced_images(
    size: tuple[int, int], change: tuple[int, int], flow: tuple[int, int]
) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    reduced = to_change_image(image)
    assert reduced.shape == change
    assert (reduced == 4 * 90).all(), 'sums of four pixels'
    assert to_flow_image(image).shape == flow
    assert max(to_flow_image(image, 60).shape) == min(60, max(size))


def test_levels_of_a_pyramid() -> None:
    image = noise(65, 98)
    reduced = [image]
    for size in ((49, 33), (25, 17), (13, 9)):
        reduced.append(cv2.resize(reduced[-1], size, interpolation=cv2.INTER_LINEAR))
    for (height, width), level in {
        (65, 98): 0, (33, 49): 0, (32, 50): 0, (32, 49): 1, (16, 24): 2, (17, 24): 1,
        (16, 25): 1, (8, 12): 3, (8, 24): 2,
    }.items():  # fmt: skip
        found = ImagePyramid(image).level_for(height, width)
        np.testing.assert_array_equal(found, reduced[level], f'{height}x{width}')
    assert ImagePyramid(image).image is image


def test_grey_levels_of_a_pyramid_come_from_larger_ones() -> None:
    image, sizes = noise(64, 96), [(64, 96), (32, 48), (16, 24), (8, 12)]

    def grey(bgr: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)

    def half(pixels: np.ndarray) -> np.ndarray:
        size = pixels.shape[1] // 2, pixels.shape[0] // 2
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)

    pyramid = ImagePyramid(image)
    second = grey(half(half(image)))
    np.testing.assert_array_equal(pyramid.grey_for(*sizes[2]), second)
    np.testing.assert_array_equal(pyramid.grey_for(*sizes[3]), half(second))
    np.testing.assert_array_equal(pyramid.grey_for(*sizes[0]), grey(image))
    np.testing.assert_array_equal(pyramid.grey_for(*sizes[1]), half(grey(image)))
    np.testing.assert_array_equal(pyramid.grey_for(*sizes[2]), second)


@pytest.mark.parametrize(
    ('image', 'network', 'content'),
    [
        ((480, 640), (320, 320), (240, 320)),
        ((640, 480), (320, 300), (320, 240)),
        ((100, 90), (333, 77), (86, 77)),
        ((1, 1000), (320, 320), (1, 320)),
        ((1000, 1), (320, 320), (320, 1)),
        ((7, 9), (28, 40), (28, 36)),
    ],
)
def test_an_image_inside_a_fixed_input(
    image: tuple[int, int], network: tuple[int, int], content: tuple[int, int]
) -> None:
    assert fit_inside(image, network) == Letterbox(image, content, network)


@pytest.mark.parametrize(
    ('image', 'long_side', 'multiple', 'slack', 'content', 'network'),
    [
        ((480, 640), 352, 32, 0.04, (256, 341), (256, 352)),
        ((480, 640), 352, 32, 0.0, (264, 352), (288, 352)),
        ((640, 480), 352, 32, 0.04, (341, 256), (352, 256)),
        # 33 rows are 3 % more than 32; 34 are 6 %.
        ((33, 64), 64, 32, 0.04, (32, 62), (32, 64)),
        ((34, 64), 64, 32, 0.04, (34, 64), (64, 64)),
        ((32, 64), 64, 32, 0.04, (32, 64), (32, 64)),
        ((31, 64), 64, 32, 0.04, (31, 64), (32, 64)),
        ((1, 900), 64, 32, 0.04, (1, 64), (32, 64)),
        ((900, 1), 64, 32, 0.9, (64, 1), (64, 32)),
    ],
)
def test_an_image_in_an_input_of_its_shape(
    image: tuple[int, int], long_side: int, multiple: int, slack: float,
    content: tuple[int, int], network: tuple[int, int],
) -> None:  # fmt: skip
    assert fit(image, long_side, multiple, slack) == Letterbox(image, content, network)


def test_an_input_is_copied_where_it_must_be() -> None:
    """Not if it fits; a view of a larger array, a padded and a scaled one are."""
    image = noise(8, 12)
    same = Letterbox((8, 12), (8, 12), (8, 12))
    assert np.shares_memory(same.network_image(image, 9), image)
    assert same.network_image(image, 9).shape == (1, 8, 12, 3)
    view = noise(8, 24)[:, ::2]
    assert same.network_image(view, 9).flags.c_contiguous
    np.testing.assert_array_equal(same.network_image(view, 9)[0], view)
    padded = Letterbox((8, 12), (8, 12), (10, 16)).network_image(image, 9)
    expected = np.full((1, 10, 16, 3), 9, np.uint8)
    expected[0, :8, :12] = image
    np.testing.assert_array_equal(padded, expected)
    scaled = Letterbox((8, 12), (4, 6), (5, 6)).network_image(image, 9)
    expected = np.full((1, 5, 6, 3), 9, np.uint8)
    half = cv2.resize(image, (6, 4), interpolation=cv2.INTER_LINEAR)
    expected[0, :4] = cv2.resize(half, (6, 4), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(scaled, expected)


def test_boxes_and_maps_of_a_letterbox() -> None:
    box = Letterbox((60, 200), (30, 50), (32, 64))
    boxes = np.array([[5, 10, 20, 25], [-1, -1, 60, 31]])
    expected = [[20, 20, 80, 50], [0, 0, 200, 60]]
    np.testing.assert_array_equal(box.boxes_to_image(boxes), expected)
    # Cells of 8 pixels: 3.75 rows and 6.25 columns hold the image, the rest is cut off.
    values = np.arange(4 * 8, dtype=np.float32).reshape(4, 8)
    found = box.map_to_image(values, cv2.INTER_NEAREST)
    rows, columns = np.arange(60) // 16, np.arange(200) // 32
    np.testing.assert_array_equal(found, values[rows[:, None], columns])


def test_boxes_follow_the_faster_half_of_the_flow() -> None:
    """64 samples a box, in the middles of an 8 by 8 grid; 32 of them count."""
    rows, columns, (height, width) = 9, 12, (45, 84)
    field = np.random.default_rng(4).normal(0, 1.5, (rows, columns, 2)).astype(np.float32)
    motion = OpticalFlow(np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), np.uint8))
    motion.backward = field
    boxes = np.float32([[9, 8, 60, 30], [-20, 5, 30, 44], [70, 30, 95, 60], [3, 3, 4, 4]])
    expected = []
    for x0, y0, x1, y1 in boxes.tolist():
        motions = []
        for i, j in product(range(8), range(8)):
            x = int((x0 + (x1 - x0) * (j + 0.5) / 8) / 7)
            y = int((y0 + (y1 - y0) * (i + 0.5) / 8) / 5)
            motions.append(-field[min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)])
        motions.sort(key=lambda way: float(np.hypot(*way)))
        dx, dy = np.mean(motions[32:], axis=0) * (7, 5)
        moved = np.clip([x0 + dx, y0 + dy, x1 + dx, y1 + dy], 0, [width, height] * 2)
        expected.append(moved)
    np.testing.assert_allclose(motion.warp_boxes(boxes, (height, width)), expected, atol=1e-3)


@pytest.mark.parametrize(('ratio', 'step'), [(1, 1), (1.5, 1), (2, 2), (3, 2)])
def test_maps_follow_the_flow(ratio: float, step: int) -> None:
    """In cells of two pixels where the map has twice the resolution of the flow."""
    rows, columns = 6, 8
    height, width = round(rows * ratio), round(columns * ratio)
    motion = OpticalFlow(np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), np.uint8))
    motion.backward = np.tile(np.float32([2, -2]), (rows, columns, 1))
    values = np.random.default_rng(0).integers(0, 255, (height, width), np.uint8)

    def moved(step: int) -> np.ndarray:
        y = np.clip(np.arange(height) // step * step - round(2 * ratio), 0, height - 1)
        x = np.clip(np.arange(width) // step * step + round(2 * ratio), 0, width - 1)
        return values[y[:, None], x]

    np.testing.assert_array_equal(motion.warp_map(values), moved(step))
    np.testing.assert_array_equal(motion.interpolate_map(values), moved(1))


@pytest.mark.parametrize(('side', 'moves'), [(15, False), (16, True)])
def test_flow_needs_sixteen_pixels(side: int, moves: bool) -> None:
    texture = cv2.resize(noise(9, 12)[..., 0], (60, 40), interpolation=cv2.INTER_CUBIC)
    before, after = texture[:side, 4:44], texture[:side, 6:46]
    backward = OpticalFlow(before.copy(), after.copy()).backward
    assert backward.shape == (side, 40, 2)
    assert bool(backward.any()) == moves
