# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets: what may be spent on a frame, what was spent, and how long frames take now."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
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


class LatencyLoop:
    """Keeps frames below a time, by allowing only paths that are fast enough right now.

    Every frame tells how fast the machine is at the moment: the time of its blocks, divided by
    what its path takes of the time of everything. That is what the other paths are judged by too,
    so the loop knows on the cheapest path when everything would fit again, and nothing winds up
    while the machine is busy. A path once left is taken again only when it fits by a margin, for
    a while: so the loop does not swing.

    Args:
        wanted_ms: The time to keep below, at the 95th percentile.
    """

    WINDOW_S = 0.8
    FEWEST = 4
    """Frames in the window before anything is decided."""

    DOWN, UP = 0.95, 0.85
    """Fractions of the time wanted: a path must fit the first to stay, the second to come back."""

    HOLD_S = 0.3

    def __init__(self, wanted_ms: float) -> None:
        self._wanted_ms = wanted_ms
        self._measured: deque[tuple[float, float, float]] = deque()
        self._allowed = 1.0
        self._fits_since_s: float | None = None

    @property
    def p95_ms(self) -> float:
        """95th percentile of the time of everything, as the machine is now; 0 if unknown."""
        return self._predicted(1.0)

    def observe(self, now_s: float, blocks_ms: float, rest_ms: float, share: float) -> None:
        """Take note of a frame.

        Args:
            now_s: A monotonic time.
            blocks_ms: Wall time of its blocks.
            rest_ms: Wall time of all the rest.
            share: What its blocks take of the time of everything, when the machine is idle.
        """
        if share > 0:
            self._measured.append((now_s, blocks_ms / share, rest_ms))

    def allowed(self, now_s: float, shares: Sequence[float]) -> list[int]:
        """The paths that are fast enough, at least the fastest one.

        Args:
            now_s: A monotonic time.
            shares: What each path takes of the time of everything.
        """
        while self._measured and self._measured[0][0] < now_s - self.WINDOW_S:
            self._measured.popleft()
        if len(self._measured) >= self.FEWEST:
            self._adapt(now_s, shares)
        fastest = min(shares)
        limit = max(self._allowed, fastest)
        return [i for i, share in enumerate(shares) if share <= limit + 1e-9]

    def _adapt(self, now_s: float, shares: Sequence[float]) -> None:
        current = max((s for s in shares if s <= self._allowed + 1e-9), default=min(shares))
        if self._predicted(current) > self.DOWN * self._wanted_ms:
            self._allowed = self._largest(shares, self.DOWN)
            self._fits_since_s = None
            return
        better = self._largest(shares, self.UP)
        if better <= current:
            self._fits_since_s = None
        elif self._fits_since_s is None:
            self._fits_since_s = now_s
        elif now_s - self._fits_since_s >= self.HOLD_S:
            self._allowed = better
            self._fits_since_s = None

    def _largest(self, shares: Sequence[float], margin: float) -> float:
        fitting = [s for s in shares if self._predicted(s) <= margin * self._wanted_ms]
        return max(fitting, default=min(shares))

    def _predicted(self, share: float) -> float:
        """95th percentile of frames on a path, had they all taken it."""
        times = sorted(rest + share * everything for _, everything, rest in self._measured)
        return times[min(len(times) - 1, int(0.95 * len(times)))] if times else 0.0
