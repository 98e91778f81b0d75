# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets: what may be spent on a frame, and what was spent."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mt_perception.errors import OptionError

AUTO = 'auto'

WINDOW = 100
"""Frames over which the realised budget is counted."""

MOST_CREDIT = 4.0
"""Frames' worth that can be saved up or overdrawn: more would be spent when it helps no more."""


@dataclass(frozen=True)
class Budget:
    """What an operator allows; frozen, so that a change takes effect with a whole frame.

    Attributes:
        compute: Fraction of the multiply-accumulates of running everything, over many frames.
        latency_ms: A frame's time to keep below, at the 95th percentile; 0 for any time.
        path: A path to take whatever the frame, or ``auto``.
        max_stale_ms: How old a result may be that is given again; 0 never gives one again.
        max_change: Results are given again while nothing changes by more grey levels than this.
        weights: Task → how much it matters against others; 1 where it is missing.
        max_rate_hz: Task → how often it is run at most; any rate where it is missing or 0.
    """

    compute: float = 1.0
    latency_ms: float = 0.0
    path: str = AUTO
    max_stale_ms: float = 0.0
    max_change: float = 10.0
    weights: Mapping[str, float] = field(default_factory=dict)
    max_rate_hz: Mapping[str, float] = field(default_factory=dict)

    def checked(self, paths: Iterable[str], tasks: Collection[str]) -> Budget:
        """This budget, if a model can keep it.

        Raises:
            OptionError: A value is out of range, or names what the model does not have.
        """
        if not 0 < self.compute <= 1:
            raise OptionError(f'budget.compute must be above 0 and at most 1: {self.compute}')
        for name in ('latency_ms', 'max_stale_ms', 'max_change'):
            if not 0 <= getattr(self, name) < float('inf'):
                raise OptionError(f'budget.{name} must be 0 or more: {getattr(self, name)}')
        choices = [AUTO, *paths]
        if self.path not in choices:
            raise OptionError(f'budget.path is {self.path!r}; this model has {", ".join(choices)}')
        for what, values in (('weight', self.weights), ('max_rate_hz', self.max_rate_hz)):
            for task, value in values.items():
                if not 0 <= value < float('inf'):
                    raise OptionError(f'{what} of task {task} must be 0 or more: {value}')
        if tasks and not any(self.weight(task) for task in tasks):
            raise OptionError('at least one task must have a weight above 0')
        return self

    def weight(self, task: str) -> float:
        """How much a task matters against others."""
        return self.weights.get(task, 1.0)

    def period_ns(self, task: str) -> float:
        """Least time between two runs of a task, in nanoseconds."""
        rate_hz = self.max_rate_hz.get(task, 0.0)
        return 1e9 / rate_hz if rate_hz else 0.0


class Spending:
    """Counts what frames cost against what running everything would have cost.

    Args:
        budget: Fraction that may be spent.
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._frames: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._credit = 0.0

    @property
    def budget(self) -> float:
        """Fraction that may be spent."""
        return self._budget

    @property
    def credit(self) -> float:
        """Frames' worth left over by earlier frames; below 0, overdrawn."""
        return self._credit

    @property
    def realised(self) -> float:
        """Fraction spent over the last frames; before the first, nothing."""
        everything = sum(full for _, full in self._frames)
        return sum(spent for spent, _ in self._frames) / everything if everything else 0.0

    def add(self, spent: float, everything: float) -> None:
        """Count a frame: its multiply-accumulates, and those of running everything for it."""
        if everything > 0:
            self._frames.append((spent, everything))
            credit = self._credit + self._budget - spent / everything
            self._credit = max(-MOST_CREDIT, min(MOST_CREDIT, credit))
