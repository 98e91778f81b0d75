# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker: opens after N failures, tries once, backs off, and never all at once."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mt_perception.offload.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerSettings,
)

SETTINGS = CircuitBreakerSettings(failures=3, first_s=1.0, longest_s=8.0, jitter=0.5, trial_s=5.0)


def broken(seed: int = 0) -> CircuitBreaker:
    """A breaker that has just opened, at time 0."""
    breaker = CircuitBreaker(SETTINGS, random.Random(seed))
    for _ in range(SETTINGS.failures):
        assert breaker.take(0.0)
        breaker.failed(0.0)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(10):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert broken().state is BreakerState.OPEN


def test_open_lets_nothing_through_until_its_wait_is_over() -> None:
    breaker = broken()
    wait_s = breaker.wait_s(0.0)
    assert 0.5 <= wait_s <= 1.0
    assert not breaker.take(wait_s - 0.01)
    assert breaker.take(wait_s)
    assert breaker.state is BreakerState.HALF_OPEN


def test_half_open_lets_one_through_and_closes_when_it_succeeds() -> None:
    breaker = broken()
    now_s = breaker.wait_s(0.0)
    assert breaker.take(now_s)
    assert not any(breaker.take(now_s + i * 0.1) for i in range(10))
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.failures == 0
    assert breaker.wait_s(now_s) == 0


def test_a_trial_that_nobody_reports_on_is_given_up() -> None:
    breaker = broken()
    now_s = breaker.wait_s(0.0)
    assert breaker.take(now_s)
    assert breaker.take(now_s + SETTINGS.trial_s)


def test_an_old_answer_does_not_close_it() -> None:
    breaker = broken()
    breaker.succeeded()
    assert breaker.state is BreakerState.OPEN


def test_waits_double_up_to_the_longest_and_start_anew_after_success() -> None:
    breaker = broken()
    now_s = 0.0
    waits = []
    for _ in range(6):
        waits.append(breaker.wait_s(now_s))
        now_s += waits[-1]
        assert breaker.take(now_s)
        breaker.failed(now_s)
    for wait_s, upper_s in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert upper_s / 2 <= wait_s <= upper_s
    now_s += breaker.wait_s(now_s)
    assert breaker.take(now_s)
    breaker.succeeded()
    for _ in range(SETTINGS.failures):
        breaker.failed(now_s)
    assert breaker.wait_s(now_s) <= 1.0


def test_robots_that_lost_one_host_do_not_return_together() -> None:
    waits = sorted(broken(seed).wait_s(0.0) for seed in range(100))
    in_any_tenth = max(
        sum(lo <= w < lo + 0.05 for w in waits) for lo in (0.5 + i / 20 for i in range(10))
    )
    assert in_any_tenth < 30


def test_a_breaker_that_was_given_no_chance_differs_from_the_next_one() -> None:
    waits = set()
    for _ in range(5):
        breaker = CircuitBreaker(SETTINGS)
        for _ in range(SETTINGS.failures):
            breaker.failed(0.0)
        waits.add(breaker.wait_s(0.0))
    assert len(waits) == 5


@given(
    st.lists(
        st.tuples(st.sampled_from(['ok', 'fail', 'silent', 'idle']), st.floats(0, 20)),
        max_size=200,
    ),
    st.integers(0, 1000),
)
def test_whatever_happens_waits_are_bounded_and_it_recovers(
    events: Sequence[tuple[str, float]], seed: int
) -> None:
    breaker = CircuitBreaker(SETTINGS, random.Random(seed))
    now_s = 0.0
    for what, elapsed_s in events:
        now_s += elapsed_s
        if what != 'idle' and breaker.take(now_s):
            if what == 'ok':
                breaker.succeeded()
            elif what == 'fail':
                breaker.failed(now_s)
        assert breaker.wait_s(now_s) <= max(SETTINGS.longest_s, SETTINGS.trial_s)
    now_s += max(SETTINGS.longest_s, SETTINGS.trial_s)
    assert breaker.take(now_s)
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_every_wait_is_the_recorded_one() -> None:
    """A checksum of states and waits, where requests meet the ends of waits exactly."""
    chance, states = random.Random(1), []
    for settings in (SETTINGS, CircuitBreakerSettings(), CircuitBreakerSettings(jitter=0.0)) * 4:
        breaker, now_s = CircuitBreaker(settings, random.Random(2)), 0.0
        for _ in range(100):
            taken, what = breaker.take(now_s), chance.choice(('ok', 'bad', 'bad', 'silent', 'old'))
            if what == 'old' or (taken and what == 'ok'):
                breaker.succeeded()
            elif taken and what == 'bad':
                breaker.failed(now_s)
            wait_s = breaker.wait_s(now_s)
            states.append((taken, breaker.state.name, breaker.failures, f'{wait_s:.6g}'))
            now_s += chance.choice((0.0, 0.25, wait_s, settings.trial_s))
    assert zlib.crc32(repr(states).encode()) == 3026642608
