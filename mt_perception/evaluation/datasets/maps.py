# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth and label images: from PNG bytes to arrays at the size of the camera image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.datasets.annotations import MAX_FILE_BYTES, check_aspect
from mt_perception.image.headers import read_header

MILLIMETRES = 1000.0
"""Units of a depth image per metre."""

_PNG = b'\x89PNG\r\n\x1a\n'
_GREY, _PALETTE = 0, 3
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}


def read_label_map(path: Path) -> NDArray[Any]:
    """Read a label image: a PNG whose grey value or palette index is the class id.

    Returns:
        uint8 or uint16 (H, W).

    Raises:
        SourceError: The file cannot be read or is no such PNG.
    """
    return decode_map(_read(path), str(path))


def read_depth_map(path: Path, units_per_metre: float = MILLIMETRES) -> NDArray[np.float32]:
    """Read a depth image: a PNG with one channel, 0 where the sensor had no measurement.

    Args:
        path: The PNG.
        units_per_metre: 1000 for millimetres, 5000 for TUM RGB-D.

    Returns:
        float32 (H, W) metres, NaN where unknown.

    Raises:
        SourceError: The file cannot be read or is no such PNG.
    """
    return metres(decode_map(_read(path), str(path)), units_per_metre)


def decode_map(data: bytes, what: str) -> NDArray[Any]:
    """Decode a PNG with one channel: grey of 1 to 16 bits, or the indices of a palette.

    Args:
        data: The file's bytes.
        what: Name of the image for the error.

    Returns:
        uint8 or uint16 (H, W); values as stored, never scaled to the range of the type.

    Raises:
        SourceError: It is no such PNG, is damaged, or would need too much memory.
    """
    header = data[:33]
    if len(header) < 33 or not header.startswith(_PNG) or header[12:16] != b'IHDR':
        raise SourceError(f'{what} is not a PNG; depth and label images must be')
    # Checked before anything is decoded: a few bytes can declare gigabytes.
    try:
        read_header(data)
    except ImageError as error:
        raise SourceError(f'{what}: {error}') from error
    depth, colour = header[24], header[25]
    if depth not in _DEPTHS.get(colour, ()):
        raise SourceError(
            f'{what} is a PNG of colour type {colour} with {depth} bits; expected grey or a '
            'palette, where the value or the index is the class id or the depth'
        )
    if colour == _PALETTE:
        data = _indices_as_grey(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2:
        raise SourceError(f'{what} is a damaged PNG')
    if depth < 8:
        # The decoder spreads few bits over 0 to 255: 15 of 4 bits becomes 255.
        values = values // (255 // ((1 << depth) - 1))
    return np.asarray(values, np.uint16 if depth == 16 else np.uint8)


def metres(values: NDArray[Any], units_per_metre: float = MILLIMETRES) -> NDArray[np.float32]:
    """Depth in metres, float32 with NaN where the sensor had no measurement (0)."""
    depth = values.astype(np.float32) / np.float32(units_per_metre)
    depth[values == 0] = np.nan
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
    check_aspect((height, width), size, what)
    rows = (np.arange(size[0]) + 0.5) * (height / size[0])
    columns = (np.arange(size[1]) + 0.5) * (width / size[1])
    resized: NDArray[Any] = values[np.ix_(rows.astype(np.intp), columns.astype(np.intp))]
    return resized


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SourceError(f'{path} is larger than {MAX_FILE_BYTES} bytes')
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error


def _indices_as_grey(data: bytes) -> bytes:
    """The same PNG with its colour type set to grey, so that a decoder leaves the indices."""
    header = data[12:25] + bytes([_GREY]) + data[26:29]
    chunks = [_PNG, data[8:12], header, struct.pack('>I', zlib.crc32(header))]
    at = 33
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], 'big')
        # Palette and transparency belong to the old colour type.
        if data[at + 4 : at + 8] not in (b'PLTE', b'tRNS', b'bKGD', b'hIST'):
            chunks.append(data[at:end])
        at = end
    return b''.join(chunks)
