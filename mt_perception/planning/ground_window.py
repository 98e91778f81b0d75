# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of the ground over the last seconds, and the correction of depth from them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.geometry.ground import GroundMeasurement
from mt_perception.planning.ground_factors import smooth_log_factors
from mt_perception.reports import GROUND, ScaleReport

WINDOW_S = 5.0
"""Measurements of the ground younger than this determine the scale."""

HOLD_S = 5.0
"""Time after which 1 / e of the correction is left while no ground is in view."""

_RECENT_S = 1.0
"""Measurements count by e^(-age / this)."""

_LEAST_KEPT = 0.001
_MOST_LOG_CHANGE = math.log(1.5)
"""Measurements whose factor differs from the median by more than 1.5 are not used."""


class _Measurement(NamedTuple):
    """The scale of one frame: ``log_factor`` and ``shift``, weighted by ``share``."""

    stamp_ns: int
    log_factor: float
    shift: float
    share: float
    spread: float


@dataclass(frozen=True, eq=False)
class _Scale:
    """The correction until the next measurement.

    Attributes:
        relative: Whether it is of depth without a unit.
        fit: The fit of depth without a unit.
        middle: Log of the factor of the ground.
        variance: Of ``middle``.
        share: Share of the image with ground.
        logs: float32 (h, w), log factors of the cells.
        mean: Their mean.
    """

    relative: bool
    fit: DepthFit | None
    middle: float
    variance: float
    share: float
    logs: NDArray[np.float32]
    mean: float


class GroundWindow:
    """The measurements of the last seconds, of one camera.

    The correction is a mean over a second of those that agreed with the median of the last
    seconds. The last measurements are kept while no ground is in view, and fade.
    """

    def __init__(self) -> None:
        self._window: deque[_Measurement] = deque()
        self._sums: NDArray[np.float32] | None = None
        self._count = 0.0
        self._middle = 0.0
        self._used_ns = 0
        self._scale: _Scale | None = None

    def __len__(self) -> int:
        return len(self._window)

    def clear(self) -> None:
        """Remove all measurements."""
        self._window.clear()
        self._sums = self._scale = None

    def add(self, stamp_ns: int, found: GroundMeasurement) -> None:
        """Add the measurement of a frame."""
        fit = found.fit
        one = _Measurement(stamp_ns, math.log(fit.factor), fit.shift, found.share, fit.spread)
        self._window.append(one)
        self._scale = None
        while stamp_ns - self._window[0].stamp_ns > WINDOW_S * 1e9:
            self._window.popleft()
        self._middle = _weighted_median([(each.log_factor, each.share) for each in self._window])
        if self._sums is not None and abs(one.log_factor - self._middle) > _MOST_LOG_CHANGE:
            return
        kept = 0.0
        if self._sums is not None:
            kept = math.exp((self._used_ns - stamp_ns) * 1e-9 / _RECENT_S)
        cells = found.cells
        if self._sums is not None and kept > _LEAST_KEPT:
            # Networks of several sizes take turns.
            cells = cells + np.float32(kept) * _resized(self._sums, cells.shape[1:])
        self._sums, self._count = cells, 1 + kept * self._count
        self._used_ns = stamp_ns

    def correction(
        self, stamp_ns: int, relative: bool, shape: tuple[int, ...]
    ) -> tuple[DepthFit | None, ScaleReport, NDArray[np.float32]]:
        """Return the correction for a frame; there must be a measurement.

        Args:
            stamp_ns: Stamp of the frame.
            relative: Whether the depth has no unit.
            shape: (h, w), number of cells.

        Returns:
            The fit of depth without a unit, the report, and the log factors of the cells.
        """
        scale = self._scale
        if scale is None or scale.relative != relative or scale.logs.shape != shape:
            self._scale = scale = self._measured(relative, shape)
        age_s = (stamp_ns - self._window[-1].stamp_ns) * 1e-9
        logs, mean = scale.logs, scale.mean
        if age_s > _RECENT_S:
            fade = math.exp((_RECENT_S - age_s) / HOLD_S)
            logs, mean = logs * np.float32(fade), mean * fade
        factor, shift, left = math.exp(mean), 0.0, 0.0
        if scale.fit is None:
            # The uncorrected part adds to the uncertainty.
            left = scale.middle - mean
        else:
            factor, shift = factor * scale.fit.factor, scale.fit.shift
        spread = math.sqrt(scale.variance + left**2)
        report = ScaleReport(GROUND, factor, shift, spread, scale.share, age_s * 1e3)
        return scale.fit, report, logs

    def _measured(self, relative: bool, shape: tuple[int, ...]) -> _Scale:
        """The correction from the measurements."""
        assert self._sums is not None
        # Plain numbers: the window is short, and arrays take longer.
        shares = [one.share for one in self._window]
        middle = self._middle
        frames = 1.4826 * median(abs(one.log_factor - middle) for one in self._window)
        pixels = median(one.spread for one in self._window)
        fit = None
        if relative:
            shift = _weighted_median([(one.shift, one.share) for one in self._window])
            fit = DepthFit(math.exp(middle), shift)
        logs = smooth_log_factors(_resized(self._sums, shape) * np.float32(1 / self._count))
        share = sum(one * one for one in shares) / sum(shares)
        return _Scale(
            relative, fit, middle, frames**2 + pixels**2, share, logs, float(logs.mean())
        )


def _resized(cells: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Maps (2, h, w) for another number of cells."""
    if cells.shape[1:] == shape:
        return cells
    size = shape[1], shape[0]
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in cells])


def _weighted_median(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of (value, weight)."""
    ordered = sorted(pairs)
    left = sum(weight for _, weight in ordered) / 2
    for value, weight in ordered:
        left -= weight
        if left <= 0:
            return value
    return ordered[-1][0]
