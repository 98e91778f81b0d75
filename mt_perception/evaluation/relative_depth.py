# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth of a network that knows the shape of a scene but not its size."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.types import DepthMap


@dataclass(frozen=True, eq=False)
class RelativeDepth(DepthMap):
    """A depth map whose *inverse* is right up to an unknown factor and an unknown shift.

    It is in metres only after it was fitted to the truth, and judged only so.
    """
