# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The order of tasks: the best one for few, close to it for many, and costs as defined."""

from __future__ import annotations

import math
import random
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_trees import cheapest, random_constraints, random_problem, random_tree

from mt_perception.errors import OptionError
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph
from mt_perception.planning.order_problem import (
    NOTHING,
    Condition,
    OrderProblem,
    exact_order,
    expected_cost,
)
from mt_perception.planning.task_order import order_problem, planned_order, searched_order

SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.sampled_from([0.0, 0.1, 0.3, 1.0])


def drawn_cost(problem: OrderProblem, order: list[int]) -> float:
    """The expected cost straight from its definition: over every way in which tasks may run."""
    total = 0.0
    for ran in product([False, True], repeat=len(order)):
        weight = 1.0
        for task, name in enumerate(problem.tasks):
            condition = problem.conditions.get(name, Condition(1.0))
            on = condition.on
            chance = condition.probability
            if on is not None and not ran[problem.tasks.index(on)]:
                chance = 0.0
            weight *= chance if ran[task] else 1 - chance
        way = [NOTHING, *(task for task in order if ran[task])]
        total += weight * sum(problem.costs[i][j] for i, j in pairwise(way))
    return total


def indices(problem: OrderProblem, order: tuple[str, ...]) -> list[int]:
    return [problem.tasks.index(name) for name in order]


def problems(most: int) -> st.SearchStrategy[OrderProblem]:
    """Random steps, or those of a random tree; with precedence and conditions."""

    def build(seed: int, tasks: int, precedence: float, conditional: float) -> OrderProblem:
        rng = random.Random(seed)
        if seed % 2:
            return random_problem(rng, tasks, precedence, conditional)
        graph = random_tree(rng, tasks)
        constraints = random_constraints(rng, list(graph.tasks), precedence, conditional)
        return order_problem(graph, graph.tasks, lambda block: block.macs, *constraints)

    return st.builds(build, SEEDS, st.integers(1, most), SHARES, SHARES)


@given(problems(7), st.randoms(use_true_random=False))
def test_cost_is_the_mean_over_draws(problem: OrderProblem, rng: random.Random) -> None:
    order: list[int] = []
    while len(order) < len(problem.tasks):
        order.append(rng.choice(list(problem.ready(sum(1 << task for task in order)))))
    assert expected_cost(problem, order) == pytest.approx(drawn_cost(problem, order), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(problems(6))
def test_the_best_order_of_few_tasks(problem: OrderProblem) -> None:
    order = indices(problem, planned_order(problem))
    assert expected_cost(problem, order) == pytest.approx(cheapest(problem), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize('tasks', [7, 8])
@pytest.mark.parametrize('conditional', [0.0, 0.5, 1.0])
@pytest.mark.parametrize('precedence', [0.05, 0.3])
def test_the_best_order_of_eight(tasks: int, conditional: float, precedence: float) -> None:
    problem = random_problem(random.Random(tasks), tasks, precedence, conditional)
    order = exact_order(problem)
    assert expected_cost(problem, order) == pytest.approx(cheapest(problem), rel=1e-9)


def test_a_task_that_does_not_run_leaves_its_share_to_the_next() -> None:
    trunk = Block('trunk', {'x': IMAGE}, ('y',), macs=100, parameters=0)
    heads = [Block(name, {'x': 'trunk/y'}, ('y',), 10, 0) for name in ('a', 'b')]
    graph = TaskGraph([trunk, *heads], {'a': ['a/y'], 'b': ['b/y']})

    def macs(block: Block) -> float:
        return block.macs

    sure = order_problem(graph, ['a', 'b'], macs)
    assert sure.first == (110, 110)
    assert sure.step == ((0, 10), (10, 0))
    assert expected_cost(sure, [0, 1]) == 120
    sometimes = order_problem(graph, ['a', 'b'], macs, conditions={'a': Condition(0.25)})
    assert expected_cost(sometimes, [0, 1]) == pytest.approx(0.25 * 120 + 0.75 * 110)
    both = {'a': Condition(0.5), 'b': Condition(0.5, on='a')}
    chained = order_problem(graph, ['a', 'b'], macs, conditions=both)
    assert expected_cost(chained, [0, 1]) == pytest.approx(0.25 * 120 + 0.25 * 110)
    assert expected_cost(chained, [1, 0]) == math.inf
    assert planned_order(chained) == ('a', 'b')


def test_equal_tasks_keep_the_order_they_are_given_in() -> None:
    names = tuple('dcba')
    problem = OrderProblem(names, (1.0,) * 4, ((1.0,) * 4,) * 4)
    assert planned_order(problem) == names
    later = OrderProblem(names, (1.0,) * 4, ((1.0,) * 4,) * 4, frozenset({('a', 'd')}))
    assert planned_order(later).index('a') < planned_order(later).index('d')


def test_nothing_to_put_in_order() -> None:
    assert planned_order(OrderProblem((), (), ())) == ()
    for count in (1, 2, 3):
        assert len(searched_order(random_problem(random.Random(0), count))) == count


@pytest.mark.parametrize('seed', range(2))
def test_many_tasks_of_a_tree_pay_every_block_once(seed: int) -> None:
    graph = random_tree(random.Random(seed), 20)
    problem = order_problem(graph, graph.tasks, lambda block: block.macs)
    order = planned_order(problem)
    # Depth first through the tree is the best there is: every block is paid exactly once.
    blocks = sum(block.macs for block in graph.blocks.values())
    assert expected_cost(problem, indices(problem, order)) <= 1.02 * blocks


@pytest.mark.parametrize('conditional', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('precedence', [0.0, 0.1])
def test_the_search_for_many_is_good_for_few(conditional: float, precedence: float) -> None:
    for seed in range(2):
        problem = random_problem(random.Random(seed), 9, precedence, conditional)
        best = expected_cost(problem, exact_order(problem))
        assert expected_cost(problem, searched_order(problem)) <= 1.02 * best + 1e-12


def test_many_tasks_keep_their_precedence() -> None:
    problem = random_problem(random.Random(1), 14, precedence=0.3, conditional=0.2)
    order = planned_order(problem)
    assert sorted(order) == sorted(problem.tasks)
    for earlier, later in problem.before:
        assert order.index(earlier) < order.index(later)
    assert planned_order(problem) == order  # Chance has a fixed seed.


def test_what_is_refused() -> None:
    with pytest.raises(OptionError, match='2 first costs'):
        OrderProblem(('a', 'b'), (1.0,), ((0.0, 1.0), (1.0, 0.0)))
    with pytest.raises(OptionError, match='finite'):
        OrderProblem(('a',), (math.nan,), ((0.0,),))
    with pytest.raises(OptionError, match=r'probability 1\.5'):
        OrderProblem(('a',), (1.0,), ((0.0,),), conditions={'a': Condition(1.5)})
    with pytest.raises(OptionError, match='an order is asked of c; the tasks are a, b'):
        OrderProblem(('a', 'b'), (1.0, 1.0), ((0.0, 1.0),) * 2, frozenset({('a', 'c')}))
    with pytest.raises(OptionError, match='an order is asked of z'):
        OrderProblem(('a',), (1.0,), ((0.0,),), conditions={'z': Condition(0.5)})
    circle = {'a': Condition(0.5, on='b')}
    with pytest.raises(OptionError, match='a, b wait for each other'):
        OrderProblem(('a', 'b'), (1.0, 1.0), ((0.0, 1.0),) * 2, frozenset({('a', 'b')}), circle)
