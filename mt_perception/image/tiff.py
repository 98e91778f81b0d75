# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TIFF directories (TIFF 6.0, section 2): tags of a TIFF file and of an EXIF block."""

from __future__ import annotations

import struct
from collections.abc import Iterator

ORIENTATION = 274
"""Tag of the EXIF orientation."""

_MAX_ENTRIES = 4096
_INTEGER_BYTES = {1: 1, 3: 2, 4: 4}


def read_tags(content: bytes) -> Iterator[tuple[int, int]]:
    """Tag and first value of each integer entry of the first directory.

    Raises:
        ValueError: The directory ends too early.
    """
    order = '<' if content[:2] == b'II' else '>'
    (at,) = struct.unpack(order + 'I', content[4:8].ljust(4, b'\0'))
    entries = content[at : at + 2]
    if len(entries) < 2:
        raise ValueError('no directory')
    (count,) = struct.unpack(order + 'H', entries)
    for first in range(at + 2, at + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        entry = content[first : first + 12]
        if len(entry) < 12:
            raise ValueError('the directory is truncated')
        tag, kind, number = struct.unpack(order + 'HHI', entry[:8])
        size = _INTEGER_BYTES.get(kind, 0)
        if not size or not number:
            continue
        value = entry[8 : 8 + size]
        if size * number > 4:
            (pointer,) = struct.unpack(order + 'I', entry[8:])
            value = content[pointer : pointer + size]
            if pointer + size * number > len(content):
                raise ValueError('a value lies behind the end')
        yield tag, int.from_bytes(value, 'little' if order == '<' else 'big')


def exif_orientation(tiff: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block; 1 where there is none."""
    if tiff[:4] not in (b'II*\0', b'MM\0*'):
        return 1
    try:
        return valid_orientation(dict(read_tags(tiff)).get(ORIENTATION, 1))
    except ValueError:
        return 1


def valid_orientation(orientation: int) -> int:
    """The value itself if it is one of the eight, else 1."""
    return orientation if 1 <= orientation <= 8 else 1
