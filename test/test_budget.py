# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets: what is refused, and what is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.errors import OptionError
from mt_perception.planning.budget import MOST_CREDIT, Budget, Spending

PATHS = ('full', 'light', 'small')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'compute': 0.0}, 'budget.compute'),
        ({'compute': 1.1}, 'budget.compute'),
        ({'compute': float('nan')}, 'budget.compute'),
        ({'latency_ms': -1.0}, 'budget.latency_ms'),
        ({'max_stale_ms': float('inf')}, 'budget.max_stale_ms'),
        ({'max_change': float('nan')}, 'budget.max_change'),
        ({'path': 'lite'}, 'this model has auto, full, light, small'),
        ({'weights': {'depth': -1.0}}, 'weight of task depth'),
        ({'weights': {'detecton': 0.5}}, "weight of 'detecton': .* did you mean detection?"),
        ({'max_rate_hz': {'edges': 5.0}}, "max_rate_hz of 'edges': .* it has depth, detection"),
        ({'weights': {'depth': 0.0, 'detection': 0.0}}, 'at least one task'),
        ({'max_rate_hz': {'depth': float('nan')}}, 'max_rate_hz of task depth'),
        ({'max_rate_hz': {'depth': float('inf')}}, 'max_rate_hz of task depth'),
        ({'max_change': float('inf')}, 'budget.max_change'),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        replace(Budget(), **change).checked(PATHS, ['depth', 'detection'])


def test_defaults_are_everything() -> None:
    budget = Budget().checked(['full'], ['depth'])
    # One budget serves models with different tasks.
    Budget(weights={'segmentation': 0.5}).checked(['full'], ['depth'])
    assert (budget.compute, budget.latency_ms, budget.max_stale_ms) == (1, 0, 0)
    assert budget.weight('depth') == 1
    assert budget.period_ns('depth') == 0
    assert replace(budget, max_rate_hz={'depth': 10.0}).period_ns('depth') == 1e8


@settings(max_examples=100, deadline=None)
@given(st.floats(0.05, 1), st.lists(st.floats(0, 1), max_size=300))
def test_credit_is_what_was_left_over_within_bounds(budget: float, spent: list[float]) -> None:
    spending = Spending(budget)
    for fraction in spent:
        spending.add(fraction * 1e8, 1e8)
        assert -MOST_CREDIT <= spending.credit <= MOST_CREDIT
    if spent:
        assert spending.realised == pytest.approx(np.mean(spent[-100:]))


def test_a_frame_of_which_nothing_is_wanted_counts_nowhere() -> None:
    spending = Spending(0.5)
    spending.add(0, 0)
    assert (spending.credit, spending.realised) == (0, 0)


def test_credit_and_realised_budget_by_hand() -> None:
    spending = Spending(0.5)
    for spent in (0, 4, 1):
        spending.add(spent, 4)
    assert spending.credit == 0.5 - 0.5 + 0.25
    assert spending.realised == 5 / 12
    for _ in range(99):
        spending.add(4, 4)
    assert spending.credit == -MOST_CREDIT == -4
    assert spending.realised == pytest.approx((1 / 4 + 99) / 100), 'of the last 100 frames'
