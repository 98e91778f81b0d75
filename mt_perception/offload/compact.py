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

_LEVELS = 1 << 16
_SMALLEST = 1e-9
"""What is nearer than this is no depth; it becomes 0, as everything that is not positive."""


def packed(value: NDArray[np.float32], precision: float) -> tuple[NDArray[np.uint16], float]:
    """Pack a map.

    Args:
        value: float32 (1, h, w), finite.
        precision: Largest relative error wanted; larger where 65535 steps do not reach.

    Returns:
        uint16 (1, h, w) differences of steps, modulo 2^16, and the step.
    """
    positive = value > _SMALLEST
    logs = np.log(np.where(positive, value, 1.0).astype(np.float64) / _SMALLEST)
    step = max(2 * np.log1p(precision), float(logs.max(initial=0.0)) / (_LEVELS - 2))
    levels = np.where(positive, 1 + np.rint(logs / step), 0).astype(np.uint16)
    # Differences along both axes: what remains is what no neighbour foretold.
    rows = np.diff(levels, axis=2, prepend=np.uint16(0))
    return np.diff(rows, axis=1, prepend=np.uint16(0)), step


def unpacked(value: NDArray[Any], step: float) -> NDArray[np.float32]:
    """Unpack a map.

    Args:
        value: What ``packed`` made.
        step: The step that belongs to it.

    Returns:
        float32 (1, h, w).

    Raises:
        ProtocolError: It is no packed map, or the step is out of range.
    """
    if value.dtype != np.uint16 or value.ndim != 3 or not 0 < step < 1:
        raise ProtocolError(
            f'a packed tensor must be UINT16 with three sizes and a step in (0, 1); found '
            f'{value.dtype} {value.shape} and {step}'
        )
    rows = np.cumsum(value, axis=1, dtype=np.uint16)
    levels = np.cumsum(rows, axis=2, dtype=np.uint16)
    with np.errstate(over='ignore'):
        maps = (_SMALLEST * np.exp((levels.astype(np.float64) - 1) * step)).astype(np.float32)
    return np.where(levels > 0, maps, np.float32(0))
