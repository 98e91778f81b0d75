# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Collects known distances with the depth of a network and fits a calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError
from mt_perception.geometry.depth_calibration import DepthCalibration
from mt_perception.geometry.depth_fit import (
    DepthFit,
    fit_power,
    fit_scale,
    fit_scale_and_shift,
)
from mt_perception.reports import BOTH, GROUND
from mt_perception.types import DepthMap, Intrinsics

_SAMPLES = 1000
"""Most pixels of one frame."""

_BLOCKS = 8
"""Parts of a recording; every second part is one half, because neighbouring frames are similar."""

_PRIOR = 0.4
"""Standard deviation of the log scale of depth in a new place, before it is calibrated."""


@dataclass(frozen=True, eq=False)
class _Samples:
    """Known distances of one frame: inverse depth of the network and metres, (N,) both."""

    inverse: NDArray[np.float64]
    metres: NDArray[np.float64]


class DepthCalibrator:
    """Fits scale and exponent of depth to frames with known distances.

    Depth without a unit gets scale and shift of inverse depth. The error of each half of the
    frames is measured with the fit of the other half (two-fold cross-validation); then all frames
    are fitted.
    """

    def __init__(self) -> None:
        self._frames: list[_Samples] = []
        self._camera: Intrinsics | None = None
        self._relative = False

    def __len__(self) -> int:
        return len(self._frames)

    def add(
        self,
        depth: DepthMap,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        metres: NDArray[np.floating],
    ) -> None:
        """Add pixels of one frame with known depth.

        Args:
            depth: The depth map of the frame, at any scale.
            rows: (N,), rows of the pixels.
            columns: (N,), columns of the pixels.
            metres: (N,), their true depth along the optical axis.

        Raises:
            CalibrationError: The frame is of another camera than the first, or scaled by ground.
        """
        if self._camera is not None and depth.intrinsics != self._camera:
            raise CalibrationError(
                'the frames are of several cameras; calibrate each camera separately'
            )
        self._camera, scale = depth.intrinsics, depth.scale
        if scale.source in (GROUND, BOTH):
            raise CalibrationError('the depth is scaled by the ground; calibrate it without')
        self._relative = self._relative or depth.relative
        seen = 1 / depth.depth[rows, columns].astype(np.float64)
        with np.errstate(invalid='ignore'):
            inverse = ((seen - scale.shift) * scale.factor) ** (1 / scale.exponent)
        there = np.isfinite(inverse) & (inverse > 0) & np.isfinite(metres) & (metres > 0)
        if there.any():
            self._frames.append(_Samples(inverse[there], metres[there].astype(np.float64)))

    def add_map(self, depth: DepthMap, truth: NDArray[np.float32]) -> None:
        """Add the pixels of one frame with a true depth map, float32 (H, W), NaN where unknown.

        Raises:
            CalibrationError: The frame is of another camera than the first.
        """
        rows, columns = np.nonzero(np.isfinite(truth) & (truth > 0))
        if len(rows) > _SAMPLES:
            some = np.random.default_rng(0).choice(len(rows), _SAMPLES, replace=False)
            rows, columns = rows[some], columns[some]
        self.add(depth, rows, columns, truth[rows, columns])

    def calibrate(self, frame_id: str, model: str, source: str) -> DepthCalibration:
        """Fit the frames.

        Distances at one range determine only a scale. Where frames disagree, the log of the
        correction is multiplied by 0.4² / (0.4² + s²), with the variance s² of the log scale over
        the frames.

        Args:
            frame_id: Optical frame of the camera; empty if unknown.
            model: Name and version of the model.
            source: Name of the measured data.

        Raises:
            CalibrationError: There is no distance, or the calibration does not reduce the error
                on the halves that were not fitted.
        """
        if self._camera is None or not self._frames:
            raise CalibrationError('no pixel has both a known distance and a depth of the network')
        kind = _scale_and_shift if self._relative else _power
        before = after = None
        block = max(1, len(self._frames) // _BLOCKS)
        halves = [
            [one for i, one in enumerate(self._frames) if i // block % 2 == half]
            for half in (0, 1)
        ]
        if halves[1]:
            after = _crossed(kind, halves)
            before = None if self._relative else _mean_error(self._frames, DepthFit(1.0))
        if before is not None and after is not None and after >= before:
            raise CalibrationError(
                'the calibration does not reduce the error on the frames that were not fitted: '
                f'AbsRel {before:.3f} before, {after:.3f} after; the depth needs no calibration, '
                'or the distances belong to another scene'
            )
        pixels = sum(len(one.metres) for one in self._frames)
        text = f'{source}: {len(self._frames)} frames, {pixels} pixels'
        fit = kind(self._frames)
        return DepthCalibration(fit, self._camera, frame_id, model, text, before, after)


def _power(frames: Sequence[_Samples]) -> DepthFit:
    """Scale and exponent, or the scale where the distances determine no exponent."""
    logs = [math.log(float(np.median(one.inverse * one.metres))) for one in frames]
    variance = float(np.var(logs, ddof=1)) if len(logs) > 1 else 0.0
    try:
        return fit_power(*_joined(frames), trust=_PRIOR**2 / (_PRIOR**2 + variance))
    except CalibrationError:
        return fit_scale(*_joined(frames))


def _scale_and_shift(frames: Sequence[_Samples]) -> DepthFit:
    try:
        return fit_scale_and_shift(*_joined(frames))
    except CalibrationError:
        return fit_scale(*_joined(frames))


def _joined(frames: Sequence[_Samples]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        np.concatenate([one.inverse for one in frames]),
        np.concatenate([one.metres for one in frames]),
    )


def _crossed(
    kind: Callable[[Sequence[_Samples]], DepthFit], halves: Sequence[Sequence[_Samples]]
) -> float:
    """Mean error over all frames, each with the fit of the half to which it does not belong."""
    errors = [_mean_error(own, kind(other)) for own, other in (halves, halves[::-1])]
    return float(np.average(errors, weights=[len(half) for half in halves]))


def _mean_error(frames: Sequence[_Samples], fit: DepthFit) -> float:
    """Mean over frames of the mean relative error; a pixel without depth has the error 1."""
    errors = []
    for one in frames:
        depth = fit.apply(one.inverse.astype(np.float32))
        error = np.abs(depth - one.metres) / one.metres
        errors.append(float(np.mean(np.where(np.isfinite(error), error, 1.0))))
    return float(np.mean(errors))
