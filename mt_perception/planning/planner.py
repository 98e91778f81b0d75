# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The planner: for each frame the cheapest of what is good enough, within a budget.

Cheapest first: a task that is not due yet is left out; a result of a scene that does not change
is given again; on a small budget, one of a scene that moves is moved along with it, until it is
too old; then comes the path that the budget, the measured time and the image allow. Nothing but
the frames and their stamps decides, so that two runs make the same plans; only a wanted time
(``budget.latency_ms``) brings in the clock.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from mt_perception.errors import ModelError
from mt_perception.execution.frame_state import LastSeen
from mt_perception.image.optical_flow import Motion
from mt_perception.image.pyramid import Halves
from mt_perception.model.manifest import Manifest
from mt_perception.planning.budget import AUTO, Budget, Spending
from mt_perception.planning.latency_controller import LatencyLoop
from mt_perception.planning.path_policy import PathPolicy, Scores, mixed_choice, path_values
from mt_perception.planning.plan import Plan, path_plan
from mt_perception.planning.task_rates import Turns
from mt_perception.types import DEPTH, Execution, Fact, Frame

REUSE_PATH = 'reuse'
"""Name of the plan that runs nothing."""

_PLANS = 512
"""Plans remembered; subscribers come and go among few sets of tasks."""

_MOST_MOVED = 30
"""Results are moved along at most so many times before a new one is made."""


@dataclass(frozen=True)
class _Costs:
    """What each path costs for one set of tasks and one image size.

    Attributes:
        paths: As fractions of everything that is wanted, on the full path.
        shares: Of the time of everything, as fractions.
        full_macs: Multiply-accumulates of everything that is wanted, on the full path.
    """

    paths: tuple[float, ...]
    shares: tuple[float, ...]
    full_macs: int


class _Pending(NamedTuple):
    """The frame that was planned last, what everything would cost, and its share of that time."""

    frame: Frame
    everything: int
    share: float


class Planner:
    """Makes the plan of each frame.

    Args:
        manifest: The model.
        scores: The model's policy, if it has one and it is loaded.
        budget: What may be spent.

    Raises:
        OptionError: The model cannot keep the budget.
    """

    def __init__(
        self, manifest: Manifest, scores: Scores | None = None, budget: Budget | None = None
    ) -> None:
        self._manifest = manifest
        self._paths = manifest.paths.choices
        spec = manifest.paths.policy
        self._policy = None
        if scores is not None and spec is not None:
            self._policy = PathPolicy(scores, spec.calibration)
        self._errors = {t.name for t in manifest.tasks.values() if t.kind == DEPTH}
        self._seen = LastSeen()
        self._turns = Turns()
        self._plans = lru_cache(_PLANS)(self._path_plan)
        self._costs = lru_cache(_PLANS)(self._path_costs)
        self.outside_ms = 0.0
        """Time that a frame takes outside of the pipeline, for the wanted latency."""
        self.last: Execution | None = None
        """What became of the last plan."""
        self._apply(budget or Budget())

    @property
    def realised(self) -> float:
        """Fraction of everything that the last frames cost."""
        return self._spending.realised

    @property
    def budget(self) -> Budget:
        """What may be spent; assigning another takes effect with the next frame."""
        return self._budget

    @budget.setter
    def budget(self, budget: Budget) -> None:
        if budget != self._budget:
            self._apply(budget)

    def _apply(self, budget: Budget) -> None:
        names = [path.name for path in self._paths]
        self._budget = budget.checked(names, self._manifest.tasks)
        self._spending = Spending(budget.compute)
        self._loop = LatencyLoop(budget.latency_ms) if budget.latency_ms else None

    def forget(self) -> None:
        """Give no earlier result again: what made it has changed."""
        self._seen = LastSeen()

    def plan(self, frame: Frame, image: Halves, wanted: frozenset[str], long_side: int) -> Plan:
        """What to do with a frame.

        Args:
            frame: The frame.
            image: Its image.
            wanted: The tasks that somebody wants.
            long_side: Of the network's input on the full path, pixels.

        Raises:
            ModelError: A wanted task is not of this model.
        """
        budget = self._budget
        self._plans(wanted, 0)  # Refuses unknown tasks by name.
        size = (frame.image.shape[0], frame.image.shape[1])
        everything = self._costs(wanted, wanted, size, long_side)
        due = frozenset(t for t in wanted if self._seen.is_due(t, frame, budget.period_ns(t)))
        reuse, allowance, reason, facts = self._reuse(frame, image, due)
        run = due.difference(reuse)
        if run:
            costs = self._costs(wanted, run, size, long_side)
            plan, share = self._run(image, run, costs, allowance)
            reason = f'{reason}, {plan.reason}' if reason else plan.reason
        else:
            plan, share = Plan((), (), REUSE_PATH, results=frozenset()), 0.0
        self._pending = _Pending(frame, everything.full_macs, share)
        return replace(
            plan,
            tasks=(*plan.tasks, *sorted(reuse)),
            reason=reason or 'nothing is due',
            reuse=reuse,
            facts={
                'budget.compute': round(budget.compute, 3),
                'budget.realised': round(self._spending.realised, 3),
                **facts,
                **({'policy.not_due': ' '.join(sorted(wanted - due))} if due != wanted else {}),
            },
        )

    def finished(self, plan: Plan, execution: Execution, failures: Collection[str]) -> None:
        """Take note of what became of the plan that was made last."""
        frame, everything, share = self._pending
        self.last = execution
        self._spending.add(execution.macs, everything)
        made = [t for t in plan.tasks if t not in plan.reuse and t not in failures]
        self._seen.made(frame, made, {t: self._budget.period_ns(t) for t in made})
        latency_ms = execution.latency_ms
        blocks_ms = sum(latency_ms.get(name, 0.0) for name in plan.block_names)
        # What runs elsewhere tells nothing about this machine.
        if self._loop is not None and blocks_ms:
            rest_ms = latency_ms['total'] - blocks_ms + self.outside_ms
            self._loop.observe(time.perf_counter(), blocks_ms, rest_ms, share)

    def _reuse(
        self, frame: Frame, image: Halves, due: frozenset[str]
    ) -> tuple[dict[str, Motion | None], float, str, dict[str, Fact]]:
        """The tasks whose last result is given again, with the motion since, if any.

        Returns:
            Those tasks; the budget of a frame that is run, where others are not; why; facts.
        """
        budget = self._budget
        if not due or not budget.max_stale_ms:
            return {}, budget.compute, '', {}
        self._seen.look(frame, image, budget.compute < 1)
        usable = self._seen.usable(due, budget.max_stale_ms)
        changes = self._seen.changes(usable)
        reuse: dict[str, Motion | None] = {
            task: None for task in sorted(usable) if changes[task] <= budget.max_change
        }
        reason = f'nothing changed ({" ".join(reuse)})' if reuse else ''
        moving = {
            task: view
            for task, view in usable.items()
            if task not in reuse and view.glance is not None
        }
        allowance = self._allowance()
        if moving and budget.compute < 1:
            left = due.difference(reuse)
            if left == moving.keys() and not self._is_turn(allowance):
                resting = left
            else:
                resting = self._turns.resting(left, {task: budget.weight(task) for task in left})
            moving = {task: view for task, view in moving.items() if task in resting}
            if moving:
                reuse |= self._seen.motions(moving)
                moved = (
                    f'moved along within budget {budget.compute:g} ({" ".join(sorted(moving))})'
                )
                reason = f'{reason}, {moved}' if reason else moved
        facts: dict[str, Fact] = {}
        if usable:
            facts['reuse.change'] = round(max(changes.values()), 2)
        if reuse:
            facts['reuse.tasks'] = ' '.join(sorted(reuse))
            facts['reuse.age_ms'] = round(max(usable[t].age_ms(frame) for t in reuse), 3)
        return reuse, allowance, reason, facts

    def _allowance(self) -> float:
        """What a frame that is run may cost, if as many as can be are not."""
        period_ms = self._seen.period_ms
        between = min(_MOST_MOVED, int(self._budget.max_stale_ms / period_ms)) if period_ms else 0
        return min(1.0, self._budget.compute * (1 + between))

    def _is_turn(self, allowance: float) -> bool:
        """Whether there is enough in hand to run a frame that could be done without."""
        compute = self._budget.compute
        return self._spending.credit + compute >= allowance / 2

    def _run(
        self, image: Halves, run: frozenset[str], costs: _Costs, allowance: float
    ) -> tuple[Plan, float]:
        """The plan for the tasks that are run, and its share of the time of everything."""
        budget, choices = self._budget, range(len(self._paths))
        allowed, reason, asked = list(choices), '', False
        if budget.path != AUTO:
            allowed = [i for i in choices if self._paths[i].name == budget.path]
            reason = f'path {budget.path} is pinned'
        elif self._loop is not None:
            allowed = self._loop.allowed(time.perf_counter(), costs.shares)
            if len(allowed) < len(costs.shares):
                reason = (
                    f'everything takes {self._loop.usual_ms:.1f} ms, {budget.latency_ms:g} wanted'
                )
        best = max(allowed, key=lambda i: (costs.paths[i], -i))
        if len(allowed) > 1 and allowance < costs.paths[best]:
            best, asked, complaint = self._within(image, run, costs, allowed, allowance)
            reason = f'path {self._paths[best].name} within budget {budget.compute:g}{complaint}'
        plan = self._plans(run, best)
        if asked and self._manifest.paths.policy is not None:
            plan = replace(plan, choice=(self._manifest.paths.policy.block,))
        return replace(plan, reason=reason or plan.reason), costs.shares[best]

    def _within(
        self, image: Halves, run: frozenset[str], costs: _Costs, allowed: list[int], budget: float
    ) -> tuple[int, bool, str]:
        """The path within a budget, whether the policy was asked, and what is wrong with it."""
        weights = {task: self._budget.weight(task) for task in self._manifest.tasks}
        credit = self._spending.credit
        complaint = ''
        if self._policy is not None:
            given = [weights[task] if task in run else 0.0 for task in weights]
            try:
                path = self._policy.choose(image, given, costs.paths, allowed, budget, credit)
            except ModelError as error:
                # The paths are there all the same, and so is what was measured of them.
                complaint = f' ({error})'
            else:
                return path, True, ''
        values = path_values(self._paths, {t: weights[t] for t in run}, self._errors)
        chosen = mixed_choice(
            [costs.paths[i] for i in allowed], [values[i] for i in allowed], budget, credit
        )
        return allowed[chosen], False, complaint

    def _path_plan(self, tasks: frozenset[str], path: int) -> Plan:
        return path_plan(self._manifest.graph, tasks, self._paths[path])

    def _path_costs(
        self, wanted: frozenset[str], run: frozenset[str], size: tuple[int, int], long_side: int
    ) -> _Costs:
        spec = self._manifest.input

        def macs(tasks: frozenset[str], path: int) -> int:
            plan = self._plans(tasks, path)
            letterbox = spec.letterbox(size, long_side, plan.scale)
            return self._manifest.macs_at(plan.macs, letterbox.network_size)

        full_macs = macs(wanted, 0)
        paths = tuple(macs(run, i) / max(1, full_macs) for i in range(len(self._paths)))
        shares = tuple(
            cost * path.relative_latency / path.relative_macs
            for cost, path in zip(paths, self._paths, strict=True)
        )
        return _Costs(paths, shares, full_macs)
