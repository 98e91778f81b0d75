# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker with exponential back-off for requests to a failing host."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum


class BreakerState(Enum):
    """State of a circuit breaker."""

    CLOSED = 'closed'
    """Requests pass."""
    OPEN = 'open'
    """Requests are blocked."""
    HALF_OPEN = 'half_open'
    """One trial request passes; its result decides."""


@dataclass(frozen=True)
class CircuitBreakerSettings:
    """Settings of a circuit breaker.

    Attributes:
        failures: Consecutive failures that open the breaker.
        first_s: First wait.
        longest_s: Upper limit on the wait, which doubles with each failed trial.
        jitter: Random share of each wait, so that robots do not return to a host all at once.
        trial_s: A trial without a result ends after this time.
    """

    failures: int = 3
    first_s: float = 0.5
    longest_s: float = 30.0
    jitter: float = 0.5
    trial_s: float = 10.0


class CircuitBreaker:
    """Blocks requests to a failing host. Times are monotonic, in seconds.

    Args:
        settings: Thresholds and waits.
        chance: Random numbers for the jitter.
    """

    def __init__(
        self, settings: CircuitBreakerSettings | None = None, chance: random.Random | None = None
    ) -> None:
        self._settings = settings or CircuitBreakerSettings()
        # Seeded by the system: robots that start together must draw different numbers.
        self._chance = chance or random.SystemRandom()
        self._state = BreakerState.CLOSED
        self._in_a_row = 0
        self._openings = 0
        self._retry_s = 0.0

    @property
    def state(self) -> BreakerState:
        """The current state."""
        return self._state

    @property
    def failures(self) -> int:
        """Consecutive failures."""
        return self._in_a_row

    def wait_s(self, now_s: float) -> float:
        """Seconds until a request can pass; 0 if one can pass now."""
        return 0.0 if self._state is BreakerState.CLOSED else max(0.0, self._retry_s - now_s)

    def take(self, now_s: float) -> bool:
        """Whether a request can pass now; if so, the caller must report its result."""
        if self._state is BreakerState.CLOSED:
            return True
        if now_s < self._retry_s:
            return False
        self._state = BreakerState.HALF_OPEN
        self._retry_s = now_s + self._settings.trial_s
        return True

    def succeeded(self) -> None:
        """Record a successful request."""
        # A response to a request from before the breaker opened does not close it.
        if self._state is not BreakerState.OPEN:
            self._state = BreakerState.CLOSED
            self._in_a_row = self._openings = 0

    def failed(self, now_s: float) -> None:
        """Record a request that was refused, lost, late or answered with an invalid response."""
        self._in_a_row += 1
        on_trial = self._state is BreakerState.HALF_OPEN
        enough = self._state is BreakerState.CLOSED and self._in_a_row >= self._settings.failures
        if on_trial or enough:
            self._state = BreakerState.OPEN
            self._retry_s = now_s + self._next_wait_s()

    def _next_wait_s(self) -> float:
        """Exponential back-off with jitter."""
        settings = self._settings
        # Bounded: the exponent of a host that is gone for a week would overflow a float.
        wait_s = min(settings.longest_s, settings.first_s * 2.0 ** min(self._openings, 60))
        self._openings += 1
        return wait_s * (1 - settings.jitter * self._chance.random())
