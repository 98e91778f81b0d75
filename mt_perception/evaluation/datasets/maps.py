# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth and label images: from PNG bytes to arrays at the size of the camera image."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError
from mt_perception.image.encodings import MAX_PIXELS

_PNG = b'\x89PNG\r\n\x1a\n'


def decode_map(data: bytes, what: str) -> NDArray[Any]:
    """Decode a PNG with one channel of 8 or 16 bits.

    Args:
        data: The file's bytes.
        what: Name of the image for the error.

    Returns:
        uint8 or uint16 (H, W).

    Raises:
        SourceError: It is no such PNG, is damaged, or would need too much memory.
    """
    header = data[:33]
    if len(header) < 33 or not header.startswith(_PNG) or header[12:16] != b'IHDR':
        raise SourceError(f'{what} is not a PNG; depth and label images must be')
    # Looked at before anything is decoded: a few bytes can declare gigabytes.
    width, height, depth, colour = struct.unpack('>IIBB', header[16:26])
    if not 0 < width * height <= MAX_PIXELS:
        raise SourceError(
            f'{what} declares {width}x{height} pixels; at most {MAX_PIXELS} are read'
        )
    if colour != 0 or depth not in (8, 16):
        raise SourceError(
            f'{what} is a PNG of colour type {colour} with {depth} bits; expected grey with 8 or '
            '16 bits, where the pixel is the class id or the depth'
        )
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2:
        raise SourceError(f'{what} is a damaged PNG')
    return np.asarray(values, np.uint8 if depth == 8 else np.uint16)


def metres(millimetres: NDArray[Any]) -> NDArray[np.float32]:
    """Depth in metres, float32 with NaN where the sensor had no measurement (0)."""
    depth = millimetres.astype(np.float32) / np.float32(1000)
    depth[millimetres == 0] = np.nan
    return depth


def valid_metres(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy with NaN where depth is not a positive, finite number (REP-117, REP-118)."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


def at_size(values: NDArray[Any], size: tuple[int, int], what: str) -> NDArray[Any]:
    """Nearest-neighbour resize to (height, width); classes and edges of depth stay unmixed.

    Raises:
        SourceError: The image is of another shape, so that it cannot be of the same view.
    """
    if values.shape == size:
        return values
    height, width = values.shape
    # Rounding of a thumbnail's size is fine; a crop or another camera is not.
    if abs(height * size[1] - width * size[0]) > 2 * max(height, width, *size):
        raise SourceError(
            f'{what} has {width}x{height} pixels, which is another shape than the image of '
            f'{size[1]}x{size[0]}; register it to the image first'
        )
    rows = (np.arange(size[0]) + 0.5) * (height / size[0])
    columns = (np.arange(size[1]) + 0.5) * (width / size[1])
    resized: NDArray[Any] = values[np.ix_(rows.astype(np.intp), columns.astype(np.intp))]
    return resized
