# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground over the last seconds against the sums written out, and planes that jump."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.geometry.ground import GroundMeasurement
from mt_perception.geometry.plane import GroundPlane
from mt_perception.planning.depth_correction import PlaneGate
from mt_perception.planning.ground_factors import enlarge, smooth_log_factors
from mt_perception.planning.ground_window import GroundWindow

SHAPE = (3, 5)
WEIGHTS = np.array([[0, 0, 0, 0, 0], [0, 0.5, 1, 0, 0], [1, 1, 1, 1, 0.25]], np.float32)


@dataclass(frozen=True)
class Seen:
    """A measurement of the ground."""

    at_s: float
    factor: float
    share: float = 0.2
    spread: float = 0.1
    shift: float = 0.0

    @property
    def stamp_ns(self) -> int:
        return round(self.at_s * 1e9)

    @property
    def measurement(self) -> GroundMeasurement:
        cells = np.stack([WEIGHTS * np.float32(math.log(self.factor)), WEIGHTS])
        return GroundMeasurement(DepthFit(self.factor, self.shift, self.spread), self.share, cells)


def middle(values: list[tuple[float, float]]) -> float:
    """The value at which half of the weight is reached."""
    weight = 0.0
    for value, share in sorted(values):
        weight += share
        if weight >= sum(share for _, share in values) / 2:
            return value
    raise AssertionError


def smoothed(cells: np.ndarray) -> np.ndarray:
    """The two normalised convolutions, cell by cell."""
    _, height, width = cells.shape

    def blurred(values: np.ndarray, sigma: float) -> np.ndarray:
        found = np.zeros((height, width))
        for y, x in np.ndindex(height, width):
            for i, j in np.ndindex(height, width):
                squared = ((y - i) ** 2 + (x - j) ** 2) / sigma**2
                found[y, x] += values[i, j] * math.exp(-squared / 2) / (2 * math.pi * sigma**2)
        return found

    wide, narrow = 0.15 * width, 0.05 * width
    first = blurred(cells[0], wide) / (blurred(cells[1], wide) + 0.1)
    rest = blurred(cells[0] - cells[1] * first, narrow)
    return np.asarray(first + rest / (blurred(cells[1], narrow) + 0.1))


def test_factors_are_continued_over_the_image() -> None:
    random = np.random.default_rng(0)
    for shape in ((3, 5), (6, 4), (1, 9)):
        weights = random.random(shape) * (random.random(shape) < 0.6)
        cells = np.stack([weights * random.normal(0, 0.5, shape), weights]).astype(np.float32)
        np.testing.assert_allclose(
            smooth_log_factors(cells), smoothed(cells.astype(np.float64)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(('step', 'size'), [(1, (2, 3)), (2, (5, 8)), (3, (5, 7)), (4, (11, 9))])
def test_cells_are_enlarged_by_interpolation(step: int, size: tuple[int, int]) -> None:
    values = np.array([[1, 2, 4], [7, 3, 9]], np.float32)
    y, x = (
        np.clip((np.arange(side) + 0.5) / step - 0.5, 0, count - 1)
        for side, count in zip(size, values.shape, strict=True)
    )
    # Beyond the last cell the nearest value.
    rows = np.stack([np.interp(x, range(3), row) for row in values])
    expected = np.stack([np.interp(y, range(2), column) for column in rows.T], axis=1)
    found = enlarge(values, step, size)
    assert (found.shape, found.dtype) == (size, np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


SERIES = (
    Seen(1.0, 2.0, 0.2, 0.1, 0.01),
    Seen(1.5, 2.2, 0.3, 0.05, 0.03),
    Seen(2.0, 9.0, 0.25, 0.4, 0.5),
    Seen(2.25, 2.9, 0.1, 0.2, 0.02),
    Seen(2.5, 1.5, 0.2, 0.15, 0.04),
    Seen(6.25, 2.1, 0.6, 0.02, 0.0),
    Seen(13.125, 3.0, 0.5, 0.03, 0.01),
    Seen(20.25, 1.75, 0.4, 0.03, 0.02),
)
"""The third is no ground; between the last ones little and nothing is left of the earlier."""


@pytest.mark.parametrize('relative', [False, True])
def test_every_correction_is_that_of_the_sums(relative: bool) -> None:
    window = GroundWindow()
    sums, count, used_s = np.zeros((2, *SHAPE)), 0.0, -math.inf
    inside: list[Seen] = []
    for seen in SERIES:
        window.add(seen.stamp_ns, seen.measurement)
        inside = [one for one in (*inside, seen) if seen.at_s - one.at_s <= 5]
        assert len(window) == len(inside)
        centre = middle([(math.log(one.factor), one.share) for one in inside])
        if abs(math.log(seen.factor) - centre) <= math.log(1.5):
            kept = math.exp(used_s - seen.at_s)
            sums = seen.measurement.cells + (kept * sums if kept > 0.001 else 0)
            count, used_s = 1 + kept * count, seen.at_s
        for later_s in (0.0, 0.5, 1.0, 3.0):
            fit, report, logs = window.correction(
                seen.stamp_ns + round(later_s * 1e9), relative, SHAPE
            )
            faded = math.exp((1.0 - later_s) / 5.0) if later_s > 1 else 1.0
            expected = smoothed(sums / count) * faded
            np.testing.assert_allclose(logs, expected, rtol=2e-4, atol=2e-5)
            applied, factors = expected.mean(), [math.log(one.factor) for one in inside]
            off = np.median([abs(log - centre) for log in factors])
            pixels = np.median([one.spread for one in inside])
            left = 0.0 if relative else centre - applied
            spread = math.sqrt((1.4826 * off) ** 2 + pixels**2 + left**2)
            shares = np.array([one.share for one in inside])
            shift = middle([(one.shift, one.share) for one in inside]) if relative else 0.0
            assert report.source == 'ground'
            assert report.factor == pytest.approx(
                math.exp(applied + (centre if relative else 0)), rel=1e-4
            )
            assert report.shift == pytest.approx(shift)
            assert report.spread == pytest.approx(spread, rel=1e-3)
            assert report.ground_share == pytest.approx((shares**2).sum() / shares.sum())
            assert report.age_ms == pytest.approx(later_s * 1e3)
            if not relative:
                assert fit is None
                continue
            assert fit is not None
            assert (fit.factor, fit.shift) == pytest.approx((math.exp(centre), shift))


def test_the_window_is_of_five_seconds_and_can_be_cleared() -> None:
    for nanosecond, kept in ((0, 2), (1, 1)):
        window = GroundWindow()
        assert not window
        window.add(10**9, Seen(1.0, 2.0).measurement)
        window.add(6 * 10**9 + nanosecond, Seen(6.0, 2.0).measurement)
        assert len(window) == kept
    window.clear()
    assert not window
    window.add(7 * 10**9, Seen(7.0, 5.0).measurement)
    _, report, logs = window.correction(7 * 10**9, False, SHAPE)
    alone = smoothed(Seen(7.0, 5.0).measurement.cells)
    np.testing.assert_allclose(logs, alone, rtol=1e-4, atol=1e-5)
    assert report.ground_share == pytest.approx(0.2)


def test_another_number_of_cells_is_the_same_ground() -> None:
    window = GroundWindow()
    window.add(10**9, Seen(1.0, 2.0).measurement)
    large = GroundMeasurement(
        DepthFit(2.0), 0.2, np.repeat(np.repeat(Seen(1.0, 2.0).measurement.cells, 4, 1), 4, 2)
    )
    _, _, coarse = window.correction(10**9, False, SHAPE)
    _, _, fine = window.correction(10**9, False, (12, 20))
    assert (coarse.shape, fine.shape) == (SHAPE, (12, 20))
    assert fine.mean() == pytest.approx(coarse.mean(), rel=0.15)
    window.add(2 * 10**9, large)
    _, _, both = window.correction(2 * 10**9, False, (12, 20))
    assert both.mean() == pytest.approx(fine.mean(), rel=0.15)


PLANE = GroundPlane.from_angles(0.5, 25.0, 3.0)
SECOND = 10**9


@pytest.mark.parametrize(
    ('plane', 'near'),
    [
        (replace(PLANE, height_m=0.625), True),
        (replace(PLANE, height_m=0.626), False),
        (replace(PLANE, height_m=0.4), True),
        (replace(PLANE, height_m=0.399), False),
        (GroundPlane.from_angles(0.5, 39.9, 3.0), True),
        (GroundPlane.from_angles(0.5, 40.1, 3.0), False),
        (GroundPlane.from_angles(0.5, 10.1, 3.0), True),
        (GroundPlane.from_angles(0.5, 9.9, 3.0), False),
    ],
)
def test_a_plane_jumps_by_a_quarter_of_its_height_or_15_degrees(
    plane: GroundPlane, near: bool
) -> None:
    gate = PlaneGate()
    assert gate.refusal(PLANE, SECOND) == ''
    assert (gate.refusal(plane, 2 * SECOND) == '') == near


def test_a_jump_counts_when_it_has_stayed_for_a_second() -> None:
    gate, high, low = PlaneGate(), replace(PLANE, height_m=0.9), replace(PLANE, height_m=0.2)
    assert gate.refusal(PLANE, SECOND) == ''
    assert gate.refusal(high, 2 * SECOND) == (
        'the ground plane jumped from 0.50 m at pitch 25 degrees to 0.90 m at pitch 25 degrees; '
        'it is used after 1 s'
    )
    assert gate.refusal(high, 3 * SECOND - 1)
    assert gate.refusal(low, 3 * SECOND), 'it jumped again'
    assert gate.refusal(high, 3 * SECOND + 1)
    assert gate.refusal(PLANE, 3 * SECOND + 2) == '', 'back where it was'
    assert gate.refusal(high, 4 * SECOND + 2), 'the time starts again'
    assert gate.refusal(high, 5 * SECOND + 2) == ''
    assert gate.refusal(high, 5 * SECOND + 3) == ''
    assert gate.refusal(PLANE, 5 * SECOND + 4)
    assert gate.refusal(PLANE, 0) == '', 'without a stamp nothing is remembered'
    assert gate.refusal(PLANE, 6 * SECOND) == ''
