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
"""Largest cost of an order to continue from, relative to the best one."""

MAX_OUTCOMES = 64
"""Maximum number of outcomes of the conditional tasks that count, the likeliest ones."""

Order = NDArray[np.intp]
"""(n + 1,): the start, which has the index n, and then n tasks."""


def searched_order(problem: OrderProblem) -> tuple[int, ...]:
    """Return an order of low expected cost, as indices; time grows as n⁴."""
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
    """Return the best order of a beam search that appends one task at a time."""
    # The least cost of each task; without it the beam would take all cheap steps first.
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
    """Apply the best exchange until none helps; return the order and its cost."""
    while True:
        cost, costs = neighbours.costs(order)
        best = int(costs.argmin()) if len(costs) else 0
        # A gain below the rounding error of a sum would be found for ever.
        if not len(costs) or not costs[best] < cost * (1 - 1e-12):
            return order, cost
        order = neighbours.exchanged(order, best)


class _Neighbours:
    """The orders that one exchange makes of an order, evaluated at once.

    Given which of the deciding tasks ran, every other task runs independently: costs are summed
    over these outcomes, weighted by probability. Then four quantities describe a run of tasks,
    whatever comes before it: the probabilities of the first and of the last task that runs, the
    probability that none runs, and the cost of its own steps.
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
        """Return the order after one exchange."""
        a, b, c = self._a[number], self._b[number], self._c[number]
        return np.concatenate([order[:a], order[b:c], order[a:b], order[c:]])

    def allowed(self, order: Order) -> NDArray[np.bool_]:
        """Return (exchanges,): whether no task of the first run must precede one of the second."""
        pairs = np.zeros((len(order) + 1, len(order) + 1), np.intp)
        pairs[1:, 1:] = self._before[order][:, order].cumsum(0).cumsum(1)
        a, b, c = self._a, self._b, self._c
        between = pairs[b, c] - pairs[a, c] - pairs[b, b] + pairs[a, b]
        return np.asarray(between == 0)

    def costs(self, order: Order) -> tuple[float, NDArray[np.float64]]:
        """Return the expected cost, and (exchanges,) that after each; infinite if forbidden."""
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
        """Return the same for independent probabilities (n + 1,) of the tasks."""
        first, last, none, inner = _runs(order, chances, self._costs)
        enter = first @ self._costs.T  # Cost of entering a run, by the task before it.
        a, b, c = self._a, self._b, self._c
        costs, state = inner[0, a], last[0, a]
        for run in ((b, c), (a, b), (c, len(order))):
            costs = costs + np.einsum('ij,ij->i', state, enter[run]) + inner[run]
            state = state * none[run][:, None] + last[run]
        return float(inner[0, -1]), costs


def _runs(
    order: Order, chances: NDArray[np.float64], costs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Return four quantities of every run order[i:j], at [i, j].

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
    """Return the outcomes of the deciding tasks: probability, and (n + 1,) probabilities."""
    triggers = sum(bit for bit, _ in problem.triggers)
    outcomes: list[tuple[float, int]] = [(1.0, 0)]
    placed = 0
    # Every task comes after the tasks it depends on.
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
    """Return (n + 1,): probability of each task and the start, given which triggers ran."""
    found = [0.0 if depends & ~ran else chance for chance, depends in problem.chances]
    for task in range(len(found)):
        if triggers >> task & 1:
            found[task] = float(ran >> task & 1)
    return np.array([*found, 1.0])


EXACT_UP_TO = 10
"""Largest number of tasks that is solved exactly, in a tenth of a second at most."""


def planned_order(problem: OrderProblem) -> tuple[str, ...]:
    """Return the tasks in an order of low expected cost; optimal up to EXACT_UP_TO tasks."""
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
    """Return the ordering problem of a graph's tasks.

    The step from task i to task j costs the blocks of j that i does not need as well (those that
    are not on the common prefix; Antler, arXiv 2302.13155).

    Args:
        graph: The task graph.
        tasks: The tasks to put in order.
        cost: Returns the cost of loading and running one block.
        before: Pairs of tasks: the first must come before the second.
        conditions: Task → its condition; a task without one always runs.

    Raises:
        ModelError: A task is not in this graph.
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
