# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MT2ST: multi-task to single-task training, by Diminish (γ decays) and Switch (γ drops to 0).

Both schedule the tasks' weights; the network does not change. A task whose weight is below ε is
not computed, which saves its compute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mt_perception.errors import ModelError
from mt_perception.training.recipe_fields import build, mapping, number
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

TASKS = (DETECTION, SEGMENTATION, DEPTH)
# Metrics with these prefixes are errors: lower is better.
_ERRORS = ('abs_rel',)


@dataclass(frozen=True)
class Diminish:
    """γ(t) = γ0 · exp(−η · t^ν), where t is the step within the phase.

    Args:
        gamma: γ0.
        eta: η; 0 keeps the weight constant.
        nu: ν; 1 is an exponential decay, larger values decay later.
    """

    gamma: float = 1.0
    eta: float = 0.0
    nu: float = 1.0

    def at(self, step: int) -> float:
        """Return γ at a step of the phase."""
        return self.gamma * math.exp(-self.eta * float(step) ** self.nu)


@dataclass(frozen=True)
class Plateau:
    """A stopping criterion: a validation metric that no longer improves.

    Args:
        metric: name of the metric.
        patience: number of validations without improvement.
        least: smallest improvement that counts, in units of the metric.
    """

    metric: str
    patience: int = 2
    least: float = 0.0

    def reached(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Return whether the last `patience` validations brought no improvement.

        Args:
            history: metrics of the phase's validations so far.

        Raises:
            ModelError: the validation has no such metric.
        """
        if history and self.metric not in history[-1]:
            raise ModelError(
                f'there is no metric {self.metric!r}; the validation has '
                f'{", ".join(sorted(history[-1])) or "none"}'
            )
        sign = -1.0 if self.metric.startswith(_ERRORS) else 1.0
        values = [sign * found[self.metric] for found in history]
        if len(values) <= self.patience:
            return False
        return max(values[-self.patience :]) <= max(values[: -self.patience]) + self.least


@dataclass(frozen=True)
class Switch:
    """From a step or a plateau on, only some tasks are trained.

    Args:
        to: the remaining tasks.
        at: step of the phase.
        plateau: criterion instead of `at`.
        trunk: frozen, which keeps the other tasks' outputs unchanged, or trained, as in the
            paper, for networks of which only the remaining tasks are used.
    """

    to: tuple[str, ...]
    at: int | None = None
    plateau: Plateau | None = None
    trunk: str = 'frozen'

    def due(self, step: int, history: Sequence[Mapping[str, float]]) -> bool:
        """Return whether the switch happens before a step of the phase."""
        if self.at is not None:
            return step >= self.at
        return self.plateau is not None and self.plateau.reached(history)


@dataclass(frozen=True)
class TaskSchedule:
    """Schedule of the tasks' weights within a phase.

    Args:
        diminish: task → its decay; other tasks keep their weight.
        switch: when training continues with some tasks only.
        epsilon: tasks below this weight run neither forward nor backward.
    """

    diminish: Mapping[str, Diminish] = field(default_factory=dict)
    switch: Switch | None = None
    epsilon: float = 0.01

    def factors(self, step: int, switched: bool) -> dict[str, float]:
        """Return every task's γ at a step of the phase; 0 if the task does not run."""
        found = {}
        for task in TASKS:
            gamma = self.diminish.get(task, Diminish()).at(step)
            removed = switched and self.switch is not None and task not in self.switch.to
            found[task] = 0.0 if removed or gamma < self.epsilon else gamma
        return found


def read_task_schedule(data: Any) -> TaskSchedule:
    """Read a phase's `mt2st` section."""
    values = mapping(data, 'mt2st')
    decays = mapping(values.get('diminish', {}), 'mt2st.diminish')
    values['diminish'] = {
        task: _diminish(entry, f'mt2st.diminish.{task}') for task, entry in decays.items()
    }
    _check_tasks(decays, 'mt2st.diminish')
    if values.get('switch') is not None:
        values['switch'] = _switch(values['switch'])
    schedule = build(TaskSchedule, values, 'mt2st')
    number(schedule.epsilon, 'mt2st.epsilon')
    return schedule


def read_plateau(data: Any, where: str) -> Plateau:
    """Read a plateau."""
    plateau = build(Plateau, data, where, {'figure': 'metric'})
    number(plateau.patience, f'{where}.patience', 1)
    number(plateau.least, f'{where}.least')
    return plateau


def _diminish(data: Any, where: str) -> Diminish:
    found = build(Diminish, data, where)
    for name in ('gamma', 'eta', 'nu'):
        number(getattr(found, name), f'{where}.{name}')
    return found


def _switch(data: Any) -> Switch:
    values = mapping(data, 'mt2st.switch')
    to = values.get('to', ())
    values['to'] = (to,) if isinstance(to, str) else tuple(to)
    if values.get('plateau') is not None:
        values['plateau'] = read_plateau(values['plateau'], 'mt2st.switch.plateau')
    switch = build(Switch, values, 'mt2st.switch')
    _check_tasks(switch.to, 'mt2st.switch.to')
    if not switch.to:
        raise ModelError('mt2st.switch.to is empty; name at least one task')
    if (switch.at is None) == (switch.plateau is None):
        raise ModelError('mt2st.switch needs either `at` (a step) or `plateau`')
    if switch.at is not None:
        number(switch.at, 'mt2st.switch.at')
    if switch.trunk not in ('frozen', 'trained'):
        raise ModelError(f'mt2st.switch.trunk is frozen or trained, not {switch.trunk!r}')
    return switch


def _check_tasks(names: Sequence[str] | Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(names) - set(TASKS))
    if unknown:
        raise ModelError(f'{where}: unknown tasks {unknown}; the tasks are {list(TASKS)}')
