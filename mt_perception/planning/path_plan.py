# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the plan that serves a set of tasks on one path, in stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mt_perception.execution.plan import Plan, Stage, with_releases
from mt_perception.model.paths import FULL, NetPath
from mt_perception.model.task_graph import Block, TaskGraph
from mt_perception.planning.conditions import ConditionGate, TaskCondition, task_order


def full_plan(graph: TaskGraph, tasks: Iterable[str]) -> Plan:
    """Build the plan with every block that the tasks need, and no other.

    Raises:
        ModelError: A task is not in this graph.
    """
    return path_plan(graph, tasks, FULL)


def path_plan(
    graph: TaskGraph,
    tasks: Iterable[str],
    path: NetPath,
    conditions: Sequence[TaskCondition] = (),
) -> Plan:
    """Build the plan that serves all tasks on one path.

    Tasks are ordered so that each reuses most of the blocks of earlier tasks. Unconditional
    neighbours form one stage; a conditional task is a separate stage with a gate. The blocks
    of a task run together, so that their tensors are released early.

    Args:
        graph: The task graph; of a path with early outputs, the early one.
        tasks: The tasks to serve.
        path: The path.
        conditions: Conditions of some of the tasks. The task that decides is among ``tasks``, or
            its result is there already.

    Raises:
        ModelError: A task is not in this graph.
    """
    names = frozenset(tasks)
    graph.blocks_for(names)  # Refuses unknown tasks by name.
    by_task = {one.task: one for one in conditions if one.task in names}
    variants = {variant.stands_for: variant for variant in path.variants}
    groups: list[tuple[list[str], TaskCondition | None]] = []
    for task in task_order(graph, names, tuple(by_task.values())):
        condition = by_task.get(task)
        if condition is None and groups and groups[-1][1] is None:
            groups[-1][0].append(task)
        else:
            groups.append(([task], condition))
    always: set[str] = set()
    stages = []
    for members, condition in groups:
        blocks = _blocks(graph, members)
        stages.append(
            Stage(
                # A block of a conditional stage is listed again in a later stage that needs it.
                tuple(variants.get(n, b) for n, b in blocks.items() if n not in always),
                tuple(members),
                frozenset(tensor for task in members for tensor in graph.tasks[task]),
                None if condition is None else ConditionGate(condition),
                early=path.early,
            )
        )
        if condition is None:
            always |= blocks.keys()
    return Plan(with_releases(stages), path.name, scale=path.scale)


def _blocks(graph: TaskGraph, tasks: Iterable[str]) -> Mapping[str, Block]:
    """Return the blocks of tasks by name, each task's own blocks together."""
    return {block.name: block for task in tasks for block in graph.blocks_for([task])}
