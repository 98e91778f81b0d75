# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MT2ST: tasks that fade from a phase (Diminish) or leave it at once (Switch).

Two controls of the tasks' weights; the network stays as it is. What weighs less than ε is not
computed at all, which is where the compute is saved.
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
# Figures of which less is better begin with one of these.
_ERRORS = ('abs_rel',)


@dataclass(frozen=True)
class Diminish:
    """γ(t) = γ0 · exp(−η · t^ν), t being the steps since the phase began.

    Args:
        gamma: γ0.
        eta: η; zero keeps the weight as it is.
        nu: ν; one fades evenly, more waits first.
    """

    gamma: float = 1.0
    eta: float = 0.0
    nu: float = 1.0

    def at(self, step: int) -> float:
        """Give γ at a step of the phase."""
        return self.gamma * math.exp(-self.eta * float(step) ** self.nu)


@dataclass(frozen=True)
class Plateau:
    """A figure that no longer gets better.

    Args:
        figure: its name in the validation.
        patience: validations without an improvement after which it counts.
        least: what counts as an improvement, in the figure's own unit.
    """

    figure: str
    patience: int = 2
    least: float = 0.0

    def reached(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Tell whether the last `patience` validations brought nothing.

        Args:
            history: the figures of the phase's validations so far.

        Raises:
            ModelError: the validation has no such figure.
        """
        if history and self.figure not in history[-1]:
            raise ModelError(
                f'no figure is called {self.figure!r}; the validation gives '
                f'{", ".join(sorted(history[-1])) or "none"}'
            )
        sign = -1.0 if self.figure.startswith(_ERRORS) else 1.0
        values = [sign * found[self.figure] for found in history]
        if len(values) <= self.patience:
            return False
        return max(values[-self.patience :]) <= max(values[: -self.patience]) + self.least


@dataclass(frozen=True)
class Switch:
    """From some step on, or from a plateau on, only some tasks are trained.

    Args:
        to: the tasks that stay.
        at: step of the phase.
        plateau: instead of `at`.
        trunk: frozen, so that the other tasks' outputs stay what they are; or trained, as the
            paper has it, which is for networks of which only the tasks that stay are wanted.
    """

    to: tuple[str, ...]
    at: int | None = None
    plateau: Plateau | None = None
    trunk: str = 'frozen'

    def due(self, step: int, history: Sequence[Mapping[str, float]]) -> bool:
        """Tell whether the switch is to happen before a step of the phase."""
        if self.at is not None:
            return step >= self.at
        return self.plateau is not None and self.plateau.reached(history)


@dataclass(frozen=True)
class Fading:
    """How the tasks' weights move within a phase.

    Args:
        diminish: task → its fading; other tasks keep their weight.
        switch: the moment from which some tasks are alone.
        epsilon: a task that weighs less than this does not run, neither forward nor backward.
    """

    diminish: Mapping[str, Diminish] = field(default_factory=dict)
    switch: Switch | None = None
    epsilon: float = 0.01

    def factors(self, step: int, switched: bool) -> dict[str, float]:
        """Give every task's γ at a step of the phase, zero where it does not run."""
        found = {}
        for task in TASKS:
            gamma = self.diminish.get(task, Diminish()).at(step)
            gone = switched and self.switch is not None and task not in self.switch.to
            found[task] = 0.0 if gone or gamma < self.epsilon else gamma
        return found


def read_fading(data: Any) -> Fading:
    """Read a phase's `mt2st` section."""
    values = mapping(data, 'mt2st')
    faded = mapping(values.get('diminish', {}), 'mt2st.diminish')
    values['diminish'] = {
        task: _diminish(entry, f'mt2st.diminish.{task}') for task, entry in faded.items()
    }
    _check_tasks(faded, 'mt2st.diminish')
    if values.get('switch') is not None:
        values['switch'] = _switch(values['switch'])
    fading = build(Fading, values, 'mt2st')
    number(fading.epsilon, 'mt2st.epsilon')
    return fading


def read_plateau(data: Any, where: str) -> Plateau:
    """Read a plateau."""
    plateau = build(Plateau, data, where)
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
        raise ModelError('mt2st.switch.to: name the tasks that stay')
    if (switch.at is None) == (switch.plateau is None):
        raise ModelError('mt2st.switch: give either `at`, a step, or `plateau`')
    if switch.at is not None:
        number(switch.at, 'mt2st.switch.at')
    if switch.trunk not in ('frozen', 'trained'):
        raise ModelError(f'mt2st.switch.trunk is frozen or trained, not {switch.trunk!r}')
    return switch


def _check_tasks(names: Sequence[str] | Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(names) - set(TASKS))
    if unknown:
        raise ModelError(f'{where}: {unknown} are no tasks; tasks are {list(TASKS)}')
