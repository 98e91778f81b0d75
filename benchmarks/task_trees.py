# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic task graphs and orders to plan, as hard as one wants; the tests use them too."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from mt_perception.model.task_graph import IMAGE, Block, TaskGraph
from mt_perception.planning.order_problem import START, Condition, OrderProblem, States


def random_tree(rng: random.Random, tasks: int) -> TaskGraph:
    """A tree of blocks in which every task is a leaf, and blocks differ widely in cost.

    Listed so that neighbours in the list have little in common: an order that is not planned pays.
    """
    blocks: list[Block] = []
    leaves: dict[str, list[str]] = {}

    def grow(names: Sequence[str], reads: str) -> None:
        macs, parameters = (round(10 ** rng.uniform(3, 5)) for _ in range(2))
        block = Block(f'b{len(blocks)}', {'x': reads}, ('y',), macs, parameters)
        blocks.append(block)
        if len(names) == 1:
            leaves[names[0]] = [block.tensor('y')]
        elif rng.random() < 0.3:
            grow(names, block.tensor('y'))
        else:
            cut = rng.randint(1, len(names) - 1)
            for part in (names[:cut], names[cut:]):
                grow(part, block.tensor('y'))

    names = [f't{i}' for i in range(tasks)]
    rng.shuffle(names)
    grow(names, IMAGE)
    return TaskGraph(blocks, {f't{i}': leaves[f't{i}'] for i in range(tasks)})


def random_constraints(
    rng: random.Random, tasks: Sequence[str], precedence: float, conditional: float
) -> tuple[set[tuple[str, str]], dict[str, Condition]]:
    """Pairs of tasks in a forced order, and tasks that run sometimes; half of these on others.

    Args:
        rng: Random numbers.
        tasks: Names of the tasks.
        precedence: Fraction of all pairs that have an order.
        conditional: Fraction of the tasks that are conditional.
    """
    names = rng.sample(tasks, len(tasks))
    before = {
        (earlier, later)
        for i, later in enumerate(names)
        for earlier in names[:i]
        if rng.random() < precedence
    }
    conditions = {}
    for i, name in enumerate(names):
        if rng.random() < conditional:
            on = rng.choice(names[:i]) if i and rng.random() < 0.5 else None
            conditions[name] = Condition(rng.choice([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), on)
    return before, conditions


def random_problem(
    rng: random.Random, tasks: int, precedence: float = 0.0, conditional: float = 0.0
) -> OrderProblem:
    """An order to plan whose steps cost anything from 0 to 1, more one way than the other."""
    names = tuple(f't{i}' for i in range(tasks))
    before, conditions = random_constraints(rng, names, precedence, conditional)
    costs = [tuple(rng.random() for _ in names) for _ in range(tasks + 1)]
    return OrderProblem(names, costs[-1], tuple(costs[:-1]), frozenset(before), conditions)


def cheapest(problem: OrderProblem, states: States = START, placed: int = 0) -> float:
    """The least cost over all permitted orders, by trying them."""
    if placed == problem.everything:
        return 0.0
    found = math.inf
    for task in problem.ready(placed):
        step, after = problem.place(states, placed, task)
        found = min(found, step + cheapest(problem, after, placed | 1 << task))
    return found
