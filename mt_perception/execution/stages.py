# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conditional tasks on one frame: the plan that leaves them out where nothing calls for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.detection import detections
from mt_perception.image.letterbox import Letterbox
from mt_perception.model.manifest import Manifest
from mt_perception.planning.conditions import Rule, ordered_tasks, parse_rules
from mt_perception.planning.plan import Plan
from mt_perception.types import Fact

Tensors = Mapping[str, NDArray[Any]]

SKIPPED = 'conditions.skipped'
"""The fact that says which tasks were left out, separated by commas."""


@dataclass(frozen=True)
class Attempt:
    """A plan on its way: whether its conditional tasks run shows only while it does.

    Attributes:
        plan: The plan to run; its guards decide.
        verdicts: Task → whether it runs, as far as that was asked.
    """

    plan: Plan
    verdicts: dict[str, bool] = field(default_factory=dict)

    def served(self) -> Plan:
        """The plan as it was run: without the tasks that were left out."""
        skipped = [task for task in self.plan.tasks if not self.verdicts.get(task, True)]
        if not skipped:
            return self.plan
        facts: dict[str, Fact] = {**self.plan.facts, SKIPPED: ', '.join(skipped)}
        tasks = tuple(task for task in self.plan.tasks if task not in skipped)
        return replace(self.plan, tasks=tasks, facts=facts)


def attempt(plan: Plan, manifest: Manifest, letterbox: Letterbox, options: Options) -> Attempt:
    """Make a plan conditional.

    A task whose deciding task is not run on this frame, or fails, runs: nothing speaks against it.

    Args:
        plan: What would run.
        manifest: The model.
        letterbox: How the image lies in the network's input.
        options: The conditions, and which detections count as found.
    """
    texts = options.conditions
    rules = {t: rule for t, rule in parse_rules(texts).items() if t in plan.tasks} if texts else {}
    rules = {t: rule for t, rule in rules.items() if rule.on in plan.tasks}
    if not rules:
        return Attempt(plan)
    order = ordered_tasks(manifest.graph, frozenset(plan.tasks), tuple(rules.values()))
    by_place = {block.stands_for or block.name: block for block in plan.blocks}
    serves: dict[str, list[str]] = {}
    for task in order:
        for block in manifest.graph.blocks_for([task]):
            if block.name in by_place:
                serves.setdefault(block.name, []).append(task)
    verdicts: dict[str, bool] = {}
    judge = _Judge(rules, verdicts, manifest, letterbox, options)
    guards = {
        by_place[name].name: partial(judge.any_runs, tasks)
        for name, tasks in serves.items()
        if all(task in rules for task in tasks)
    }
    blocks = tuple(by_place[name] for name in serves)
    return Attempt(replace(plan, tasks=order, blocks=blocks, guards=guards), verdicts)


@dataclass(frozen=True)
class _Judge:
    """Decides, once for each task, whether it runs."""

    rules: Mapping[str, Rule]
    verdicts: dict[str, bool]
    manifest: Manifest
    letterbox: Letterbox
    options: Options

    def any_runs(self, tasks: Collection[str], tensors: Tensors) -> bool:
        # Every one is asked: a task that no block is left for has its verdict too.
        verdicts = [self.runs(task, tensors) for task in tasks]
        return any(verdicts)

    def runs(self, task: str, tensors: Tensors) -> bool:
        if task not in self.rules:
            return True
        if task not in self.verdicts:
            rule = self.rules[task]
            self.verdicts[task] = self.runs(rule.on, tensors) and self._finds(rule, tensors)
        return self.verdicts[task]

    def _finds(self, rule: Rule, tensors: Tensors) -> bool:
        """Whether the detections, as they would be given out, have one of the labels."""
        spec = self.manifest.tasks[rule.on]
        try:
            outputs = {name: tensors[tensor] for name, tensor in spec.outputs.items()}
            found = detections(outputs, self.letterbox, spec.labels, self.options)
        except (KeyError, TaskError):
            return True
        labels = {spec.labels[index] for index in found.class_ids}
        return bool(labels & set(rule.labels)) if rule.labels else bool(labels)
