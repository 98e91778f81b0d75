# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth maps in a form that deflate makes small: logarithmic steps, and differences of them.

A depth map of 80×104 has 33 kB as floats and 29 kB deflated; of this, with a relative error of
0.1 %, remain 6 kB. On a link of 1 Mbit/s that is 0.2 s less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ProtocolError

STEP = 'log_step'
"""Parameter of an output: the logarithmic step; its presence says that the tensor is packed."""

BASE = 'log_base'
"""Parameter of an output: the smallest value."""

_LEVELS = 1 << 16


def packed(
    value: NDArray[np.float32], precision: float
) -> tuple[NDArray[np.uint16], float, float]:
    """Pack a map.

    Args:
        value: float32 (1, h, w), finite; what is not positive is no depth and becomes 0.
        precision: Largest relative error wanted; larger where 65535 steps do not reach.

    Returns:
        uint16 (1, h, w) differences of steps, modulo 2^16; the step; the smallest value.
    """
    positive = value > 0
    base = float(value[positive].min(initial=np.inf)) if positive.any() else 1.0
    logs = np.log(np.where(positive, value, base) / np.float64(base))
    step = max(2 * np.log1p(precision), float(logs.max(initial=0.0)) / (_LEVELS - 2))
    levels = np.where(positive, 1 + np.rint(logs / step), 0).astype(np.uint16)
    # Differences along both axes: what remains is what no neighbour foretold.
    rows = np.diff(levels, axis=2, prepend=np.uint16(0))
    return np.diff(rows, axis=1, prepend=np.uint16(0)), step, base


def unpacked(value: NDArray[Any], step: float, base: float) -> NDArray[np.float32]:
    """Unpack a map.

    Args:
        value: What ``packed`` made.
        step: The step that belongs to it.
        base: The smallest value.

    Returns:
        float32 (1, h, w).

    Raises:
        ProtocolError: It is no packed map, or the step or the base is out of range.
    """
    if value.dtype != np.uint16 or value.ndim != 3 or not (0 < step < 1 and 0 < base < np.inf):
        raise ProtocolError(
            'a packed tensor must be UINT16 with three sizes, a step in (0, 1), a base above 0; '
            f'found {value.dtype} {value.shape}, {step} and {base}'
        )
    rows = np.cumsum(value, axis=1, dtype=np.uint16)
    levels = np.cumsum(rows, axis=2, dtype=np.uint16)
    # What overflows is infinite, and refused with everything that is.
    with np.errstate(over='ignore'):
        maps = (base * np.exp((levels.astype(np.float64) - 1) * step)).astype(np.float32)
    return np.where(levels > 0, maps, np.float32(0))
