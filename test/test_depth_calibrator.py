# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration of depth from frames with known distances: cross-validated, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mt_perception.errors import CalibrationError
from mt_perception.geometry.depth_calibrator import DepthCalibrator
from mt_perception.reports import GROUND, ScaleReport
from mt_perception.types import DepthMap, Intrinsics

CAMERA = Intrinsics(fx=60, fy=60, cx=31.5, cy=23.5, width=64, height=48)


def truth(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(rng.uniform(np.log(0.6), np.log(6), (48, 64))).astype(np.float32)


def fitted(factors: list[float], exponent: float = 1.0, noise: float = 0.0) -> DepthCalibrator:
    """A calibrator with one frame for each factor of the network's error."""
    calibrator = DepthCalibrator()
    for index, factor in enumerate(factors):
        known = truth(index)
        error = np.exp(noise * np.random.default_rng(index).standard_normal(known.shape))
        network = (known / factor) ** (1 / exponent) * error
        calibrator.add_map(DepthMap(network.astype(np.float32), CAMERA), known)
    return calibrator


def test_depth_drawn_towards_a_mean_gets_an_exponent() -> None:
    found = fitted([0.7] * 8, 1.3, 0.05).calibrate('', 'net', 'bag')
    assert found.fit.factor == pytest.approx(0.7, rel=0.03)
    assert found.fit.exponent == pytest.approx(1.3, rel=0.03)
    assert found.abs_rel_before is not None
    assert found.abs_rel_after is not None
    assert found.abs_rel_after < 0.07 < 0.15 < found.abs_rel_before
    assert '8 frames' in found.fitted_to


def test_the_error_of_each_half_is_that_of_the_fit_of_the_other() -> None:
    # Alternate frames have the factors 2 and 2.5: each half has the other's correction.
    found = fitted([2.0, 2.5] * 4).calibrate('', 'net', 'bag')
    assert found.abs_rel_after == pytest.approx((2.5 / 2 - 1 + 1 - 2 / 2.5) / 2, rel=0.02)
    assert found.abs_rel_before == pytest.approx((1 - 1 / 2 + 1 - 1 / 2.5) / 2, rel=0.02)


def test_frames_that_disagree_are_corrected_less() -> None:
    assert fitted([2.0] * 9).calibrate('', 'net', 'bag').fit.factor == pytest.approx(2, rel=0.01)
    factors = [1.5, 2.0, 2.6] * 3
    trust = 0.4**2 / (0.4**2 + np.var(np.log(factors), ddof=1))
    found = fitted(factors).calibrate('', 'net', 'bag').fit
    assert found.exponent == pytest.approx(1, abs=0.1)
    assert np.log(found.factor) == pytest.approx(trust * np.log(2), rel=0.15)


def test_a_correction_that_does_not_hold_for_the_other_half_is_refused() -> None:
    with pytest.raises(CalibrationError, match='does not reduce the error'):
        fitted([0.5, 2.0] * 4).calibrate('', 'net', 'bag')
    with pytest.raises(CalibrationError, match='needs no calibration'):
        fitted([1.0] * 8).calibrate('', 'net', 'bag')


def test_one_frame_is_fitted_without_an_error() -> None:
    found = fitted([2.0], 1.2).calibrate('', 'net', 'photograph')
    assert found.fit.exponent == pytest.approx(1.2, rel=0.02)
    assert (found.abs_rel_before, found.abs_rel_after) == (None, None)


def test_depth_without_a_unit_gets_scale_and_shift() -> None:
    calibrator = DepthCalibrator()
    for index in range(4):
        known = truth(index)
        relative = 1 / (7 * (1 / known + 0.1))
        scale = ScaleReport('relative', 1.0)
        calibrator.add_map(DepthMap(relative, CAMERA, relative=True, scale=scale), known)
    found = calibrator.calibrate('', 'net', 'bag')
    assert found.fit.factor == pytest.approx(7, rel=0.01)
    assert found.fit.shift == pytest.approx(-0.1, rel=0.01)
    assert found.abs_rel_before is None


def test_a_corrected_map_gives_the_depth_of_the_network_back() -> None:
    first, second = DepthCalibrator(), DepthCalibrator()
    for index in range(4):
        known = truth(index)
        network = (known / 0.6) ** (1 / 1.2)
        first.add_map(DepthMap(network, CAMERA), known)
        scale = ScaleReport('calibration', 0.9, exponent=1.1)
        corrected = (0.9 * network**1.1).astype(np.float32)
        second.add_map(DepthMap(corrected, CAMERA, scale=scale), known)
    one, other = (c.calibrate('', 'net', 'bag').fit for c in (first, second))
    assert other.factor == pytest.approx(one.factor, rel=1e-4)
    assert other.exponent == pytest.approx(one.exponent, rel=1e-4)


def test_other_cameras_and_depth_scaled_by_ground_are_refused() -> None:
    calibrator = fitted([2.0])
    known = truth(0)
    other = DepthMap(known, replace(CAMERA, fx=70.0))
    with pytest.raises(CalibrationError, match='several cameras'):
        calibrator.add_map(other, known)
    scaled = DepthMap(known, CAMERA, scale=ScaleReport(GROUND, 1.2))
    with pytest.raises(CalibrationError, match='scaled by the ground'):
        calibrator.add_map(scaled, known)
