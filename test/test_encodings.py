# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raw image encodings: golden pixels made by hand, and every lie a message can tell."""

from __future__ import annotations

import re
import tracemalloc
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import ImageError
from mt_perception.image.encodings import ENCODINGS, MAX_SIDE, to_bgr

# One row of four pixels: red, green, blue, and a dark orange.
RGB = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [100, 50, 10]]], np.uint8)
BGR = RGB[..., ::-1]
ALPHA = np.full((1, 4, 1), 77, np.uint8)
BIG_ENDIAN = [False, True]


def convert(pixels: np.ndarray, encoding: str, *, is_bigendian: bool = False) -> np.ndarray:
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels)
    return to_bgr(data, encoding, height, width, data.nbytes // height, is_bigendian)


def reason(*args: object) -> str:
    with pytest.raises(ImageError) as caught:
        to_bgr(*args)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ('encoding', 'pixels'),
    [
        ('rgb8', RGB),
        ('bgr8', BGR),
        ('8UC3', BGR),
        ('rgba8', np.concatenate([RGB, ALPHA], axis=2)),
        ('bgra8', np.concatenate([BGR, ALPHA], axis=2)),
        ('8UC4', np.concatenate([BGR, ALPHA], axis=2)),
    ],
)
def test_eight_bit_colour(encoding: str, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(convert(pixels, encoding), BGR)


@pytest.mark.parametrize('is_bigendian', BIG_ENDIAN)
@pytest.mark.parametrize(
    ('encoding', 'pixels'),
    [
        ('rgb16', RGB),
        ('bgr16', BGR),
        ('rgba16', np.concatenate([RGB, ALPHA], axis=2)),
        ('bgra16', np.concatenate([BGR, ALPHA], axis=2)),
    ],
)
def test_sixteen_bit_colour(encoding: str, pixels: np.ndarray, is_bigendian: bool) -> None:
    wide = (pixels.astype(np.uint16) * 257).astype('>u2' if is_bigendian else '<u2')
    np.testing.assert_array_equal(convert(wide, encoding, is_bigendian=is_bigendian), BGR)


@pytest.mark.parametrize('encoding', ['RGB8', 'rgb8 ', 'Rgb8'])
def test_case_and_blanks_of_a_name_do_not_matter(encoding: str) -> None:
    np.testing.assert_array_equal(convert(RGB, encoding), BGR)


@pytest.mark.parametrize('is_bigendian', BIG_ENDIAN)
@pytest.mark.parametrize('kind', ['f4', 'f8'])
@pytest.mark.parametrize('full', [1.0, 255.0])
def test_colours_of_floating_point(kind: str, full: float, is_bigendian: bool) -> None:
    bits = 8 * np.dtype(kind).itemsize
    order = '>' if is_bigendian else '<'
    pixels = (BGR / 255 * full).astype(order + kind)
    image = convert(pixels, f'{bits}FC3', is_bigendian=is_bigendian)
    np.testing.assert_array_equal(image, BGR)
    four = np.concatenate([pixels, pixels[..., :1]], axis=2).astype(pixels.dtype)
    image = convert(four, f'{bits}FC4', is_bigendian=is_bigendian)
    np.testing.assert_array_equal(image, BGR)


def test_sixteen_bit_colour_without_a_name() -> None:
    np.testing.assert_array_equal(convert(BGR.astype(np.uint16) * 257, '16UC3'), BGR)


@pytest.mark.parametrize('kind', ['i1', 'i2', 'i4', 'f8'])
def test_signed_and_double_intensities_are_stretched(kind: str) -> None:
    values = np.repeat(np.array([-100, -50, 0]), 100).reshape(30, 10).astype(kind)
    name = {'i1': '8SC1', 'i2': '16SC1', 'i4': '32SC1', 'f8': '64FC1'}[kind]
    shown = convert(values, name)[::14, 0, 0]
    np.testing.assert_allclose(shown, [0, 128, 255], atol=1)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_mono8(encoding: str) -> None:
    grey = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
    np.testing.assert_array_equal(convert(grey, encoding), np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize('is_bigendian', BIG_ENDIAN)
def test_mono16_is_scaled_from_its_full_range(is_bigendian: bool) -> None:
    grey = np.array([[0, 257, 128 * 257, 65535, 129]], '>u2' if is_bigendian else '<u2')
    expected = np.array([0, 1, 128, 255, 1])  # 129 / 257 rounds up.
    image = convert(grey, 'mono16', is_bigendian=is_bigendian)
    np.testing.assert_array_equal(image[0], np.stack([expected] * 3, axis=1))


@pytest.mark.parametrize('is_bigendian', BIG_ENDIAN)
@pytest.mark.parametrize(('encoding', 'kind'), [('16UC1', 'u2'), ('32FC1', 'f4')])
def test_without_nominal_range_the_image_is_stretched(
    encoding: str, kind: str, is_bigendian: bool
) -> None:
    # A thermal image: everything lies in a narrow band far from zero.
    values = np.repeat(np.array([21000, 21500, 22000]), 100).reshape(30, 10)
    pixels = values.astype(('>' if is_bigendian else '<') + kind)
    image = convert(pixels, encoding, is_bigendian=is_bigendian)
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[15, 0].tolist() == [128, 128, 128]
    assert image[29, 9].tolist() == [255, 255, 255]


def test_one_hot_pixel_does_not_darken_the_rest() -> None:
    pixels = np.tile(np.linspace(1, 2, 100, dtype=np.float32), (100, 1))
    pixels[50, 50] = 1e30
    image = convert(pixels, '32FC1')
    assert image[0, 97, 0] > 240
    assert image[50, 50, 0] == 255


def test_what_is_not_finite_is_black() -> None:
    pixels = np.tile(np.linspace(1, 2, 50, dtype=np.float32), (50, 1))
    pixels[0, :3] = np.nan, np.inf, -np.inf
    image = convert(pixels, '32FC1')
    assert not image[0, :3].any()
    assert image[1, 49, 0] == 255
    assert not convert(np.full((4, 4), np.nan, np.float32), '32FC1').any()


# BT.601 in limited range, worked out by hand: 81 90 240 is red, 145 54 34 green, 41 240 110 blue.
YUV_RED, YUV_GREEN, YUV_BLUE = (81, 90, 240), (145, 54, 34), (41, 240, 110)
YUV = [(YUV_RED, (0, 0, 255)), (YUV_GREEN, (0, 255, 0)), (YUV_BLUE, (255, 0, 0))]


@pytest.mark.parametrize(('yuv', 'bgr'), YUV)
def test_yuv(yuv: tuple[int, int, int], bgr: tuple[int, int, int]) -> None:
    y, u, v = yuv
    pair = {
        'yuv422': [u, y, v, y],
        'uyvy': [u, y, v, y],
        'yuv422_yuy2': [y, u, y, v],
        'yuyv': [y, u, y, v],
    }
    for encoding, row in pair.items():
        image = to_bgr(bytes(row * 4), encoding, 2, 4, 8)
        np.testing.assert_allclose(image, np.broadcast_to(bgr, (2, 4, 3)), atol=2)
    image = to_bgr(bytes([y] * 8 + [u, v] * 8), 'nv24', 2, 4, 4)
    np.testing.assert_allclose(image, np.broadcast_to(bgr, (2, 4, 3)), atol=2)
    for encoding, planes in {
        'i420': [u, u, v, v],
        'yuv420p': [u, u, v, v],
        'yv12': [v, v, u, u],
    }.items():
        image = to_bgr(bytes([y] * 8 + planes), encoding, 2, 4, 4)
        np.testing.assert_allclose(image, np.broadcast_to(bgr, (2, 4, 3)), atol=2)
    for encoding, chroma in {'nv12': [u, v], 'nv21': [v, u]}.items():
        image = to_bgr(bytes([y] * 8 + chroma * 2), encoding, 2, 4, 4)
        np.testing.assert_allclose(image, np.broadcast_to(bgr, (2, 4, 3)), atol=2)


@pytest.mark.parametrize('is_bigendian', BIG_ENDIAN)
@pytest.mark.parametrize('depth', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('colour', 'rgb')
def test_bayer(pattern: str, colour: str, depth: int, is_bigendian: bool) -> None:
    """A mosaic of a scene of one colour: only the cells behind that filter are lit."""
    lit = np.array([255 if cell == colour else 0 for cell in pattern]).reshape(2, 2)
    mosaic = np.tile(lit, (4, 4)).astype(np.uint8)
    if depth == 16:
        mosaic = (mosaic.astype(np.uint16) * 257).astype('>u2' if is_bigendian else '<u2')
    image = convert(mosaic, f'bayer_{pattern}{depth}', is_bigendian=is_bigendian)
    expected = np.broadcast_to([255 * (c == colour) for c in 'bgr'], (4, 4, 3))
    np.testing.assert_array_equal(image[2:6, 2:6], expected)


PAIRS = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv')
HALF_CHROMA = ('nv12', 'nv21', 'i420', 'yuv420', 'yuv420p', 'yv12')


def pixel_bytes(encoding: str) -> int:
    """Bytes of one pixel in a row, as the name of an encoding tells them."""
    if found := re.fullmatch(r'(\d+)[USF]C(\d)', encoding):
        return int(found[1]) // 8 * int(found[2])
    if found := re.fullmatch(r'(rgb|bgr)(a?)(8|16)', encoding):
        return (4 if found[2] else 3) * int(found[3]) // 8
    return 2 if encoding.endswith('16') or encoding in PAIRS else 1


def bytes_for(encoding: str, height: int, width: int) -> tuple[bytes, int]:
    """Random but valid data of an encoding, and its step."""
    step = width * pixel_bytes(encoding)
    rows = 3 * height if encoding == 'nv24' else height
    rows = height * 3 // 2 if encoding in HALF_CHROMA else rows
    rng = np.random.default_rng(len(encoding))
    if 'F' in encoding:
        kind = 'f4' if encoding.startswith('32') else 'f8'
        return rng.random(rows * step // np.dtype(kind).itemsize).astype(kind).tobytes(), step
    return rng.integers(0, 256, rows * step, np.uint8).tobytes(), step


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_a_padded_step_changes_nothing(encoding: str) -> None:
    data, step = bytes_for(encoding, 6, 8)
    packed = to_bgr(data, encoding, 6, 8, step)
    rows = np.frombuffer(data, np.uint8).reshape(-1, step)
    # 5 bytes of padding leave 16-bit rows on odd addresses.
    padded = np.pad(rows, ((0, 0), (0, 5)), constant_values=255)
    np.testing.assert_array_equal(to_bgr(padded.tobytes(), encoding, 6, 8, step + 5), packed)


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('size', [(1, 2), (2, 1), (1, 7), (7, 1), (2, 2), (3, 5), (4, 4)])
def test_any_size_converts_or_is_refused(encoding: str, size: tuple[int, int]) -> None:
    data, step = bytes_for(encoding, *size)
    columns_in_pairs = encoding in (*PAIRS, *HALF_CHROMA)
    rows_in_pairs = encoding in HALF_CHROMA
    if (columns_in_pairs and size[1] % 2) or (rows_in_pairs and size[0] % 2):
        assert reason(data, encoding, *size, step) == 'odd_size'
    else:
        image = to_bgr(data, encoding, *size, step)
        assert image.shape == (*size, 3)
        assert image.dtype == np.uint8


def test_8k() -> None:
    image = to_bgr(bytes(4320 * 7680), 'mono8', 4320, 7680, 7680)
    assert image.shape == (4320, 7680, 3)


def test_any_buffer_is_taken() -> None:
    data = BGR.tobytes()
    readonly = np.frombuffer(data, np.uint8)
    spread = np.zeros(2 * len(data), np.uint8)
    spread[::2] = readonly
    buffers = [
        data,
        bytearray(data),
        memoryview(data),
        array('B', data),
        readonly,
        spread[::2],
        memoryview(spread)[::2],
    ]
    for buffer in buffers:
        np.testing.assert_array_equal(to_bgr(buffer, 'bgr8', 1, 4, 12), BGR)


def test_packed_bgr8_is_not_copied_and_cannot_be_written() -> None:
    data = bytearray(BGR.tobytes())
    image = to_bgr(data, 'bgr8', 1, 4, 12)
    assert np.shares_memory(image, np.frombuffer(data, np.uint8))
    assert image.flags.c_contiguous
    with pytest.raises(ValueError, match='read-only'):
        image[0, 0, 0] = 1
    data[0] = 7  # The message itself stays writable.


def test_unknown_and_empty_encodings() -> None:
    assert reason(b'abc', 'h264', 1, 1, 3) == 'unknown_encoding'
    assert reason(b'abc', 'x' * 100_000, 1, 1, 3) == 'unknown_encoding'
    assert reason(b'abc', '', 1, 1, 3) == 'empty_encoding'


@pytest.mark.parametrize(
    ('length', 'height', 'width', 'step', 'expected'),
    [
        (11, 1, 4, 12, 'short_data'),
        (0, 1, 4, 12, 'short_data'),
        (13, 1, 4, 12, 'long_data'),
        (12, 1, 4, 11, 'short_step'),
        (12, 1, 4, 0, 'short_step'),
        (12, 1, 4, -12, 'short_step'),
        (12, 0, 4, 12, 'zero_size'),
        (12, 1, 0, 12, 'zero_size'),
        (0, 0, 0, 0, 'zero_size'),
        (3, 1, 1, 3, 'too_small'),
        (12, 1, MAX_SIDE + 1, 2**32 - 1, 'too_large'),
        (12, 2**32 - 1, 2**32 - 1, 2**32 - 1, 'too_large'),
        (12, MAX_SIDE, MAX_SIDE, 2**32 - 1, 'too_large'),
        (12, 8000, 8000, 2**32 - 1, 'short_data'),
    ],
)
def test_sizes_that_lie_cost_nothing(
    length: int, height: int, width: int, step: int, expected: str
) -> None:
    data = bytes(length)
    tracemalloc.start()
    try:
        assert reason(data, 'bgr8', height, width, step) == expected
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(
    data=st.binary(max_size=200),
    encoding=st.sampled_from((*ENCODINGS, '', 'yuv')),
    height=st.integers(-1, 2**32),
    width=st.integers(-1, 2**32) | st.integers(1, 8),
    step=st.integers(0, 2**32) | st.integers(0, 40),
    is_bigendian=st.booleans(),
)
def test_anything_converts_or_is_an_image_error(
    data: bytes, encoding: str, height: int, width: int, step: int, is_bigendian: bool
) -> None:
    try:
        image = to_bgr(data, encoding, height, width, step, is_bigendian)
    except ImageError:
        return
    assert image.shape == (height, width, 3)
