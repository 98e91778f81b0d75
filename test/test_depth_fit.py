# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fits of depth to known distances: exact on exact data, robust, refused where undetermined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import CalibrationError
from mt_perception.geometry.depth_fit import (
    DepthFit,
    fit_power,
    fit_scale,
    fit_scale_and_shift,
)

DISTANCES = np.geomspace(0.5, 12, 300)


def network_of(factor: float, shift: float) -> np.ndarray:
    """Inverse depth of a network that the correction makes exact."""
    return factor * (1 / DISTANCES - shift)


@given(st.floats(0.05, 20), st.floats(-0.5, 0.07))
def test_exact_data_gives_scale_and_shift(factor: float, shift: float) -> None:
    inverse = network_of(factor, shift)
    found = fit_scale_and_shift(inverse, DISTANCES)
    assert found.factor == pytest.approx(factor, rel=1e-5)
    assert found.shift == pytest.approx(shift, abs=1e-6)
    assert found.inliers == 1
    corrected = found.apply(inverse.astype(np.float32))
    np.testing.assert_allclose(corrected, DISTANCES, rtol=1e-3)


@given(st.floats(0.05, 20), st.floats(0.55, 1.9))
def test_exact_data_gives_scale_and_exponent(factor: float, exponent: float) -> None:
    inverse = (factor / DISTANCES) ** (1 / exponent)
    found = fit_power(inverse, DISTANCES)
    assert found.exponent == pytest.approx(exponent, rel=0.03)
    assert found.shift == 0
    corrected = found.apply(inverse.astype(np.float32))
    np.testing.assert_allclose(corrected, DISTANCES, rtol=0.05)
    half = fit_power(inverse, DISTANCES, trust=0.5)
    np.testing.assert_allclose(
        half.apply(inverse.astype(np.float32)), np.sqrt(corrected / inverse), rtol=1e-3
    )


@given(st.integers(0, 100))
def test_a_third_of_wrong_distances_does_not_mislead_a_power(seed: int) -> None:
    random = np.random.default_rng(seed)
    inverse = (0.6 / DISTANCES) ** (1 / 1.3)
    seen = DISTANCES * np.exp(random.normal(0, 0.01, 300))
    wrong = random.random(300) < 0.33
    seen[wrong] = random.uniform(0.1, 20, wrong.sum())
    found = fit_power(inverse, seen)
    np.testing.assert_allclose(found.apply(inverse.astype(np.float32)), DISTANCES, rtol=0.25)


@given(st.integers(0, 100))
def test_a_third_of_wrong_distances_does_not_mislead(seed: int) -> None:
    random = np.random.default_rng(seed)
    inverse = network_of(0.6, 0.05)
    seen = DISTANCES * np.exp(random.normal(0, 0.01, 300))
    wrong = random.random(300) < 0.33
    seen[wrong] = random.uniform(0.1, 20, wrong.sum())
    found = fit_scale_and_shift(inverse, seen)
    np.testing.assert_allclose(found.apply(inverse.astype(np.float32)), DISTANCES, rtol=0.06)
    scaled = fit_scale(1 / DISTANCES, np.where(wrong, 30.0, 0.7 * DISTANCES))
    assert scaled.factor == pytest.approx(0.7)
    assert scaled.inliers == pytest.approx(1 - wrong.mean())


def test_one_measurement_gives_a_scale() -> None:
    found = fit_scale(np.array([1 / 3.0]), np.array([2.4]))
    assert found.factor == pytest.approx(0.8)
    assert found.shift == 0


def test_unknown_samples_are_left_out() -> None:
    inverse, seen = network_of(1, 0), DISTANCES.copy()
    inverse[:20], seen[20:40] = np.nan, np.nan
    inverse[40:50], seen[50:60] = -1, 0
    assert fit_scale_and_shift(inverse, seen).factor == pytest.approx(1)
    with pytest.raises(CalibrationError, match='0 pixels'):
        fit_scale(inverse[:20], seen[:20])


def test_samples_that_determine_no_line_are_refused() -> None:
    with pytest.raises(CalibrationError, match='differ by a factor'):
        fit_scale_and_shift(np.linspace(0.3, 0.4, 100), np.linspace(2, 2.2, 100))
    with pytest.raises(CalibrationError, match='expected at least'):
        fit_scale_and_shift(1 / DISTANCES[:5], DISTANCES[:5])
    with pytest.raises(CalibrationError, match='same scene'):
        fit_scale_and_shift(DISTANCES, DISTANCES)
    with pytest.raises(CalibrationError, match='differ by a factor'):
        fit_power(np.linspace(0.3, 0.4, 100), np.linspace(2, 2.2, 100))


def test_a_power_stays_one_where_near_and_far_are_mistaken() -> None:
    found = fit_power(DISTANCES, DISTANCES)
    assert found.exponent == 0.5
    assert found.inliers < 0.5
    assert fit_power((0.5 / DISTANCES) ** (1 / 2.5), DISTANCES).exponent == 2


def test_beyond_the_horizon_is_nan() -> None:
    corrected = DepthFit(1.0, -0.1).apply(np.array([0.05, 0.1, 0.2, np.nan, np.inf], np.float32))
    assert np.isnan(corrected[[0, 1, 3]]).all()
    assert corrected[2] == pytest.approx(10)
    assert corrected[4] == 0
