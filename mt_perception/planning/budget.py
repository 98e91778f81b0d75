# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets: the limits on compute and latency, and the account of what was spent."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mt_perception.errors import OptionError
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, check_field_types

AUTO = 'auto'

WINDOW = 100
"""Frames over which the realised budget is counted."""

MOST_CREDIT = 4.0
"""Largest credit or debt, in frames of the full path; more would be spent too late to help."""


@dataclass(frozen=True)
class Budget:
    """Limits on compute and latency; immutable, so that a change applies to whole frames.

    Attributes:
        compute: Mean multiply-accumulates as a fraction of the full path, in (0, 1].
        latency_ms: Target 95th percentile of the latency, from image arrival to last output, in
            ms; 0 disables it.
        path: Name of a path that every frame takes, or ``auto``.
        max_stale_ms: Maximum age of a reused result, in ms; 0 disables reuse. Recommended
            wherever a budget is set: about three frame periods.
        max_change: Results are reused while the scene changes by at most this, in grey levels.
        weights: Task → weight; the default is 1. Tasks with lower weight run less often when the
            budget is small.
        max_rate_hz: Task → maximum rate, in Hz; 0 or a missing task sets no limit.

    Example:
        >>> from mt_perception import Budget, Pipeline
        >>> pipeline = Pipeline.load('cspnano')
        >>> pipeline.budget = Budget(compute=0.5, max_stale_ms=200)
        >>> pipeline.budget.compute
        0.5
    """

    compute: float = 1.0
    latency_ms: float = 0.0
    path: str = AUTO
    max_stale_ms: float = 0.0
    max_change: float = 10.0
    weights: Mapping[str, float] = field(default_factory=dict)
    max_rate_hz: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_field_types(self)

    def checked(self, paths: Iterable[str], tasks: Collection[str]) -> Budget:
        """Return this budget if a model can keep it.

        Args:
            paths: Names of the model's paths.
            tasks: Names of its tasks.

        Raises:
            OptionError: A value is out of range, or names a path or task that the model lacks.
                Detection, depth and segmentation are valid names for every model.
        """
        if not 0 < self.compute <= 1:
            raise OptionError(
                f'budget.compute must be above 0 and at most 1, found {self.compute}'
            )
        for name in ('latency_ms', 'max_stale_ms', 'max_change'):
            if not 0 <= getattr(self, name) < float('inf'):
                raise OptionError(f'budget.{name} must be 0 or more, found {getattr(self, name)}')
        choices = [AUTO, *paths]
        if self.path not in choices:
            raise OptionError(f'budget.path is {self.path!r}; this model has {", ".join(choices)}')
        for what, values in (('weight', self.weights), ('max_rate_hz', self.max_rate_hz)):
            for task, value in values.items():
                if tasks and task not in (*tasks, DETECTION, DEPTH, SEGMENTATION):
                    close = difflib.get_close_matches(task, tasks, n=1)
                    hint = f'did you mean {close[0]}?' if close else f'it has {", ".join(tasks)}'
                    raise OptionError(f'{what} of {task!r}: this model has no such task; {hint}')
                if not 0 <= value < float('inf'):
                    raise OptionError(f'{what} of task {task} must be 0 or more, found {value}')
        if tasks and not any(self.weight(task) for task in tasks):
            raise OptionError('at least one task must have a weight above 0')
        return self

    def weight(self, task: str) -> float:
        """Return the weight of a task."""
        return self.weights.get(task, 1.0)

    def period_ns(self, task: str) -> float:
        """Return the minimum time between two runs of a task, in nanoseconds."""
        rate_hz = self.max_rate_hz.get(task, 0.0)
        return 1e9 / rate_hz if rate_hz else 0.0


class Spending:
    """Accounts for the cost of frames, relative to the full path.

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
        """Unspent budget of earlier frames, in frames of the full path; negative if overspent."""
        return self._credit

    @property
    def realised(self) -> float:
        """Fraction spent over the last frames; 0 before the first."""
        everything = sum(full for _, full in self._frames)
        return sum(spent for spent, _ in self._frames) / everything if everything else 0.0

    def add(self, spent: float, everything: float) -> None:
        """Add a frame: its multiply-accumulates, and those of the full path."""
        if everything > 0:
            self._frames.append((spent, everything))
            credit = self._credit + self._budget - spent / everything
            self._credit = max(-MOST_CREDIT, min(MOST_CREDIT, credit))
