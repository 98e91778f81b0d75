# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How good planned orders of tasks are, and how long planning takes (once for a set of tasks).

Up to 8 tasks against all permitted orders; 20 tasks against the optimum of Held and Karp where
every task runs, else against the best of five searches that see the tasks in another order.

Usage: python benchmarks/bench_order.py [--problems 3]
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable

import numpy as np
from task_trees import cheapest, random_constraints, random_problem, random_tree

from mt_perception.model.task_graph import Block
from mt_perception.planning.order_problem import OrderProblem, expected_cost
from mt_perception.planning.task_order import order_problem, planned_order

BAR_FEW, BAR_MANY = 1.000, 1.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--problems', type=int, default=3, help='of each kind')
    count = parser.parse_args().problems
    print('tasks  steps    precedence  conditional  planned/best  slowest plan  aim')
    for tasks, reference, bar in ((8, cheapest, BAR_FEW), (20, best_known, BAR_MANY)):
        for make in (tree_problem, random_problem):
            for precedence, conditional in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.3), (0.1, 0.5)):
                worst, slowest_s = compare(make, tasks, precedence, conditional, reference, count)
                print(
                    f'{tasks:5}  {make.__name__.split("_")[0]:8} {precedence:9.2f} '
                    f'{conditional:12.2f} {worst:13.4f} {slowest_s:10.2f} s   {bar:.3f}'
                )


def compare(
    make: Callable[[random.Random, int, float, float], OrderProblem],
    tasks: int,
    precedence: float,
    conditional: float,
    reference: Callable[[OrderProblem], float],
    count: int,
) -> tuple[float, float]:
    """The worst ratio of planned to reference cost over some problems, and the slowest plan."""
    worst, slowest_s = 0.0, 0.0
    for seed in range(count):
        problem = make(random.Random(seed), tasks, precedence, conditional)
        start = time.perf_counter()
        cost = named_cost(problem, planned_order(problem))
        slowest_s = max(slowest_s, time.perf_counter() - start)
        worst = max(worst, cost / min(reference(problem), cost) if cost else 1.0)
    return worst, slowest_s


def tree_problem(
    rng: random.Random, tasks: int, precedence: float, conditional: float
) -> OrderProblem:
    """The order of a random tree's tasks; a weight is loaded in the time of a MAC."""

    def work(block: Block) -> float:
        return block.macs + block.parameters

    graph = random_tree(rng, tasks)
    constraints = random_constraints(rng, list(graph.tasks), precedence, conditional)
    return order_problem(graph, graph.tasks, work, *constraints)


def named_cost(problem: OrderProblem, order: tuple[str, ...]) -> float:
    return expected_cost(problem, [problem.tasks.index(name) for name in order])


def best_known(problem: OrderProblem) -> float:
    """The optimum where every task runs; else the best that more searches find."""
    return searched_again(problem) if problem.conditions else held_karp(problem)


def searched_again(problem: OrderProblem) -> float:
    """The least cost of five searches, each of which sees the tasks in another order."""
    best = math.inf
    for seed in range(5):
        places = random.Random(seed).sample(range(len(problem.tasks)), len(problem.tasks))
        shuffled = OrderProblem(
            tuple(problem.tasks[i] for i in places),
            tuple(problem.first[i] for i in places),
            tuple(tuple(problem.step[i][j] for j in places) for i in places),
            problem.before,
            problem.conditions,
        )
        best = min(best, named_cost(problem, planned_order(shuffled)))
    return best


def held_karp(problem: OrderProblem) -> float:
    """The optimum over 2^n sets of tasks and their last one; 84 MB for 20 tasks."""
    count = len(problem.tasks)
    steps = np.array(problem.step, np.float32)
    sets = np.arange(1 << count)
    sizes = sum(sets >> task & 1 for task in range(count))
    least = np.full((1 << count, count), np.inf, np.float32)
    for task in range(count):
        if not problem.requires[task]:
            least[1 << task, task] = problem.first[task]
    for size in range(2, count + 1):
        now = sets[sizes == size]
        for task, required in enumerate(problem.requires):
            ends_here = now[(now >> task & 1 == 1) & (now & required == required)]
            before = least[ends_here ^ 1 << task]
            least[ends_here, task] = (before + steps[:, task]).min(axis=1)
    return float(least[-1].min())


if __name__ == '__main__':
    main()
