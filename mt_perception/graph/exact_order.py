# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The best order of a few tasks: best-first search under the bound of Held and Karp.

Where every task runs, the state of Held and Karp's recursion (the set of tasks placed, and the
last one) says all that the rest of the order costs, and the bound is the answer. With conditional
tasks the state also has to say which of them ran, and an order is fixed before that is known. The
recursion, which decides the next task knowing it, then costs at most as much as any fixed order:
it bounds a search over fixed orders, and the first complete order found under it is the best.
"""

from __future__ import annotations

import heapq
import math

from mt_perception.graph.order_problem import START, OrderProblem, State, States


def exact_order(problem: OrderProblem) -> tuple[int, ...]:
    """The order of least expected cost, as indices; time and memory grow as 2^n · n²."""
    bounds: dict[tuple[int, State], float] = {}
    cheapest: dict[tuple[int, frozenset[tuple[State, float]]], float] = {}
    # Of equal bounds the longer order is looked at first: equal tasks cost no search.
    root = _bound(problem, bounds, 0, START)
    heap: list[tuple[float, int, tuple[int, ...], float, int, States]]
    heap = [(root, 0, (), 0.0, 0, START)]
    while heap:
        _, _, order, cost, placed, states = heapq.heappop(heap)
        if placed == problem.everything:
            return order
        for task in problem.ready(placed):
            step, after = problem.place(states, placed, task)
            total, reached = cost + step, placed | 1 << task
            key = (reached, frozenset(after.items()))
            if total >= cheapest.get(key, math.inf):
                continue
            cheapest[key] = total
            bound = total + _bound(problem, bounds, reached, after)
            entry = (bound, -len(order) - 1, (*order, task), total, reached, after)
            heapq.heappush(heap, entry)
    return ()


def _bound(
    problem: OrderProblem,
    bounds: dict[tuple[int, State], float],
    placed: int,
    states: States,
) -> float:
    """What the tasks still to come cost at least, in the mean over states."""
    return sum(weight * _least(problem, bounds, placed, state) for state, weight in states.items())


def _least(
    problem: OrderProblem, bounds: dict[tuple[int, State], float], placed: int, state: State
) -> float:
    """Held and Karp's recursion: the least cost from here on, knowing what ran."""
    if placed == problem.everything:
        return 0.0
    if (placed, state) not in bounds:
        least = math.inf
        for task in problem.ready(placed):
            step, after = problem.place({state: 1.0}, placed, task)
            least = min(least, step + _bound(problem, bounds, placed | 1 << task, after))
        bounds[placed, state] = least
    return bounds[placed, state]
