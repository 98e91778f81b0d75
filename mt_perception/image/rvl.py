# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""RVL, the lossless depth codec of compressed_depth_image_transport.

Wilson, "Fast Lossless Depth Image Compression", ISS 2017: runs of zeros and of differences, as
numbers of three bits a nibble.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ImageError
from mt_perception.image.encodings import check_size

# Differences of 16-bit values have 17 bits and a sign: six nibbles; counts of pixels nine.
_MOST_NIBBLES = 9

# The first nibble of a word is the highest.
_SHIFTS = np.array([28, 24, 20, 16, 12, 8, 4, 0], np.uint32)


def decode_rvl(data: bytes) -> NDArray[np.uint16]:
    """Decode an image with its size before it, as two 32-bit numbers: width, height.

    Args:
        data: The bytes behind the header of ``compressedDepth``.

    Returns:
        uint16 (H, W), 0 where there was no measurement.

    Raises:
        ImageError: The data is truncated or damaged, or declares more pixels than a camera has.
    """
    if len(data) < 8:
        raise ImageError('truncated', 'the RVL depth image ends before its size')
    width, height = struct.unpack('<ii', data[:8])
    check_size(height, width)
    numbers = _numbers(data[8:])
    pixels = np.zeros(height * width, np.uint16)
    at, index, previous = 0, 0, 0
    while index < len(pixels):
        if at + 2 > len(numbers):
            raise ImageError('truncated', f'the RVL depth image of {width}x{height} is truncated')
        index += int(numbers[at])
        count = int(numbers[at + 1])
        coded = numbers[at + 2 : at + 2 + count]
        if index + count > len(pixels) or len(coded) < count:
            raise ImageError('undecodable', 'the RVL depth image is damaged: a run is too long')
        # Zigzag: 0, -1, 1, -2 … as 0, 1, 2, 3 …
        values = previous + np.cumsum((coded >> 1) ^ -(coded & 1))
        pixels[index : index + count] = values.astype(np.uint16)
        previous = int(values[-1]) if count else previous
        index, at = index + count, at + 2 + count
    return pixels.reshape(height, width)


def _numbers(data: bytes) -> NDArray[np.int64]:
    """All numbers: three bits a nibble, low ones first; the fourth bit says that more follow."""
    words = np.frombuffer(data[: len(data) // 4 * 4], '<u4')
    nibbles = ((words[:, None] >> _SHIFTS) & 15).reshape(-1)
    ends = np.flatnonzero(nibbles < 8)
    starts = np.concatenate([np.zeros(1, np.intp), ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > _MOST_NIBBLES:
        raise ImageError('undecodable', 'the RVL depth image is damaged: a number is too long')
    numbers = np.zeros(len(ends), np.int64)
    for place in range(int(lengths.max()) if len(lengths) else 0):
        has = lengths > place
        digits = nibbles[starts[has] + place].astype(np.int64) & 7
        numbers[has] |= digits << (3 * place)
    return numbers
