# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth and label images from PNGs and messages."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_bags import compressed_message, header, image_message, png

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.maps import at_size, decode_map, metres
from mt_perception.evaluation.datasets.truth_messages import decode_depth, decode_labels


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_png_keeps_every_value(dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 9)).astype(dtype)
    decoded = decode_map(png(values), 'x')
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, values)


def test_png_bomb_is_refused_before_it_is_decoded() -> None:
    body = struct.pack('>IIBBBBB', 60000, 60000, 16, 0, 0, 0, 0)
    chunk = b'IHDR' + body
    data = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk
    data += struct.pack('>I', zlib.crc32(chunk))
    with pytest.raises(SourceError, match='60000x60000'):
        decode_map(data, 'x')


def test_what_is_no_map_is_refused() -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    good = png(np.zeros((40, 40), np.uint8))
    jpeg = cv2.imencode('.jpg', colour)[1].tobytes()
    for data in (b'', b'x' * 100, jpeg, png(colour), good[:40]):
        with pytest.raises(SourceError, match=r'^the map'):
            decode_map(data, 'the map')


def test_zero_millimetres_are_unknown() -> None:
    depth = metres(np.uint16([[0, 1500]]))
    assert np.isnan(depth[0, 0])
    assert depth[0, 1] == np.float32(1.5)
    assert depth.dtype == np.float32


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 4))
def test_enlarging_repeats_pixels(height: int, width: int, factor: int) -> None:
    values = np.arange(height * width).reshape(height, width)
    large = at_size(values, (height * factor, width * factor), 'x')
    np.testing.assert_array_equal(large, values.repeat(factor, 0).repeat(factor, 1))
    np.testing.assert_array_equal(at_size(large, (height, width), 'x'), values)


def test_another_shape_is_refused() -> None:
    with pytest.raises(SourceError, match=r'640x480 .* 1280x720; register'):
        at_size(np.zeros((480, 640)), (720, 1280), 'depth')
    assert at_size(np.zeros((186, 280)), (279, 420), 'depth').shape == (279, 420)


def test_padded_and_big_endian_depth() -> None:
    values = np.uint16([[1, 2, 3], [400, 500, 60000]])
    message = image_message(header(1), values, '16UC1')
    padded = np.zeros((2, 10), np.uint8)
    padded[:, :6] = values.byteswap().view(np.uint8)
    message.data, message.step, message.is_bigendian = padded.reshape(-1), 10, 1
    np.testing.assert_array_equal(decode_depth(message), metres(values))


@pytest.mark.parametrize(
    'fault',
    [{'step': 2}, {'height': 3}, {'width': 0}, {'encoding': 'rgb8'}, {'height': 2**31}],
)
def test_depth_message_that_contradicts_itself(fault: dict[str, object]) -> None:
    message = image_message(header(1), np.zeros((2, 3), np.uint16), '16UC1')
    for name, value in fault.items():
        setattr(message, name, value)
    with pytest.raises(SourceError):
        decode_depth(message)


def test_compressed_depth_faults() -> None:
    for data in (b'', b'123', bytes(12), bytes(12) + png(np.zeros((4, 4), np.uint8))):
        with pytest.raises(SourceError):
            decode_depth(compressed_message(header(1), '16UC1; compressedDepth', data))


def test_plain_png_depth_and_labels() -> None:
    values = np.uint16([[0, 1000], [2000, 3000]])
    np.testing.assert_array_equal(
        decode_depth(compressed_message(header(1), 'png', png(values))), metres(values)
    )
    labels = np.uint8([[0, 1], [2, 255]])
    np.testing.assert_array_equal(
        decode_labels(compressed_message(header(1), 'png', png(labels))), labels
    )
    with pytest.raises(SourceError, match='expected mono8'):
        decode_labels(image_message(header(1), np.zeros((2, 2, 3), np.uint8), 'bgr8'))
