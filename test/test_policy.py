# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which path: what a mixture of paths costs on average, and a policy held to its budget."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.model.paths import FULL, NetPath
from mt_perception.planning.path_policy import PathPolicy, mixed_choice, path_values, worthwhile

COSTS = (1.0, 0.7, 0.4, 0.2)
IMAGE = np.zeros((8, 8, 3), np.uint8)


def test_a_path_is_worth_its_accuracy_by_the_weight_of_tasks() -> None:
    full = NetPath('full', accuracy={'detection': 0.4, 'depth': 0.1})
    light = NetPath('light', relative_macs=0.5, accuracy={'detection': 0.3, 'depth': 0.125})
    both = path_values([full, light], {'detection': 1, 'depth': 1}, {'depth'})
    assert both == pytest.approx((1, (0.75 + 0.8) / 2))
    depth = path_values([full, light], {'detection': 0, 'depth': 2}, {'depth'})
    assert depth == pytest.approx((1, 0.8))


def test_a_path_that_was_not_measured_is_worth_its_cost() -> None:
    light = NetPath('light', relative_macs=0.5)
    assert path_values([FULL, light], {'depth': 1}, {'depth'}) == (1, 0.5)


def test_what_is_not_worth_its_cost_is_left_out() -> None:
    assert worthwhile([1, 0.7, 0.4], [1, 0.5, 0.9]) == [2, 0]
    assert worthwhile([1, 0.7, 0.4], [1, 0.99, 0.9]) == [2, 1, 0]
    assert worthwhile([1, 0.7, 0.4], [1, 0.94, 0.9]) == [2, 0]
    assert worthwhile([1.0], [1.0]) == [0]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0.05, 0.95), max_size=5, unique=True),
    st.data(),
)
def test_a_mixture_costs_the_budget(costs: list[float], data: st.DataObject) -> None:
    costs = [1.0, *sorted(costs, reverse=True)]
    values = [data.draw(st.floats(0.5, 1)) for _ in costs]
    cheapest = min(costs[i] for i in worthwhile(costs, values))
    most = max(costs[i] for i in worthwhile(costs, values))
    budget = data.draw(st.floats(cheapest, most))
    credit, spent = 0.0, []
    for _ in range(100):
        spent.append(costs[mixed_choice(costs, values, budget, credit)])
        credit += budget - spent[-1]
    assert np.mean(spent) == pytest.approx(budget, abs=0.02)


def test_savings_buy_more_and_debts_are_paid() -> None:
    values = COSTS
    assert COSTS[mixed_choice(COSTS, values, 0.4, 3.5)] == 1.0
    assert COSTS[mixed_choice(COSTS, values, 0.7, -3.5)] == 0.2


def looks(taste: Sequence[float]) -> PathPolicy:
    """A policy that likes a path the better the nearer its cost is to the budget it is told."""

    def scores(image: np.ndarray, weights: Sequence[float], budget: float) -> np.ndarray:
        return np.array([-abs(cost - budget) + t for cost, t in zip(COSTS, taste, strict=True)])

    return PathPolicy(scores)


@pytest.mark.parametrize('budget', [0.3, 0.4, 0.6, 0.8])
@pytest.mark.parametrize('taste', [(0, 0, 0, 0), (9, 0, 0, 0), (0, 0, 0, 9)])
def test_a_policy_is_held_to_the_budget(budget: float, taste: Sequence[float]) -> None:
    policy, credit, spent = looks(taste), 0.0, []
    for _ in range(128):
        path = policy.choose(IMAGE, [1.0], COSTS, range(4), budget, credit)
        spent.append(COSTS[path])
        credit = max(-4.0, min(4.0, credit + budget - spent[-1]))
    assert np.mean(spent) == pytest.approx(budget, abs=0.05)


def test_only_what_is_allowed() -> None:
    policy = looks((9, 0, 0, 0))
    assert policy.choose(IMAGE, [1.0], COSTS, [2, 3], 1.0, 0.0) in (2, 3)
    assert policy.choose(IMAGE, [1.0], COSTS, [0], 0.2, -4.0) == 0


def test_calibration_is_fed_between_its_points() -> None:
    told = []

    def scores(image: np.ndarray, weights: Sequence[float], budget: float) -> np.ndarray:
        told.append(budget)
        return np.zeros(4)

    policy = PathPolicy(scores, [(0.4, 0.2), (0.8, 0.6)])
    for budget in (0.4, 0.6, 0.8, 0.1, 1.0):
        policy.choose(IMAGE, [1.0], COSTS, range(4), budget, 0.0)
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.2, 0.6])


def test_every_choice_is_the_recorded_one() -> None:
    """A checksum of choices on a coarse grid, where costs, budgets and credits are often equal."""
    chance, choices = random.Random(1), []
    for _ in range(3000):
        count = chance.randint(1, 5)
        costs = [1.0, *(chance.randint(1, 8) / 8 for _ in range(count - 1))]
        values = [chance.randint(1, 8) / 8 for _ in costs]
        budget, credit = chance.randint(1, 8) / 8, chance.randint(-16, 16) / 4
        current = chance.choice((None, *range(count)))
        scores = np.array([chance.randint(0, 2) for _ in costs], np.float32)
        allowed = sorted(chance.sample(range(count), chance.randint(1, count)))
        policy = PathPolicy(lambda image, weights, budget, scores=scores: scores)
        choices += [
            worthwhile(costs, values),
            mixed_choice(costs, values, budget, credit, current),
            policy.choose(IMAGE, [1.0], costs, allowed, budget, credit),
        ]
    assert zlib.crc32(repr(choices).encode()) == 2167456078


def test_the_budget_input_follows_credit_and_stays_in_range() -> None:
    told = []

    def scores(image: np.ndarray, weights: Sequence[float], budget: float) -> np.ndarray:
        told.append(budget)
        return np.zeros(4)

    for budget, credit in ((0.5, 2.0), (0.5, -2.0), (0.9, 4.0), (0.1, -4.0)):
        PathPolicy(scores).choose(IMAGE, [1.0], COSTS, range(4), budget, credit)
    assert told == pytest.approx([0.6, 0.4, 1.0, 1e-3])
