# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of the ground over the last seconds, and the correction of depth from them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

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

_MOST_CHANGE = 1.5
"""Measurements whose factor differs from the median by more are not used."""


@dataclass(frozen=True)
class _Measurement:
    """The scale of one frame: ``log_factor`` and ``shift``, weighted by ``share``.

    ``cells`` float32 (2, h, w): log factor of each cell, times its weight, and the weight.
    """

    stamp_ns: int
    log_factor: float
    shift: float
    share: float
    spread: float
    cells: NDArray[np.float32]


class GroundWindow:
    """The measurements of the last seconds, of one camera.

    The correction is a mean over a second of those that agree with the median of all. The last
    measurements are kept while no ground is in view, and fade.
    """

    def __init__(self) -> None:
        self._window: deque[_Measurement] = deque()
        self._logs: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self._window)

    def clear(self) -> None:
        """Remove all measurements."""
        self._window.clear()

    def add(self, stamp_ns: int, found: GroundMeasurement) -> None:
        """Add the measurement of a frame."""
        fit, maps = found.fit, np.stack([found.log_factors, found.weights])
        self._logs = None
        self._window.append(
            _Measurement(stamp_ns, math.log(fit.factor), fit.shift, found.share, fit.spread, maps)
        )
        while stamp_ns - self._window[0].stamp_ns > WINDOW_S * 1e9:
            self._window.popleft()

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
        # Plain numbers: the window is short, and arrays take longer.
        weights = [one.share for one in self._window]
        share = sum(weight * weight for weight in weights) / sum(weights)
        middle = _weighted_median([one.log_factor for one in self._window], weights)
        if self._logs is None or self._logs.shape != shape:
            self._logs = self._mean(middle, shape)
        age_s = (stamp_ns - self._window[-1].stamp_ns) * 1e-9
        logs = self._logs
        if age_s > _RECENT_S:
            logs = logs * np.float32(math.exp((_RECENT_S - age_s) / HOLD_S))
        fit, applied = None, float(logs.mean())
        if relative:
            shift = _weighted_median([one.shift for one in self._window], weights)
            fit, left = DepthFit(math.exp(middle), shift), 0.0
        else:
            # The uncorrected part adds to the uncertainty.
            shift, left = 0.0, middle - applied
        frames = 1.4826 * median(abs(one.log_factor - middle) for one in self._window)
        pixels = median(one.spread for one in self._window)
        spread = math.sqrt(frames**2 + pixels**2 + left**2)
        factor = math.exp(applied) * (fit.factor if fit is not None else 1.0)
        report = ScaleReport(GROUND, factor, shift, spread, share, age_s * 1e3)
        return fit, report, logs

    def _mean(self, middle: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The log factors of (h, w) cells: of recent measurements near the median."""
        near = math.log(_MOST_CHANGE)
        used = [one for one in self._window if abs(one.log_factor - middle) <= near]
        last_ns = self._window[-1].stamp_ns
        ages = [math.exp((one.stamp_ns - last_ns) * 1e-9 / _RECENT_S) for one in used]
        mean = np.zeros((2, *shape), np.float32)
        for age, one in zip(ages, used, strict=True):
            mean += np.float32(age / sum(ages)) * _resized(one.cells, shape)
        return smooth_log_factors(*mean)


def _resized(cells: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Maps (2, h, w) for another number of cells: networks of several sizes take turns."""
    if cells.shape[1:] == shape:
        return cells
    size = shape[1], shape[0]
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in cells])


def _weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    pairs = sorted(zip(values, weights, strict=True))
    left = sum(weights) / 2
    for value, weight in pairs:
        left -= weight
        if left <= 0:
            return value
    return pairs[-1][0]
