# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The mask of the cells that differ from a reference, as bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PayloadError

_WORD_BYTES = 4


def pack_mask(cells: NDArray[np.bool_]) -> bytes:
    """A mask (h, w) as bits, row by row, padded to words of 4 bytes."""
    bits = np.packbits(cells).tobytes()
    return bits + bytes(-len(bits) % _WORD_BYTES)


def unpack_mask(data: bytes, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], bytes]:
    """The mask (h, w) at the start of a code, and the rest of the code.

    Raises:
        PayloadError: The code is too short, or a padding bit is set.
    """
    cells = shape[0] * shape[1]
    end = -(-cells // (8 * _WORD_BYTES)) * _WORD_BYTES
    bits = np.unpackbits(np.frombuffer(data[:end], np.uint8))
    if len(bits) != 8 * end or bits[cells:].any():
        raise PayloadError('corrupted', f'the code has no mask of {cells} cells')
    return bits[:cells].reshape(shape).astype(bool), data[end:]
