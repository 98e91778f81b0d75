# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The order of tasks: one after the other so that each finds much of its way done (Antler)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mt_perception.graph.block import Block
from mt_perception.graph.exact_order import exact_order
from mt_perception.graph.order_problem import Condition, OrderProblem
from mt_perception.graph.order_search import searched_order
from mt_perception.graph.task_graph import TaskGraph

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
