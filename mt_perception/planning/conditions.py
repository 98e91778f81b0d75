# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conditional tasks: tasks that run only if another task detects something."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from mt_perception.errors import OptionError
from mt_perception.model.manifest import TaskSpec
from mt_perception.model.task_graph import TaskGraph
from mt_perception.planning.order_problem import Condition
from mt_perception.planning.task_order import order_problem, planned_order
from mt_perception.types import DETECTION

ANYTHING = 'anything'
UNKNOWN = 0.5
"""The probability of a condition that nobody has measured."""

_RULE = re.compile(r'(\S+) if (\S+) finds (.+?)(?: with probability (\S+))?')


@dataclass(frozen=True)
class Rule:
    """When a task runs.

    Attributes:
        task: The task.
        on: The task whose result decides, one that finds objects.
        labels: It runs where one of these is found; empty: where anything is.
        probability: How likely that is; decides nothing but the order of tasks.
    """

    task: str
    on: str
    labels: tuple[str, ...] = ()
    probability: float = UNKNOWN

    def __str__(self) -> str:
        """The rule as ``parse_rule`` reads it."""
        found = ' or '.join(self.labels) or ANYTHING
        text = f'{self.task} if {self.on} finds {found}'
        if self.probability == UNKNOWN:
            return text
        return f'{text} with probability {self.probability:.4g}'


def parse_rule(text: str) -> Rule:
    """Read a rule such as ``segmentation if detection finds person or dog``.

    ``anything`` stands for every class; ``… with probability 0.3`` says how often it holds.

    Raises:
        OptionError: It is none.
    """
    match = _RULE.fullmatch(' '.join(text.split()))
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
    return Rule(task, on, labels, probability)


@lru_cache(64)
def parse_rules(texts: tuple[str, ...]) -> Mapping[str, Rule]:
    """Read rules; task → its rule.

    Raises:
        OptionError: One is none, or a task has two, or tasks wait for each other in a circle.
    """
    rules: dict[str, Rule] = {}
    for rule in map(parse_rule, texts):
        if rule.task in rules:
            raise OptionError(
                f'task {rule.task!r} has two conditions, {str(rules[rule.task])!r} and '
                f'{str(rule)!r}; join the classes with "or" in one'
            )
        rules[rule.task] = rule
    for task in rules:
        before = task
        for _ in rules:
            before = rules[before].on if before in rules else ''
        if before in rules:
            raise OptionError(f'the condition of task {task!r} waits for itself: a circle')
    return rules


def with_deciders(wanted: Iterable[str], rules: Mapping[str, Rule]) -> frozenset[str]:
    """The wanted tasks, and those whose results decide whether these run."""
    found = set(wanted)
    stack = list(found)
    while stack:
        task = stack.pop()
        if task in rules and rules[task].on not in found:
            found.add(rules[task].on)
            stack.append(rules[task].on)
    return frozenset(found)


@lru_cache(64)
def ordered_tasks(
    graph: TaskGraph, tasks: Collection[str], rules: tuple[Rule, ...]
) -> tuple[str, ...]:
    """The order of least expected cost in which every task comes after what decides about it."""
    names = [task for task in graph.tasks if task in tasks]
    conditions = {
        rule.task: Condition(rule.probability, rule.on)
        for rule in rules
        if rule.task in tasks and rule.on in tasks
    }
    # A weight is moved about as fast as it is multiplied.
    problem = order_problem(
        graph, names, lambda block: block.macs + block.parameters, conditions=conditions
    )
    return planned_order(problem)


def saved_macs(graph: TaskGraph, rules: Mapping[str, Rule]) -> float:
    """What rules save in the mean, of the MACs of all tasks of a graph.

    Which blocks run is a matter of all tasks at once: each way in which the deciding tasks may
    come out counts with its probability.
    """
    return 1 - _expected(graph, rules, frozenset(graph.tasks), tuple(rules)) / sum(
        block.macs for block in graph.blocks.values()
    )


def _expected(
    graph: TaskGraph, rules: Mapping[str, Rule], tasks: frozenset[str], open_: tuple[str, ...]
) -> float:
    """The mean MACs where it is open for some tasks whether they run."""
    if not open_:
        return sum(block.macs for block in graph.blocks_for(sorted(tasks)))
    # A task is decided after the one that decides about it.
    task = next(task for task in open_ if rules[task].on not in open_)
    rest = tuple(other for other in open_ if other != task)
    chance = rules[task].probability if rules[task].on in tasks else 0.0
    runs = _expected(graph, rules, tasks, rest) if chance else 0.0
    return chance * runs + (1 - chance) * _expected(graph, rules, tasks - {task}, rest)


def check_conditions(texts: tuple[str, ...], tasks: Mapping[str, TaskSpec]) -> None:
    """Check that a model can serve conditions.

    Raises:
        OptionError: One is no condition, or names what the model does not have.
    """
    for rule in parse_rules(texts).values():
        finding = [task.name for task in tasks.values() if task.kind == DETECTION]
        if rule.task not in tasks or rule.on not in finding:
            raise OptionError(
                f'condition {str(rule)!r}: the model has the tasks {", ".join(tasks)}, of which '
                f'{", ".join(finding)} can decide'
            )
        unknown = [label for label in rule.labels if label not in tasks[rule.on].labels]
        if unknown:
            raise OptionError(
                f'condition {str(rule)!r}: {rule.on} does not find {", ".join(unknown)}; it finds '
                f'{", ".join(tasks[rule.on].labels)}'
            )
