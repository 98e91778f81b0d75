# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Task order (Antler): the sequence of tasks with the least expected cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mt_perception.model.task_graph import Block, TaskGraph
from mt_perception.planning.order_problem import (
    START,
    Condition,
    OrderProblem,
    States,
    exact_order,
    expected_cost,
)

BEAM = 256
KICKS = 120
EXCHANGES_PER_KICK = 5
TOLERANCE = 1.1
"""A kick may lead to an order that is this much worse than the best one; from there it goes on."""

MAX_OUTCOMES = 64
"""So many ways in which conditional tasks may run are judged, the likeliest ones."""

Order = NDArray[np.intp]
"""(n + 1,): the start, which has the index n, and then n tasks."""


def searched_order(problem: OrderProblem) -> tuple[int, ...]:
    """An order of low expected cost, as indices; time grows as n⁴."""
    neighbours = _Neighbours(problem)
    start = (len(problem.tasks), *_beam(problem))
    current, least = _descended(neighbours, np.array(start, np.intp))
    found = [current]
    rng = np.random.default_rng(0)
    for _ in range(KICKS):
        kicked = current
        for _ in range(EXCHANGES_PER_KICK):
            allowed = np.flatnonzero(neighbours.allowed(kicked))
            if len(allowed):
                kicked = neighbours.exchanged(kicked, rng.choice(allowed))
        order, cost = _descended(neighbours, kicked)
        if cost < least:
            found.append(order)
        if cost <= least * TOLERANCE:
            current, least = order, min(least, cost)
    orders = [tuple(order[1:].tolist()) for order in found]
    return min(orders, key=lambda order: expected_cost(problem, order))


def _beam(problem: OrderProblem) -> tuple[int, ...]:
    """The best of a few beginnings, made longer task by task."""
    # What each task costs at least: without it the beam would take all cheap steps first.
    least = [min(row[task] for row in problem.costs) for task in range(len(problem.tasks))]
    beam: list[tuple[float, tuple[int, ...], int, States]] = [(0.0, (), 0, START)]
    for _ in problem.tasks:
        longer = []
        for excess, order, placed, states in beam:
            for task in problem.ready(placed):
                step, after = problem.place(states, placed, task)
                step -= problem.chances[task][0] * least[task]
                longer.append((excess + step, (*order, task), placed | 1 << task, after))
        beam = sorted(longer, key=lambda entry: entry[:2])[:BEAM]
    return beam[0][1]


def _descended(neighbours: _Neighbours, order: Order) -> tuple[Order, float]:
    """The best exchange again and again, until none helps; and what that order costs."""
    while True:
        cost, costs = neighbours.costs(order)
        best = int(costs.argmin()) if len(costs) else 0
        # A gain below the rounding of a sum could be found again and again.
        if not len(costs) or not costs[best] < cost * (1 - 1e-12):
            return order, cost
        order = neighbours.exchanged(order, best)


class _Neighbours:
    """The orders that one exchange makes of an order, judged all at once.

    Once it is known which of the tasks that others depend on ran, every other task runs by a draw
    of its own: so costs are added up over these outcomes, each with its probability. Under such
    draws a run of tasks is known by four things, whatever comes before it: which task runs first
    and which last, whether none runs, and what its own steps cost.
    """

    def __init__(self, problem: OrderProblem) -> None:
        count = len(problem.tasks)
        # Exchange k makes a:b and b:c change places; the start stays where it is.
        exchanges = list(combinations(range(1, count + 2), 3))
        self._a, self._b, self._c = np.array(exchanges, np.intp).reshape(-1, 3).T
        self._costs = np.zeros((count + 1, count + 1))
        self._costs[:, :count] = problem.costs
        self._outcomes = _outcomes(problem)
        self._before = np.zeros((count + 1, count + 1), np.intp)
        for later, required in enumerate(problem.requires):
            for earlier in range(count):
                self._before[earlier, later] = required >> earlier & 1

    def exchanged(self, order: Order, number: int) -> Order:
        """The order after one exchange."""
        a, b, c = self._a[number], self._b[number], self._c[number]
        return np.concatenate([order[:a], order[b:c], order[a:b], order[c:]])

    def allowed(self, order: Order) -> NDArray[np.bool_]:
        """(exchanges,) whether no task of the first run must come before one of the second."""
        pairs = np.zeros((len(order) + 1, len(order) + 1), np.intp)
        pairs[1:, 1:] = self._before[order][:, order].cumsum(0).cumsum(1)
        a, b, c = self._a, self._b, self._c
        between = pairs[b, c] - pairs[a, c] - pairs[b, b] + pairs[a, b]
        return np.asarray(between == 0)

    def costs(self, order: Order) -> tuple[float, NDArray[np.float64]]:
        """Expected cost of the order, and (exchanges,) after each; infinite where forbidden."""
        cost, costs = 0.0, np.zeros(len(self._a))
        for weight, chances in self._outcomes:
            here, there = self._costs_of_draws(order, chances)
            cost += weight * here
            costs += weight * there
        costs[~self.allowed(order)] = np.inf
        return cost, costs

    def _costs_of_draws(
        self, order: Order, chances: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """The same where every task runs with its own (n + 1,) chance."""
        first, last, none, inner = _runs(order, chances, self._costs)
        enter = first @ self._costs.T  # What a run costs to enter, by the task before it.
        a, b, c = self._a, self._b, self._c
        costs, state = inner[0, a], last[0, a]
        for run in ((b, c), (a, b), (c, len(order))):
            costs = costs + np.einsum('ij,ij->i', state, enter[run]) + inner[run]
            state = state * none[run][:, None] + last[run]
        return float(inner[0, -1]), costs


def _runs(
    order: Order, chances: NDArray[np.float64], costs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """What is known of every run order[i:j] by itself, at [i, j].

    Returns:
        Twice (m + 1, m + 1, m): the probability of each task to be the first, and the last, of
        the run that runs. Twice (m + 1, m + 1): the probability that none of the run runs, and
        the expected cost of its steps within.
    """
    count = len(order)
    first, last = np.zeros((2, count + 1, count + 1, count))
    none, inner = np.ones((count + 1,) * 2), np.zeros((count + 1,) * 2)
    for end, task in enumerate(order):
        runs, longer = (slice(end + 1), end), (slice(end + 1), end + 1)
        chance = chances[task]
        inner[longer] = inner[runs] + chance * (last[runs] @ costs[:, task])
        first[longer] = first[runs]
        first[(*longer, task)] = chance * none[runs]
        last[longer] = last[runs] * (1 - chance)
        last[(*longer, task)] = chance
        none[longer] = none[runs] * (1 - chance)
    return first, last, none, inner


def _outcomes(problem: OrderProblem) -> list[tuple[float, NDArray[np.float64]]]:
    """Which of the tasks that others depend on run: probability, and (n + 1,) chances."""
    triggers = sum(bit for bit, _ in problem.triggers)
    outcomes: list[tuple[float, int]] = [(1.0, 0)]
    placed = 0
    # Every task after those it depends on.
    while ready := list(problem.ready(placed)):
        placed |= sum(1 << task for task in ready)
        for task in ready:
            if not triggers >> task & 1:
                continue
            probability, depends = problem.chances[task]
            split = []
            for weight, ran in outcomes:
                chance = 0.0 if depends & ~ran else probability
                split += [(weight * chance, ran | 1 << task), (weight * (1 - chance), ran)]
            outcomes = sorted((s for s in split if s[0] > 0), reverse=True)[:MAX_OUTCOMES]
    return [(weight, _chances(problem, triggers, ran)) for weight, ran in outcomes]


def _chances(problem: OrderProblem, triggers: int, ran: int) -> NDArray[np.float64]:
    """(n + 1,) the chance of each task and the start, where it is known which triggers ran."""
    found = [0.0 if depends & ~ran else chance for chance, depends in problem.chances]
    for task in range(len(found)):
        if triggers >> task & 1:
            found[task] = float(ran >> task & 1)
    return np.array([*found, 1.0])


EXACT_UP_TO = 10
"""Tasks up to which the order is the best one; a tenth of a second at most."""


def planned_order(problem: OrderProblem) -> tuple[str, ...]:
    """The tasks in an order of least expected cost; the best one for up to EXACT_UP_TO tasks."""
    few = len(problem.tasks) <= EXACT_UP_TO
    order = exact_order(problem) if few else searched_order(problem)
    return tuple(problem.tasks[task] for task in order)


def order_problem(
    graph: TaskGraph,
    tasks: Iterable[str],
    cost: Callable[[Block], float],
    before: Iterable[tuple[str, str]] = (),
    conditions: Mapping[str, Condition] | None = None,
) -> OrderProblem:
    """The order of a graph's tasks as a problem.

    The step from task i to task j costs the blocks of j that are not on the common prefix with i:
    those that i does not need as well.

    Args:
        graph: The task graph.
        tasks: The tasks to put in order.
        cost: What it costs to load and run one block.
        before: Pairs of tasks: the first must come before the second.
        conditions: Task → when it runs; a task that is not named always runs.

    Raises:
        ModelError: A task is not of this graph.
        OptionError: The constraints do not fit the tasks, or each other.
    """
    names = tuple(tasks)
    ways = [{block.name: cost(block) for block in graph.blocks_for([task])} for task in names]
    return OrderProblem(
        tasks=names,
        first=tuple(sum(way.values()) for way in ways),
        step=tuple(
            tuple(sum(price for name, price in way.items() if name not in done) for way in ways)
            for done in ways
        ),
        before=frozenset(before),
        conditions=conditions or {},
    )
