# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of an order of tasks (Antler), and the exact optimum for a few tasks."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mt_perception.errors import OptionError

NOTHING = -1
"""Stands for the last task before any has run; as an index it selects ``first``."""

State = tuple[int, int]
"""The last task that ran, and a bit for each task that ran and still affects later ones."""

States = Mapping[State, float]
"""State → its probability."""


@dataclass(frozen=True)
class Condition:
    """The probability that a task runs.

    Attributes:
        probability: Probability that it runs, given that ``on`` ran.
        on: The task whose result decides. It comes before, and where it does not run this task
            does not run either. None: what decides is known from the start.
    """

    probability: float
    on: str | None = None


@dataclass(frozen=True)
class OrderProblem:
    """Tasks to order, and the costs of their steps.

    The expected cost of an order is the mean over which tasks run: each conditional task by a
    draw of its own, given what it depends on. Of those that run, each pays the step from the one
    that ran last before it; so when a task does not run, what it would have shared with its
    successor is paid by the successor.

    Attributes:
        tasks: Names, in the order to prefer where all else is equal.
        first: Cost of each task where no other ran before it; finite, not negative.
        step: ``step[i][j]`` is the cost of task j where task i ran last.
        before: Pairs of tasks: the first must come before the second.
        conditions: Task → when it runs; a task that is not named always runs.

    Raises:
        OptionError: The parts do not fit each other, or the tasks wait for each other in a cycle.
    """

    tasks: tuple[str, ...]
    first: tuple[float, ...]
    step: tuple[tuple[float, ...], ...]
    before: frozenset[tuple[str, str]] = frozenset()
    conditions: Mapping[str, Condition] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.tasks)
        rows = (self.first, *self.step)
        if len(rows) != count + 1 or any(len(row) != count for row in rows):
            raise OptionError(f'{count} tasks need {count} first costs and as many steps to each')
        if not all(math.isfinite(cost) and cost >= 0 for row in rows for cost in row):
            raise OptionError('costs of tasks must be finite and not negative')
        for task, condition in self.conditions.items():
            if not 0 <= condition.probability <= 1:
                raise OptionError(
                    f'task {task!r} runs with probability {condition.probability}; expected 0 to 1'
                )
        unknown = sorted(name for pair in self._pairs() for name in pair if name not in self.tasks)
        if unknown or not self.conditions.keys() <= set(self.tasks):
            raise OptionError(
                f'an order is asked of {", ".join(unknown or self.conditions)}; '
                f'the tasks are {", ".join(self.tasks)}'
            )
        self._check_cycles()

    def _pairs(self) -> Iterator[tuple[str, str]]:
        yield from self.before
        for task, condition in self.conditions.items():
            if condition.on is not None:
                yield condition.on, task

    def _check_cycles(self) -> None:
        placed = 0
        while ready := sum(1 << task for task in self.ready(placed)):
            placed |= ready
        if placed != self.everything:
            waiting = [task for i, task in enumerate(self.tasks) if not placed >> i & 1]
            raise OptionError(f'tasks {", ".join(waiting)} wait for each other: a cycle')

    @property
    def everything(self) -> int:
        """All tasks as bits."""
        return (1 << len(self.tasks)) - 1

    @cached_property
    def costs(self) -> tuple[tuple[float, ...], ...]:
        """``costs[last][task]``, where ``last`` may be NOTHING."""
        return (*self.step, self.first)

    @cached_property
    def requires(self) -> tuple[int, ...]:
        """For each task the tasks that must come before it, as bits."""
        index = {task: i for i, task in enumerate(self.tasks)}
        masks = [0] * len(self.tasks)
        for earlier, later in self._pairs():
            masks[index[later]] |= 1 << index[earlier]
        return tuple(masks)

    @cached_property
    def chances(self) -> tuple[tuple[float, int], ...]:
        """For each task its probability, and as a bit the conditional task it depends on.

        No bit where it depends on none, or on one that always runs.
        """
        bits = {task: 1 << i for i, task in enumerate(self.tasks) if task in self.conditions}
        always = Condition(1.0)
        conditions = [self.conditions.get(task, always) for task in self.tasks]
        return tuple((c.probability, bits.get(c.on, 0) if c.on else 0) for c in conditions)

    @cached_property
    def triggers(self) -> tuple[tuple[int, int], ...]:
        """Every conditional task on which others depend, and these others, as bits."""
        dependents: dict[int, int] = {}
        for task, (_, bit) in enumerate(self.chances):
            if bit:
                dependents[bit] = dependents.get(bit, 0) | 1 << task
        return tuple(dependents.items())

    def ready(self, placed: int) -> Iterator[int]:
        """Yield the tasks that may come next after those in ``placed`` (bits)."""
        for task, required in enumerate(self.requires):
            if not placed >> task & 1 and not required & ~placed:
                yield task

    def place(self, states: States, placed: int, task: int) -> tuple[float, States]:
        """Append one task to an order.

        Args:
            states: The states before it.
            placed: The tasks before, as bits.
            task: The task.

        Returns:
            Its expected cost, and the states after it.
        """
        probability, depends = self.chances[task]
        # A task that ran is remembered only while the probability of a later one depends on it.
        matters = 0
        for bit, dependents in self.triggers:
            if dependents & ~(placed | 1 << task):
                matters |= bit
        cost = 0.0
        after: dict[State, float] = {}
        for (last, ran), weight in states.items():
            chance = 0.0 if depends & ~ran else probability
            if chance > 0:
                cost += weight * chance * self.costs[last][task]
                state = (task, (ran | 1 << task) & matters)
                after[state] = after.get(state, 0.0) + weight * chance
            if chance < 1:
                state = (last, ran & matters)
                after[state] = after.get(state, 0.0) + weight * (1 - chance)
        return cost, after


START: States = {(NOTHING, 0): 1.0}
"""The states before the first task."""


def expected_cost(problem: OrderProblem, order: Sequence[int]) -> float:
    """Return the expected cost of an order of task indices; infinite for a forbidden order.

    Equal to the sum over a < b of ``step[a][b]`` times the probability that a and b run and no
    task between them does, plus the same for ``first``.
    """
    cost, placed = 0.0, 0
    states = START
    for task in order:
        if problem.requires[task] & ~placed:
            return math.inf
        step, states = problem.place(states, placed, task)
        cost += step
        placed |= 1 << task
    return cost


def exact_order(problem: OrderProblem) -> tuple[int, ...]:
    """Return the order of least expected cost, as indices; time and memory grow as 2^n · n²."""
    bounds: dict[tuple[int, State], float] = {}
    cheapest: dict[tuple[int, frozenset[tuple[State, float]]], float] = {}
    # Among equal bounds the longer order is expanded first: equal tasks cost no search.
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
    """Return the least mean cost of the remaining tasks over the states."""
    return sum(weight * _least(problem, bounds, placed, state) for state, weight in states.items())


def _least(
    problem: OrderProblem, bounds: dict[tuple[int, State], float], placed: int, state: State
) -> float:
    """Held and Karp's recursion: the least remaining cost for a known state."""
    if placed == problem.everything:
        return 0.0
    if (placed, state) not in bounds:
        least = math.inf
        for task in problem.ready(placed):
            step, after = problem.place({state: 1.0}, placed, task)
            least = min(least, step + _bound(problem, bounds, placed | 1 << task, after))
        bounds[placed, state] = least
    return bounds[placed, state]
