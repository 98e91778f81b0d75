# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conditional tasks: tasks that run only if another task detects something."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from mt_perception.errors import OptionError
from mt_perception.execution.frame_run import FrameRun
from mt_perception.model.manifest import TaskSpec
from mt_perception.model.task_graph import TaskGraph
from mt_perception.planning.order_problem import Condition
from mt_perception.planning.task_order import order_problem, planned_order
from mt_perception.types import DETECTION, Detections

ANYTHING = 'anything'
UNKNOWN = 0.5
"""The probability of a condition that was not measured."""

_CONDITION = re.compile(r'(\S+) if (\S+) finds (.+?)(?: with probability (\S+))?')


@dataclass(frozen=True)
class TaskCondition:
    """The condition under which a task runs.

    Attributes:
        task: The task.
        on: The detection task whose result decides.
        labels: The task runs if one of these classes is detected; empty means any class.
        probability: Probability that the condition holds; it affects the order of tasks only.
    """

    task: str
    on: str
    labels: tuple[str, ...] = ()
    probability: float = UNKNOWN

    def __str__(self) -> str:
        """Return the condition as ``parse_condition`` reads it."""
        found = ' or '.join(self.labels) or ANYTHING
        text = f'{self.task} if {self.on} finds {found}'
        if self.probability == UNKNOWN:
            return text
        return f'{text} with probability {self.probability:.4g}'


@dataclass(frozen=True)
class ConditionGate:
    """Opens a task's stage if its condition holds.

    Without a result to decide on (the deciding task failed or was not run) it opens.
    """

    condition: TaskCondition

    def opens(self, run: FrameRun) -> bool:
        """Return whether the deciding task has detected one of the classes."""
        if self.condition.on in run.skipped:
            return False
        found = run.results.get(self.condition.on)
        if not isinstance(found, Detections):
            return True
        wanted = self.condition.labels
        return any(not wanted or one.label in wanted for one in found)


def parse_condition(text: str) -> TaskCondition:
    """Parse a condition such as ``segmentation if detection finds person or dog``.

    ``anything`` stands for every class; ``… with probability 0.3`` gives its probability.

    Raises:
        OptionError: The text is no condition.
    """
    match = _CONDITION.fullmatch(' '.join(text.split()))
    try:
        if match is None:
            raise ValueError
        task, on, found, chance = match.groups()
        probability = UNKNOWN if chance is None else float(chance)
        if not 0 <= probability <= 1:
            raise ValueError
    except ValueError:
        raise OptionError(
            f'expected a condition such as "segmentation if detection finds person or dog with '
            f'probability 0.3", found {text!r}'
        ) from None
    labels = () if found == ANYTHING else tuple(found.split(' or '))
    return TaskCondition(task, on, labels, probability)


@lru_cache(64)
def parse_conditions(texts: tuple[str, ...]) -> Mapping[str, TaskCondition]:
    """Parse conditions; return task → its condition.

    Raises:
        OptionError: A text is no condition, a task has two, or conditions form a cycle.
    """
    conditions: dict[str, TaskCondition] = {}
    for condition in map(parse_condition, texts):
        if condition.task in conditions:
            raise OptionError(
                f'task {condition.task!r} has two conditions, '
                f'{str(conditions[condition.task])!r} and {str(condition)!r}; '
                'join the classes with "or" in one'
            )
        conditions[condition.task] = condition
    for task in conditions:
        before = task
        for _ in conditions:
            before = conditions[before].on if before in conditions else ''
        if before in conditions:
            raise OptionError(
                f'the condition of task {task!r} depends on itself; remove one of the cycle'
            )
    return conditions


def with_deciding_tasks(
    wanted: Iterable[str], conditions: Mapping[str, TaskCondition]
) -> frozenset[str]:
    """Return the wanted tasks and the tasks whose results decide about them."""
    found = set(wanted)
    stack = list(found)
    while stack:
        task = stack.pop()
        if task in conditions and conditions[task].on not in found:
            found.add(conditions[task].on)
            stack.append(conditions[task].on)
    return frozenset(found)


@lru_cache(64)
def task_order(
    graph: TaskGraph, tasks: Collection[str], conditions: tuple[TaskCondition, ...]
) -> tuple[str, ...]:
    """Return the task order of least expected cost, each task after the one that decides on it."""
    names = [task for task in graph.tasks if task in tasks]
    known = {
        one.task: Condition(one.probability, one.on)
        for one in conditions
        if one.task in tasks and one.on in tasks
    }
    # A weight is moved about as fast as it is multiplied.
    problem = order_problem(
        graph, names, lambda block: block.macs + block.parameters, conditions=known
    )
    return planned_order(problem)


def saved_macs(graph: TaskGraph, conditions: Mapping[str, TaskCondition]) -> float:
    """Return the expected fraction of MACs that conditions save, over all tasks of a graph.

    Blocks are shared, so every combination of outcomes counts with its probability.
    """
    return 1 - _expected(graph, conditions, frozenset(graph.tasks), tuple(conditions)) / sum(
        block.macs for block in graph.blocks.values()
    )


def _expected(
    graph: TaskGraph,
    conditions: Mapping[str, TaskCondition],
    tasks: frozenset[str],
    open_: tuple[str, ...],
) -> float:
    """Return the expected MACs while it is undecided for some tasks whether they run."""
    if not open_:
        return sum(block.macs for block in graph.blocks_for(sorted(tasks)))
    # A task is decided after the one that decides on it.
    task = next(task for task in open_ if conditions[task].on not in open_)
    rest = tuple(other for other in open_ if other != task)
    chance = conditions[task].probability if conditions[task].on in tasks else 0.0
    runs = _expected(graph, conditions, tasks, rest) if chance else 0.0
    return chance * runs + (1 - chance) * _expected(graph, conditions, tasks - {task}, rest)


def check_conditions(texts: tuple[str, ...], tasks: Mapping[str, TaskSpec]) -> None:
    """Check that a model can serve conditions.

    Raises:
        OptionError: A text is no condition, or names a task or class that the model lacks.
    """
    for condition in parse_conditions(texts).values():
        finding = [task.name for task in tasks.values() if task.kind == DETECTION]
        if condition.task not in tasks or condition.on not in finding:
            raise OptionError(
                f'condition {str(condition)!r}: the model has the tasks {", ".join(tasks)}, '
                f'of which {", ".join(finding)} can decide'
            )
        unknown = [label for label in condition.labels if label not in tasks[condition.on].labels]
        if unknown:
            raise OptionError(
                f'condition {str(condition)!r}: {condition.on} does not find '
                f'{", ".join(unknown)}; it finds {", ".join(tasks[condition.on].labels)}'
            )
