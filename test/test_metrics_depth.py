# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth errors against values worked out by hand and against the formulas written plainly."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.metrics.depth import (
    RANGE_EDGES_M,
    DepthMetric,
    best_constant,
    errors,
    measure,
)
from mt_perception.evaluation.records import FrameRecord, frame_line, parse_frame
from mt_perception.reports import Execution
from mt_perception.types import Frame, Result

NAN = np.float32(np.nan)


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_by_hand() -> None:
    figures = errors(row(1, 4)[0], row(2, 2)[0])
    assert figures['abs_rel'] == pytest.approx((0.5 + 1) / 2)
    assert figures['sq_rel'] == pytest.approx((0.5 + 2) / 2)
    assert figures['rmse'] == pytest.approx(math.sqrt((1 + 4) / 2))
    assert figures['rmse_log'] == pytest.approx(math.log(2))
    assert figures['log10'] == pytest.approx(math.log10(2))
    assert figures['silog'] == pytest.approx(100 * math.log(2))
    assert figures['delta1'] == 0
    assert figures['delta3'] == 0


@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_formulas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = rng.uniform(0.3, 15, 200).astype(np.float32)
    d = (t * np.exp(rng.normal(0, 0.3, 200))).astype(np.float32)
    figures = errors(d, t)
    pairs = [(float(a), float(b)) for a, b in zip(d, t, strict=True)]
    e = [math.log(a) - math.log(b) for a, b in pairs]
    n = len(pairs)
    mean = math.fsum(e) / n
    expected = {
        'abs_rel': math.fsum(abs(a - b) / b for a, b in pairs) / n,
        'sq_rel': math.fsum((a - b) ** 2 / b for a, b in pairs) / n,
        'rmse': math.sqrt(math.fsum((a - b) ** 2 for a, b in pairs) / n),
        'rmse_log': math.sqrt(math.fsum(x * x for x in e) / n),
        'log10': math.fsum(abs(x) for x in e) / n / math.log(10),
        'silog': 100 * math.sqrt(math.fsum((x - mean) ** 2 for x in e) / n),
        'delta1': sum(max(a / b, b / a) < 1.25 for a, b in pairs) / n,
        'delta2': sum(max(a / b, b / a) < 1.25**2 for a, b in pairs) / n,
        'delta3': sum(max(a / b, b / a) < 1.25**3 for a, b in pairs) / n,
    }
    assert figures == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_only_pixels_known_to_both_and_within_range_count() -> None:
    truth = np.full((4, 5), 2, np.float32)
    found = truth.copy()
    truth[0, 0], truth[0, 1], truth[0, 2] = NAN, 0, 30
    found[0, 3], found[0, 4], found[1, 0] = NAN, np.inf, 0
    figures = measure(found, truth, max_range_m=20)
    assert figures['pixels'] == 14
    assert figures['coverage'] == pytest.approx(14 / 17)
    assert figures['metric']['abs_rel'] == 0
    assert figures['metric']['delta1'] == 1


@given(factor=st.floats(0.1, 10))
def test_median_scaling_forgives_a_factor(factor: float) -> None:
    truth = np.random.default_rng(0).uniform(1, 9, (12, 10)).astype(np.float32)
    figures = measure(truth * np.float32(factor), truth)
    assert figures['median']['abs_rel'] == pytest.approx(0, abs=1e-5)
    assert figures['metric']['abs_rel'] == pytest.approx(abs(factor - 1), abs=1e-5)


def test_the_scale_is_that_of_the_medians() -> None:
    """Not of the means, which a few far pixels move."""
    truth = row(*[1.0] * 11, *[10.0] * 4)
    found = row(*[2.0] * 11, *[15.0] * 4)
    values = measure(found, truth)['median']
    # The medians are 1 and 2: the near pixels are right then, the far ones 7.5 instead of 10.
    assert values['abs_rel'] == pytest.approx(0.25 * 4 / 15, abs=1e-6)


def test_relative_depth_is_judged_after_factor_and_shift_only() -> None:
    truth = np.random.default_rng(0).uniform(1, 9, (12, 10)).astype(np.float32)
    figures = measure(1 / (7 / truth + 3), truth, relative=True)
    assert figures['affine']['abs_rel'] == pytest.approx(0, abs=1e-4)
    assert 'metric' not in figures
    assert 'median' not in figures


@given(seed=st.integers(0, 2**32 - 1))
def test_no_constant_is_better_than_the_best_constant(seed: int) -> None:
    t = np.random.default_rng(seed).gamma(2, 2, 99).astype(np.float32) + np.float32(0.1)
    best = np.mean(np.abs(best_constant(t) - t) / t)
    assert all(best <= np.mean(np.abs(c - t) / t) + 1e-6 for c in t)


def test_ranges_tell_near_from_far() -> None:
    truth = np.repeat(np.array([[0.49, 0.5, 2.99, 25]], np.float32), 5, axis=0)
    found = truth * np.array([1, 1.5, 2, 1], np.float32)
    metric = DepthMetric(max_range_m=30)
    metric.observe(found, truth)
    metric.observe(found, truth)
    ranges = metric.evaluate()['ranges']
    assert [(r['from_m'], r['to_m'], r['pixels']) for r in ranges] == [
        (0.0, 0.5, 10),
        (0.5, 1.0, 10),
        (2.0, 3.0, 10),
        (20.0, 40.0, 10),
    ]
    assert [r['abs_rel'] for r in ranges] == pytest.approx([0, 0.5, 1, 0], abs=1e-6)
    assert [r['bias_m'] for r in ranges] == pytest.approx([0, 0.25, 2.99, 0], abs=1e-6)


def test_a_frame_without_an_estimate_costs_coverage() -> None:
    truth = np.full((5, 5), 2, np.float32)
    metric = DepthMetric()
    metric.observe(truth, truth)
    metric.observe(np.full_like(truth, NAN), truth)
    figures = metric.evaluate()
    assert figures['coverage'] == pytest.approx(0.5)
    assert figures['metric']['abs_rel'] == 0
    assert metric.observe(truth, np.full_like(truth, NAN)) == {}


def test_a_failed_task_has_no_errors_and_no_coverage() -> None:
    """A frame whose depth failed is neither perfect nor left out."""
    truth = np.full((5, 5), 2, np.float32)
    ran = Execution(('depth',), (), 'full', '', 0, (0, 0), {})
    failed = Result(1, '', None, None, None, ran, failures={'depth': 'a defect'})
    sample = Sample(Frame(np.zeros((5, 5, 3), np.uint8)), GroundTruth(depth=truth), 'k', 's')
    metric = DepthMetric()
    values = metric.process(sample, failed)
    assert values['coverage'] == 0
    assert 'metric' not in values
    assert metric.evaluate()['coverage'] == 0
    not_wanted = replace(failed, execution=replace(ran, tasks=()))
    assert metric.process(sample, not_wanted) == {}


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match='cannot be compared'):
        measure(row(1, 2), row(1))


def test_read_back_and_resampled_frames_give_the_same_figures() -> None:
    rng = np.random.default_rng(5)
    now, later, again = DepthMetric(), DepthMetric(), DepthMetric()
    weights = np.array([[2, 0, 1, 3]])
    for weight in weights[0]:
        truth = rng.uniform(0.5, 9, (8, 9)).astype(np.float32)
        found = (truth * rng.uniform(0.7, 1.4, truth.shape)).astype(np.float32)
        line = now.observe(found, truth)
        written = FrameRecord('k', 's', 0, (8, 9), None, None, {'depth': line})
        later.add(parse_frame(frame_line(written)))
        for _ in range(weight):
            again.observe(found, truth)
    assert json.dumps(now.evaluate()) == json.dumps(later.evaluate())
    for key, values in now.resample(weights).items():
        kind, figure = key.split('.')
        assert values[0] == pytest.approx(again.evaluate()[kind][figure], abs=1e-12)


def test_constant_depth_is_fitted_by_the_mean_of_the_inverse_depth() -> None:
    truth = np.array([[1.0, 2.0] * 8], np.float32)
    figures = measure(np.full_like(truth, 5), truth)
    # 1 / d = (1 + 1/2) / 2, so d = 4/3; its errors are 1/3 and 1/3.
    assert figures['affine']['abs_rel'] == pytest.approx(1 / 3, abs=1e-6)


def test_limits_of_what_is_measured() -> None:
    """At least ten pixels; the range ends at its limit; a millimetre is the least prediction."""
    truth = row(*[20.0] * 10, 20.5)
    figures = measure(np.full_like(truth, 1e-5), truth, max_range_m=20)
    assert figures['pixels'] == 10
    assert figures['metric']['rmse_log'] == pytest.approx(math.log(20 / 1e-3))
    nine = row(*[2.0] * 9)
    assert measure(nine, nine) == {}
    found = row(*[2.0] * 9, NAN)
    assert set(measure(found, row(*[2.0] * 10))) == {'pixels', 'coverage'}
    assert 'metric' in measure(row(*[2.0] * 10), row(*[2.0] * 10))
    # What the fit puts beyond the range, or behind the camera, is at its end.
    far = measure(row(*[1.0] * 10, *[4.0] * 10), row(*[1.0] * 10, *[40.0] * 10), 40)
    assert far['affine']['abs_rel'] == pytest.approx(0, abs=1e-5)
    ranges = DepthMetric(100.0)
    for edge in RANGE_EDGES_M[1:]:
        ranges.observe(np.full((2, 5), edge, np.float32), np.full((2, 5), edge, np.float32))
    rows = ranges.evaluate()['ranges']
    assert [each['from_m'] for each in rows] == list(RANGE_EDGES_M[1:])
    assert rows[-1]['to_m'] is None
    assert rows[0]['rmse'] == 0
    assert ranges.evaluate()['max_range_m'] == 100
