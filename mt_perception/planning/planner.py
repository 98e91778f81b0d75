# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses the cheapest plan for a frame that satisfies the budget.

In order of cost: a task that is not due is left out; a result of an unchanged scene is reused; on
a small budget a result of a moving scene is warped along the motion, until it is too old; else
the path is chosen that budget, measured latency and image allow. Only frames and their stamps
decide, so that two runs make the same plans; a latency target (``budget.latency_ms``) adds the
clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from mt_perception.errors import ModelError
from mt_perception.execution.plan import Plan
from mt_perception.image.optical_flow import OpticalFlow
from mt_perception.image.pyramid import ImagePyramid
from mt_perception.model.manifest import Manifest
from mt_perception.model.task_graph import Block
from mt_perception.planning.budget import AUTO, Budget
from mt_perception.planning.conditions import TaskCondition
from mt_perception.planning.frame_state import FrameState
from mt_perception.planning.gated_plan import gated_plan, gated_tasks
from mt_perception.planning.path_plan import path_plan
from mt_perception.planning.path_policy import (
    FAR,
    PULL,
    PathPolicy,
    Scores,
    mixed_choice,
    path_values,
)
from mt_perception.types import DEPTH, Frame

REUSE_PATH = 'reuse'
"""Path of a plan that runs nothing."""

_PLANS = 512
"""Plans cached; subscribers come and go among few sets of tasks."""

_MOST_WARPS = 30
"""A result is warped at most this often before a new one is computed."""


@dataclass(frozen=True)
class _Costs:
    """Cost of each path for one set of tasks and one image size.

    Attributes:
        paths: Multiply-accumulates relative to the full path with all wanted tasks.
        shares: Time relative to the full path with all wanted tasks.
        full_macs: Multiply-accumulates of the full path with all wanted tasks.
    """

    paths: tuple[float, ...]
    shares: tuple[float, ...]
    full_macs: int


@dataclass(frozen=True)
class _Reuse:
    """Reuse of earlier results.

    Attributes:
        motions: Task → motion since its last result, None for an unchanged scene.
        allowance: Fraction of the full path that a frame may cost that runs.
        reason: Why, in words.
        change: Largest change, in grey levels; None if nothing was compared.
        age_ms: Age of the oldest reused result.
    """

    motions: dict[str, OpticalFlow | None] = field(default_factory=dict)
    allowance: float = 1.0
    reason: str = ''
    change: float | None = None
    age_ms: float | None = None


@dataclass(frozen=True)
class _Choice:
    """A path for the tasks that run.

    Attributes:
        path: Index of the path.
        reason: Why it is not the full path.
        policy: The policy block, if it selected the path.
        threshold: Threshold of the gates after the first stage; None runs the whole path.
    """

    path: int
    reason: str = ''
    policy: Block | None = None
    threshold: float | None = None


class Planner:
    """Makes the plan of each frame; keeps no memory of frames (that is ``FrameState``).

    Args:
        manifest: The model.
        scores: The model's path policy, if it has one and it is loaded.
    """

    def __init__(self, manifest: Manifest, scores: Scores | None = None) -> None:
        self._manifest = manifest
        self._paths = manifest.paths.choices
        spec = manifest.paths.policy
        self._policy = None
        if scores is not None and spec is not None:
            self._policy = PathPolicy(scores, spec.calibration)
        self._lower_is_better = {t.name for t in manifest.tasks.values() if t.kind == DEPTH}
        self._plans = lru_cache(_PLANS)(self._path_plan)
        self._gated_plans = lru_cache(_PLANS)(self._new_gated_plan)
        self._costs = lru_cache(_PLANS)(self._path_costs)

    def plan(
        self,
        frame: Frame,
        image: ImagePyramid,
        wanted: frozenset[str],
        long_side: int,
        budget: Budget,
        state: FrameState,
        conditions: Sequence[TaskCondition] = (),
    ) -> Plan:
        """Make the plan of a frame.

        Args:
            frame: The frame, observed by ``state``.
            image: The pyramid of its image.
            wanted: The wanted tasks, with the tasks that decide about them.
            long_side: Long side of the network's input on the full path, in pixels.
            budget: The budget.
            state: The memory of the camera.
            conditions: Conditions of tasks.

        Raises:
            ModelError: A wanted task is not in this model.
        """
        self._plans(wanted, 0, ())  # Refuses unknown tasks by name.
        size = (frame.image.shape[0], frame.image.shape[1])
        due = frozenset(task for task in wanted if state.is_due(task, frame))
        reuse = self._reuse(frame, due, budget, state)
        tasks = due.difference(reuse.motions)
        if tasks:
            active = tuple(one for one in conditions if one.on in due and one.task in tasks)
            costs = self._costs(wanted, tasks, size, long_side)
            gated = bool(gated_tasks(self._manifest, tasks, active))
            chosen = self._choose(image, tasks, costs, reuse.allowance, budget, state, gated)
            plan = self._chosen_plan(chosen, tasks, active, costs)
            why = [reuse.reason, chosen.reason or plan.reason]
        else:
            costs = self._costs(wanted, wanted, size, long_side)
            plan = Plan(path=REUSE_PATH)
            why = [reuse.reason or 'no task is due']
        return replace(
            plan,
            reason=', '.join(filter(None, why)),
            reuse=reuse.motions,
            not_due=tuple(sorted(wanted - due)),
            change=reuse.change,
            age_ms=reuse.age_ms,
            full_macs=costs.full_macs,
        )

    def _chosen_plan(
        self,
        chosen: _Choice,
        tasks: frozenset[str],
        conditions: tuple[TaskCondition, ...],
        costs: _Costs,
    ) -> Plan:
        share = costs.shares[chosen.path]
        first = self._manifest.paths.first_stage
        if chosen.threshold is None or first is None:
            plan = self._plans(tasks, chosen.path, conditions)
            return replace(plan, policy=chosen.policy, latency_share=share)
        return replace(
            self._gated_plans(tasks, conditions),
            latency_share=share,
            first_share=costs.shares[first],
            threshold=chosen.threshold,
        )

    def _reuse(
        self, frame: Frame, due: frozenset[str], budget: Budget, state: FrameState
    ) -> _Reuse:
        """Choose the tasks whose last result serves this frame too."""
        if not due or not budget.max_stale_ms:
            return _Reuse(allowance=budget.compute)
        views = state.reusable(due)
        changes = state.changes(views)
        motions: dict[str, OpticalFlow | None] = {
            task: None for task in sorted(views) if changes[task] <= budget.max_change
        }
        reasons = [f'nothing changed ({" ".join(motions)})'] if motions else []
        moving = {
            task: view
            for task, view in views.items()
            if task not in motions and view.flow_image is not None
        }
        cuts = {view: state.has_cut(view) for view in set(moving.values())}
        moving = {task: view for task, view in moving.items() if not cuts[view]}
        allowance = self._allowance(budget, state)
        if moving and budget.compute < 1:
            left = due.difference(motions)
            if left == moving.keys() and not self._can_afford_run(allowance, budget, state):
                deferred = left
            else:
                deferred = state.rates.deferred(left, {t: budget.weight(t) for t in left})
            moving = {task: view for task, view in moving.items() if task in deferred}
            if moving:
                motions |= state.motions(moving)
                names = ' '.join(sorted(moving))
                reasons.append(f'warped within budget {budget.compute:g} ({names})')
        ages = [views[task].age_ms(frame) for task in motions]
        return _Reuse(
            motions,
            allowance,
            ', '.join(reasons),
            max(changes.values()) if changes else None,
            max(ages) if ages else None,
        )

    @staticmethod
    def _allowance(budget: Budget, state: FrameState) -> float:
        """Return the fraction that a run may cost if as many frames as possible are warped."""
        between = 0
        if state.period_ms:
            between = min(_MOST_WARPS, int(budget.max_stale_ms / state.period_ms))
        return min(1.0, budget.compute * (1 + between))

    @staticmethod
    def _can_afford_run(allowance: float, budget: Budget, state: FrameState) -> bool:
        """Return whether there is credit for running a frame that could be warped."""
        return state.spending.credit + budget.compute >= allowance / 2

    def _choose(
        self,
        image: ImagePyramid,
        tasks: frozenset[str],
        costs: _Costs,
        allowance: float,
        budget: Budget,
        state: FrameState,
        gated: bool,
    ) -> _Choice:
        """Choose the path for the tasks that run; gates are used if one of them has a gate."""
        allowed, reason = list(range(len(self._paths))), ''
        if budget.path != AUTO:
            allowed = [i for i in allowed if self._paths[i].name == budget.path]
            reason = f'path {budget.path} is pinned'
        elif state.controller is not None:
            allowed = state.controller.allowed(time.perf_counter(), costs.shares)
            if len(allowed) < len(costs.shares):
                reason = (
                    f'the full path takes {state.controller.usual_ms:.1f} ms, '
                    f'target {budget.latency_ms:g} ms'
                )
        best = max(allowed, key=lambda i: (costs.paths[i], -i))
        if len(allowed) == 1 or allowance >= costs.paths[best]:
            return _Choice(best, reason)
        first = self._manifest.paths.first_stage
        if gated and best == 0 and first in allowed and costs.paths[first] <= allowance:
            return self._gate(allowance, budget, state)
        return self._within(image, tasks, costs, allowed, allowance, budget, state)

    def _gate(self, allowance: float, budget: Budget, state: FrameState) -> _Choice:
        """Set the gates after the first stage, so that frames cost the allowance on average."""
        threshold = self._manifest.early_exit.threshold(allowance + PULL * state.spending.credit)
        if abs(state.spending.credit) > FAR:
            threshold = math.copysign(math.inf, -state.spending.credit)
        return _Choice(0, f'gates within budget {budget.compute:g}', threshold=threshold)

    def _within(
        self,
        image: ImagePyramid,
        tasks: frozenset[str],
        costs: _Costs,
        allowed: list[int],
        allowance: float,
        budget: Budget,
        state: FrameState,
    ) -> _Choice:
        """Choose among the allowed paths, so that frames cost the allowance on average."""
        weights = {task: budget.weight(task) for task in self._manifest.tasks}
        credit, policy, failure = state.spending.credit, None, ''
        path = -1
        if self._policy is not None and self._manifest.paths.policy is not None:
            given = [weights[task] if task in tasks else 0.0 for task in weights]
            try:
                path = self._policy.choose(image, given, costs.paths, allowed, allowance, credit)
                policy = self._manifest.paths.policy.block
            except ModelError as error:
                # The measured accuracies of the paths still allow a choice.
                failure = f' ({error})'
        if path < 0:
            values = path_values(
                self._paths, {t: weights[t] for t in tasks}, self._lower_is_better
            )
            names = [self._paths[i].name for i in allowed]
            mix = mixed_choice(
                [costs.paths[i] for i in allowed],
                [values[i] for i in allowed],
                allowance,
                credit,
                names.index(state.path) if state.path in names else None,
            )
            path = allowed[mix]
        name, cheapest = self._paths[path].name, min(costs.paths[i] for i in allowed)
        reason = f'path {name} within budget {budget.compute:g}'
        if cheapest > allowance:
            reason = (
                f'path {name} costs {costs.paths[path]:.2f}, no path is within budget '
                f'{budget.compute:g}'
            )
        return _Choice(path, reason + failure, policy)

    def _path_plan(
        self, tasks: frozenset[str], path: int, conditions: tuple[TaskCondition, ...]
    ) -> Plan:
        chosen = self._paths[path]
        graph = self._manifest.early_graph if chosen.early else self._manifest.graph
        return path_plan(graph, tasks, chosen, conditions)

    def _new_gated_plan(
        self, tasks: frozenset[str], conditions: tuple[TaskCondition, ...]
    ) -> Plan:
        return gated_plan(self._manifest, tasks, conditions)

    def _path_costs(
        self, wanted: frozenset[str], run: frozenset[str], size: tuple[int, int], long_side: int
    ) -> _Costs:
        spec = self._manifest.input

        def macs(tasks: frozenset[str], path: int) -> int:
            plan = self._plans(tasks, path, ())
            letterbox = spec.letterbox(size, long_side, plan.scale)
            return self._manifest.macs_at(plan.macs, letterbox.network_size)

        full_macs = macs(wanted, 0)
        paths = tuple(macs(run, i) / max(1, full_macs) for i in range(len(self._paths)))
        shares = tuple(
            cost * path.relative_latency / path.relative_macs
            for cost, path in zip(paths, self._paths, strict=True)
        )
        return _Costs(paths, shares, full_macs)
