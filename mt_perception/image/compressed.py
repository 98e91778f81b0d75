# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed camera images: what they are and how large, read from the header before decoding."""

from __future__ import annotations

import re
from collections.abc import Callable

import cv2
import numpy as np

from mt_perception.errors import ImageError
from mt_perception.image.encodings import Buffer, Image, check_size

MAX_BYTES = 1 << 28

# In a JPEG's entropy-coded data 0xFF is followed by 0 or a restart marker; anything else ends it.
_JPEG_MARKER = re.compile(rb'\xff+[^\x00\xd0-\xd7\xff]')
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, 0xD9


def decode(data: Buffer, format_: str = '') -> Image:
    """Decode the bytes of a ``sensor_msgs/CompressedImage``.

    What counts is what the bytes are, not what the format string says: drivers write anything
    there (``jpeg``, ``jpg``, ``bgr8; jpeg compressed bgr8``, nothing at all). Pixels stay where
    the camera saw them: an EXIF orientation is ignored, because the intrinsics ignore it too.

    Args:
        data: A JPEG, PNG, WebP or BMP file.
        format_: What the message says about it; only quoted in errors.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        ImageError: The bytes are of another kind, truncated, damaged, or claim an image that is
            larger than any camera's.
    """
    view = data.data if isinstance(data, np.ndarray) else memoryview(data)
    if view.nbytes > MAX_BYTES:
        raise ImageError('too_large', f'a compressed image of {view.nbytes} bytes is refused')
    content = view.tobytes()
    height, width = _kind(content, format_)(content)
    check_size(height, width)
    try:
        image = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise ImageError('undecodable', f'the image cannot be decoded: {error}') from error
    if image is None or image.shape != (height, width, 3):
        raise ImageError(
            'undecodable', f'the image of {width}x{height} pixels is damaged; it cannot be decoded'
        )
    return np.asarray(image, np.uint8)


_SizeReader = Callable[[bytes], tuple[int, int]]


def _kind(content: bytes, format_: str) -> _SizeReader:
    """The reader of (height, width) for the kind of file that these bytes are."""
    if content[:3] == b'\xff\xd8\xff':
        return _jpeg_size
    if content[:8] == b'\x89PNG\r\n\x1a\n':
        return _png_size
    if content[:4] == b'RIFF' and content[8:12] == b'WEBP':
        return _webp_size
    if content[:2] == b'BM':
        return _bmp_size
    if content[12:20] == b'\x89PNG\r\n\x1a\n':
        raise ImageError(
            'compressed_depth',
            f'format {format_[:60]!r} is a depth image; expected a camera image',
        )
    raise ImageError(
        'unknown_compression',
        f'expected JPEG, PNG, WebP or BMP, found bytes {content[:8].hex(" ") or "(none)"} '
        f'with format {format_[:60]!r}',
    )


def _truncated(kind: str) -> ImageError:
    return ImageError('truncated', f'the {kind} ends before its image does; the message was cut')


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Walk the markers to the end; cv2 would fill the missing part of a cut file with grey."""
    size, at = None, 2
    while True:
        found = _JPEG_MARKER.search(content, at)
        if found is None:
            raise _truncated('JPEG')
        marker, at = content[found.end() - 1], found.end()
        if marker == _JPEG_END:
            break
        length = int.from_bytes(content[at : at + 2], 'big')
        if marker in _JPEG_SIZES:
            size = (
                int.from_bytes(content[at + 3 : at + 5], 'big'),
                int.from_bytes(content[at + 5 : at + 7], 'big'),
            )
            check_size(*size)
        at += length
    if size is None:
        raise ImageError('undecodable', 'the JPEG has no frame header')
    return size


def _png_size(content: bytes) -> tuple[int, int]:
    """Walk the chunks to IEND."""
    at = 8
    while content[at + 4 : at + 8] != b'IEND':
        at += 12 + int.from_bytes(content[at : at + 4], 'big')
        if at + 12 > len(content):
            raise _truncated('PNG')
    return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')


def _webp_size(content: bytes) -> tuple[int, int]:
    """Read the canvas of the extended, lossless or lossy form (RFC 9649, section 2)."""
    if len(content) < max(30, 8 + int.from_bytes(content[4:8], 'little')):
        raise _truncated('WebP')
    chunk = content[12:16]
    if chunk == b'VP8X':
        width = 1 + int.from_bytes(content[24:27], 'little')
        return 1 + int.from_bytes(content[27:30], 'little'), width
    if chunk == b'VP8L':
        bits = int.from_bytes(content[21:25], 'little')
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    width = int.from_bytes(content[26:28], 'little') & 0x3FFF
    return int.from_bytes(content[28:30], 'little') & 0x3FFF, width


def _bmp_size(content: bytes) -> tuple[int, int]:
    if len(content) < max(26, int.from_bytes(content[2:6], 'little')):
        raise _truncated('BMP')
    width = int.from_bytes(content[18:22], 'little', signed=True)
    # A negative height means that the top row comes first.
    return abs(int.from_bytes(content[22:26], 'little', signed=True)), width
