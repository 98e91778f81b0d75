# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy over bytes: what a codec needs to be as accurate as another one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Points = Sequence[tuple[float, float]]
"""(bytes of a frame, accuracy) of one kind of codec."""


def bytes_needed(points: Points, goal: float, rises: bool) -> float | None:
    """The bytes at which a curve reaches an accuracy, between its points on a line.

    Args:
        points: The curve, in any order.
        goal: The accuracy.
        rises: Whether more of it is better.

    Returns:
        The bytes; those of the cheapest point where that is good enough already; None where no
        point is.
    """
    sign = 1 if rises else -1
    curve = sorted((size, sign * value) for size, value in points)
    goal *= sign
    if curve and curve[0][1] >= goal:
        return curve[0][0]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if y1 >= goal:
            return x0 + (x1 - x0) * (goal - y0) / (y1 - y0)
    return None
