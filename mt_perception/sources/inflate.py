# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decompression with limits: a few kilobytes must not become gigabytes of memory or disk."""

from __future__ import annotations

import bz2
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lz4.frame import LZ4FrameDecompressor

from mt_perception.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT_VARIABLE = 'MT_PERCEPTION_INFLATE_MB'
"""Environment variable that replaces the limits: megabytes of one inflated chunk or file."""

_LEAST_BYTES = 64 << 20
_RATIO = 256
_MOST_BYTES = 4 << 30
_BLOCK_BYTES = 1 << 20

_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': LZ4FrameDecompressor,
    'bz2': bz2.BZ2Decompressor,
}


class InflateLimitError(BagError):
    """A chunk inflates beyond the limit; the recording is refused as a whole."""


def limit_bytes(compressed_bytes: int) -> int:
    """Most bytes that a chunk or file of a compressed size may inflate to.

    256 times its size and at least 64 MiB: images of a simulator inflate 100 times, files made
    for harm 60 000 times. The environment variable ``MT_PERCEPTION_INFLATE_MB`` replaces it.
    """
    chosen = os.environ.get(LIMIT_VARIABLE, '')
    if chosen.isdecimal():
        return int(chosen) << 20
    return min(_MOST_BYTES, max(_LEAST_BYTES, _RATIO * compressed_bytes))


def inflate(data: bytes, compression: str) -> bytes:
    """Decompress a chunk or message.

    Args:
        data: The compressed bytes.
        compression: ``zstd``, ``lz4`` or ``bz2``; empty or ``none`` for plain bytes.

    Raises:
        InflateLimitError: It inflates beyond the limit.
        BagError: It is damaged, or its compression is not known.
    """
    if compression in ('', 'none'):
        return data
    if compression not in _DECOMPRESSORS:
        raise BagError(
            f'compression {compression[:40]!r} is not known; expected '
            f'{", ".join(_DECOMPRESSORS)} or none'
        )
    limit, parts, total = limit_bytes(len(data)), [], 0
    while data:
        decompressor = _DECOMPRESSORS[compression]()
        try:
            part = decompressor.decompress(data, limit + 1 - total)
        except (OSError, EOFError, RuntimeError, ValueError, zstd.ZstdError) as error:
            raise BagError(f'a {compression} chunk is damaged: {error}') from error
        parts.append(part)
        total += len(part)
        if total > limit:
            raise _beyond(limit, len(data))
        if not decompressor.eof:
            raise BagError(f'a {compression} chunk is truncated')
        data = decompressor.unused_data or b''
    return parts[0] if len(parts) == 1 else b''.join(parts)


def inflate_file(source: Path, target: Path) -> None:
    """Decompress a zstd file into another one.

    Raises:
        InflateLimitError: It inflates beyond the limit.
        BagError: It is damaged.
    """
    limit = limit_bytes(source.stat().st_size)
    total = 0
    try:
        with zstd.open(source, 'rb') as packed, target.open('wb') as plain:
            while block := packed.read(_BLOCK_BYTES):
                total += len(block)
                if total > limit:
                    raise _beyond(limit, source.stat().st_size)
                plain.write(block)
    except (EOFError, zstd.ZstdError) as error:
        raise BagError(f'{source.name} is damaged: {error}') from error


def _beyond(limit: int, compressed_bytes: int) -> InflateLimitError:
    return InflateLimitError(
        f'{compressed_bytes} compressed bytes inflate to more than {limit >> 20} MB, expected at '
        f'most {_RATIO} times as many; if the bag is sound, set {LIMIT_VARIABLE} higher'
    )
