# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker: a remote host that fails is left alone for a while, and then tried once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum


class BreakerState(Enum):
    """What the breaker does with requests."""

    CLOSED = 'closed'
    """All of them pass."""
    OPEN = 'open'
    """None does."""
    HALF_OPEN = 'half_open'
    """One is on trial; the others wait for what becomes of it."""


@dataclass(frozen=True)
class CircuitBreakerSettings:
    """When the breaker opens, and for how long.

    Attributes:
        failures: Failures in a row that open it.
        first_s: First wait.
        longest_s: Longest wait; each trial that fails doubles the wait up to this.
        jitter: Share of each wait that is left to chance, so that the robots whom one host left
            do not all come back in the same instant.
        trial_s: A trial that nobody reported on is given up after so long.
    """

    failures: int = 3
    first_s: float = 0.5
    longest_s: float = 30.0
    jitter: float = 0.5
    trial_s: float = 10.0


class CircuitBreaker:
    """Decides whether a request may go out. Times are monotonic, in seconds.

    Args:
        settings: When it opens, and for how long.
        chance: Where jitter comes from.
    """

    def __init__(
        self, settings: CircuitBreakerSettings | None = None, chance: random.Random | None = None
    ) -> None:
        self._settings = settings or CircuitBreakerSettings()
        # Robots that start together must not draw the same numbers: seeded by the system.
        self._chance = chance or random.SystemRandom()
        self._state = BreakerState.CLOSED
        self._in_a_row = 0
        self._openings = 0
        self._retry_s = 0.0

    @property
    def state(self) -> BreakerState:
        """What it does now."""
        return self._state

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._in_a_row

    def wait_s(self, now_s: float) -> float:
        """Seconds until a request may pass; 0 if one may pass now."""
        return 0.0 if self._state is BreakerState.CLOSED else max(0.0, self._retry_s - now_s)

    def take(self, now_s: float) -> bool:
        """Whether a request may go out now. Who is told so must report what became of it."""
        if self._state is BreakerState.CLOSED:
            return True
        if now_s < self._retry_s:
            return False
        self._state = BreakerState.HALF_OPEN
        self._retry_s = now_s + self._settings.trial_s
        return True

    def succeeded(self) -> None:
        """A request was answered well."""
        # An answer to what was sent before the breaker opened says nothing about now.
        if self._state is not BreakerState.OPEN:
            self._state = BreakerState.CLOSED
            self._in_a_row = self._openings = 0

    def failed(self, now_s: float) -> None:
        """A request was refused, lost, answered badly, or too late."""
        self._in_a_row += 1
        on_trial = self._state is BreakerState.HALF_OPEN
        enough = self._state is BreakerState.CLOSED and self._in_a_row >= self._settings.failures
        if on_trial or enough:
            self._state = BreakerState.OPEN
            self._retry_s = now_s + self._next_wait_s()

    def _next_wait_s(self) -> float:
        """Exponential back-off with the last part left to chance."""
        settings = self._settings
        # The exponent is bounded, or a host that is gone for a week would overflow a float.
        wait_s = min(settings.longest_s, settings.first_s * 2.0 ** min(self._openings, 60))
        self._openings += 1
        return wait_s * (1 - settings.jitter * self._chance.random())
