# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Collects known distances with the depth of a network and fits a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError
from mt_perception.geometry.depth_calibration import DepthCalibration
from mt_perception.geometry.depth_fit import DepthFit, fit_scale, fit_scale_and_shift
from mt_perception.types import DepthMap, Intrinsics

_SAMPLES = 1000
"""Most pixels of one frame."""

_BLOCKS = 8
"""Parts of a recording; every second part is fitted, because neighbouring frames are similar."""


@dataclass(frozen=True, eq=False)
class _Samples:
    """Known distances of one frame: inverse depth of the network and metres, (N,) both."""

    inverse: NDArray[np.float64]
    metres: NDArray[np.float64]


class DepthCalibrator:
    """Fits scale and shift of inverse depth to frames with known distances.

    Every second part of the frames is fitted; the error is measured on the others.
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
            CalibrationError: The frame is of another camera than the first.
        """
        if self._camera is not None and depth.intrinsics != self._camera:
            raise CalibrationError(
                'the frames are of several cameras; calibrate each camera separately'
            )
        self._camera, scale = depth.intrinsics, depth.scale
        self._relative = self._relative or depth.relative
        inverse = (1 / depth.depth[rows, columns].astype(np.float64) - scale.shift) * scale.factor
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

        Distances at one range determine only a scale.

        Args:
            frame_id: Optical frame of the camera; empty if unknown.
            model: Name and version of the model.
            source: Name of the measured data.

        Raises:
            CalibrationError: There is no distance, or the calibration makes depth worse on the
                frames that were not fitted.
        """
        if self._camera is None or not self._frames:
            raise CalibrationError('no pixel has both a known distance and a depth of the network')
        block = max(1, len(self._frames) // _BLOCKS)
        fitted = [one for i, one in enumerate(self._frames) if i // block % 2 == 0]
        others = [one for i, one in enumerate(self._frames) if i // block % 2 == 1]
        fit = _fit(fitted)
        before = None if self._relative or not others else _abs_rel(others, DepthFit(1.0))
        after = _abs_rel(others, fit) if others else None
        if before is not None and after is not None and after >= before:
            raise CalibrationError(
                'the calibration does not reduce the error on the frames that were not fitted: '
                f'AbsRel {before:.3f} before, {after:.3f} after; the depth needs no calibration, '
                'or the distances belong to another scene'
            )
        pixels = sum(len(one.metres) for one in fitted)
        text = f'{source}: {len(fitted)} frames, {pixels} pixels'
        return DepthCalibration(fit, self._camera, frame_id, model, text, before, after)


def _fit(frames: Sequence[_Samples]) -> DepthFit:
    inverse = np.concatenate([one.inverse for one in frames])
    metres = np.concatenate([one.metres for one in frames])
    try:
        return fit_scale_and_shift(inverse, metres)
    except CalibrationError:
        return fit_scale(inverse, metres)


def _abs_rel(frames: Sequence[_Samples], fit: DepthFit) -> float:
    """Mean over frames of the mean relative error; a pixel without depth has the error 1."""
    errors = []
    for one in frames:
        depth = fit.apply(one.inverse.astype(np.float32))
        error = np.abs(depth - one.metres) / one.metres
        errors.append(float(np.mean(np.where(np.isfinite(error), error, 1.0))))
    return float(np.mean(errors))
