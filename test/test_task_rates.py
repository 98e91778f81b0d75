# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TaskRates: tasks rest by their weight."""

from __future__ import annotations

from collections import Counter

from mt_perception.planning.task_rates import TaskRates


def runs(weights: dict[str, float], turns: int = 60) -> Counter[str]:
    """How often each task is run."""
    order, counts = TaskRates(), Counter()
    for _ in range(turns):
        counts.update(set(weights) - order.deferred(weights, weights))
    return counts


def test_equal_tasks_never_rest() -> None:
    assert runs({'depth': 1.0, 'detection': 1.0}) == {'depth': 60, 'detection': 60}
    assert runs({'depth': 0.0}) == {'depth': 60}


def test_half_the_weight_is_half_as_often() -> None:
    found = runs({'detection': 2.0, 'depth': 1.0, 'segmentation': 0.5, 'other': 0.0})
    assert found == {'detection': 60, 'depth': 30, 'segmentation': 15, 'other': 1}


def test_the_first_turn_is_everyones() -> None:
    weights = {'detection': 1.0, 'depth': 0.5, 'other': 0.0}
    assert TaskRates().deferred(weights, weights) == frozenset()


def test_nobody_waits_for_a_task_that_is_not_wanted() -> None:
    order = TaskRates()
    weights = {'detection': 1.0, 'depth': 0.25}
    for _ in range(3):
        assert order.deferred(['depth'], weights) == frozenset()
