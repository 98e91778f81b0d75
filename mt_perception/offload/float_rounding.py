# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rounding of float32 to as many bits as a relative error needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MANTISSA_BITS = 23
"""Mantissa bits of a float32."""


def mantissa_bits(error: float) -> int:
    """Mantissa bits that a relative error needs, rounded to the nearest."""
    return math.ceil(-math.log2(min(error, 0.5))) - 1


def rounded(value: NDArray[np.float32], error: float) -> NDArray[np.float32]:
    """Round finite values with a relative error; the bits that are not needed become 0."""
    dropped = np.uint32(max(MANTISSA_BITS - mantissa_bits(error), 0))
    half = np.uint32(1) << dropped >> np.uint32(1)
    bits = np.ascontiguousarray(value).view(np.uint32)
    # A carry would make the largest numbers infinite; they are rounded towards 0.
    down = (bits >> dropped << dropped).view(np.float32)
    up = ((bits + half) >> dropped << dropped).view(np.float32)
    nearest: NDArray[np.float32] = np.where(np.isfinite(up), up, down)
    return nearest
