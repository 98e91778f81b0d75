# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""RVL depth: what an encoder of the paper's listing writes comes back; damage is an ImageError."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mt_perception.errors import ImageError
from mt_perception.image.rvl import decode_rvl


def encoded(image: np.ndarray) -> bytes:
    """The encoder of the paper's first listing, pixel by pixel."""
    nibbles: list[int] = []

    def number(value: int) -> None:
        while True:
            digit, value = value & 7, value >> 3
            nibbles.append(digit | (8 if value else 0))
            if not value:
                return

    values, at, previous = image.reshape(-1).astype(int).tolist(), 0, 0
    while at < len(values):
        begin = at
        while at < len(values) and not values[at]:
            at += 1
        number(at - begin)
        begin = at
        while at < len(values) and values[at]:
            at += 1
        number(at - begin)
        for value in values[begin:at]:
            delta = value - previous
            number(2 * delta if delta >= 0 else -2 * delta - 1)
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [
        sum(n << 4 * (7 - i) for i, n in enumerate(nibbles[k : k + 8]))
        for k in range(0, len(nibbles), 8)
    ]
    return struct.pack(f'<ii{len(words)}I', image.shape[1], image.shape[0], *words)


@given(arrays(np.uint16, (5, 7), elements=st.sampled_from([0, 0, 1, 1500, 1501, 65535])))
def test_what_is_encoded_comes_back(image: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_rvl(encoded(image)), image)


def test_a_whole_image() -> None:
    image = np.tile(np.linspace(0, 9000, 640).astype(np.uint16), (480, 1))
    np.testing.assert_array_equal(decode_rvl(encoded(image)), image)


@given(st.binary(max_size=80), st.integers(0, 40), st.integers(-3, 40))
def test_damage_is_an_image_error(noise: bytes, width: int, height: int) -> None:
    try:
        image = decode_rvl(struct.pack('<ii', width, height) + noise)
    except ImageError:
        return
    assert image.shape == (height, width)


@pytest.mark.parametrize('size', [(1 << 30, 1 << 30), (-1, 5), (0, 0)])
def test_sizes_that_lie(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError):
        decode_rvl(struct.pack('<ii', *size) + bytes(8))


def test_a_cut_image() -> None:
    data = encoded(np.full((8, 8), 1500, np.uint16))
    for keep in (0, 7, 8, 11, len(data) - 4):
        with pytest.raises(ImageError):
            decode_rvl(data[:keep])


def test_a_number_has_at_most_nine_nibbles_and_a_run_ends_in_the_image() -> None:
    """One row of two pixels: no zeros, then runs whose length is spelt out."""

    def reason(*words: int) -> str:
        with pytest.raises(ImageError) as caught:
            decode_rvl(struct.pack(f'<ii{len(words)}I', 2, 1, *words))
        return f'{caught.value.reason}: {caught.value}'

    # The runs 0 and 2, the differences 3 and -1; a difference may have zeros behind it.
    assert decode_rvl(struct.pack('<iiI', 2, 1, 0x02610000)).tolist() == [[3, 2]]
    nine = struct.pack('<iiII', 2, 1, 0x02E88888, 0x88010000)
    assert decode_rvl(nine).tolist() == [[3, 2]]
    assert 'a number is too long' in reason(0x02E88888, 0x88801000)
    assert 'undecodable: the RVL depth image is damaged: a run' in reason(0x03222000)
    assert 'undecodable: the RVL depth image is damaged: a run' in reason(0x12222000)
    assert 'truncated: the RVL depth image of 2x1 is truncated' in reason(0x00888888)
    # Black behind the last difference, and values that wrap at 16 bits.
    assert decode_rvl(struct.pack('<iiI', 3, 1, 0x11210000)).tolist() == [[0, 1, 0]]
    assert decode_rvl(struct.pack('<iiI', 2, 1, 0x02130000)).tolist() == [[65535, 65533]]
