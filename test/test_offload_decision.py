# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decisions: the deadline first, then accuracy, then time; and no changing of mind per frame."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.offload.decision import (
    Decision,
    DecisionInputs,
    DecisionSettings,
    OffloadPolicy,
    RateOption,
)
from mt_perception.offload.link_estimate import LinkState

BETTER = (RateOption(0, 3000, -0.2), RateOption(1, 6000, 0.02), RateOption(2, 12000, 0.05))
EQUAL = (RateOption(0, 3000, 0.0), RateOption(1, 6000, 0.0))
GOOD = LinkState(round_trip_s=0.005, bytes_per_s=2e6, remote_s=0.01, age_s=0.1)
SLOW = replace(GOOD, bytes_per_s=1e4)
BARE = replace(GOOD, bytes_per_s=1.85e5)
"""Rate 1 takes 0.72 of the time until the latest local start: enough to stay, not to go."""


def situation(
    now_s: float = 0.0,
    link: LinkState = GOOD,
    rates: Sequence[RateOption] = BETTER,
    remaining_s: float = 0.2,
    local_s: float = 0.05,
    encode_s: float = 0.01,
) -> DecisionInputs:
    return DecisionInputs(now_s, remaining_s, local_s, local_s * 1.2, encode_s, link, 8000, rates)


def steady(decider: OffloadPolicy, frame: DecisionInputs, frames: int = 10) -> Decision:
    """The decision once the same situation has lasted."""
    for i in range(frames):
        decision = decider.decide(replace(frame, now_s=frame.now_s + 0.1 * i))
    return decision


def test_the_more_accurate_rate_wins_where_the_link_carries_it() -> None:
    decision = steady(OffloadPolicy(), situation())
    assert (decision.rate, decision.reason) == (2, 'remote')


def test_going_remote_takes_several_good_frames_in_a_row() -> None:
    """Of frames ten seconds apart, so that no dwell time hides it."""
    policy = OffloadPolicy(DecisionSettings(steady_frames=3))
    found = []
    for i, link in enumerate((GOOD, GOOD, SLOW, GOOD, GOOD, GOOD, GOOD)):
        frame = situation(now_s=10.0 * i, link=link)
        # Fresh estimates: nothing is explored.
        found.append(policy.decide(frame).reason)
    assert found[:2] == ['not_steady', 'not_steady']
    assert found[2] == 'too_slow'
    assert found[3:] == ['not_steady', 'not_steady', 'remote', 'remote']


def test_a_frame_that_would_barely_arrive_starts_the_count_again() -> None:
    policy = OffloadPolicy(DecisionSettings(steady_frames=3))
    links = (GOOD, GOOD, BARE, GOOD, GOOD, GOOD)
    found = [policy.decide(situation(10.0 * i, link)) for i, link in enumerate(links)]
    assert [one.reason for one in found] == ['not_steady'] * 5 + ['remote']
    assert policy.decide(situation(60.0, BARE)).rate == 1


def test_a_slower_link_gets_a_lower_rate() -> None:
    link = replace(GOOD, bytes_per_s=2.2e5)
    assert steady(OffloadPolicy(), situation(link=link)).rate == 1


def test_accuracy_is_worth_time_but_not_the_deadline() -> None:
    assert steady(OffloadPolicy(), situation(remaining_s=0.2)).rate == 2
    assert steady(OffloadPolicy(), situation(remaining_s=0.2, link=SLOW)).rate is None


def test_equal_accuracy_goes_where_it_is_faster() -> None:
    assert steady(OffloadPolicy(), situation(rates=EQUAL, local_s=0.05)).rate == 0
    here = steady(OffloadPolicy(), situation(rates=EQUAL, local_s=0.02))
    assert (here.rate, here.reason) == (None, 'local_is_better')


def test_a_rate_that_costs_accuracy_is_never_chosen() -> None:
    assert steady(OffloadPolicy(), situation(rates=BETTER[:1])).rate is None


def test_a_little_accuracy_may_be_lost_for_time_and_more_for_a_deadline() -> None:
    rates = (RateOption(0, 3000, -0.2), RateOption(1, 6000, -0.015))
    assert steady(OffloadPolicy(), situation(rates=rates, local_s=0.05)).rate == 1
    assert steady(OffloadPolicy(), situation(rates=rates, local_s=0.02)).rate is None
    assert steady(OffloadPolicy(), situation(rates=rates[:1], local_s=0.05)).rate is None
    assert (
        steady(OffloadPolicy(), situation(rates=rates[:1], local_s=1.0, remaining_s=0.2)).rate == 0
    )


def test_never_and_always() -> None:
    assert OffloadPolicy(DecisionSettings('never')).decide(situation()).rate is None
    always = OffloadPolicy(DecisionSettings('always'))
    assert always.decide(situation()).rate == 2
    assert always.decide(situation(link=SLOW)).rate == 0
    assert always.decide(situation(link=LinkState())).rate == 0


@pytest.mark.parametrize('mode', ['auto', 'always'])
def test_no_frame_is_sent_that_a_local_run_could_not_save(mode: str) -> None:
    decision = OffloadPolicy(DecisionSettings(mode)).decide(situation(remaining_s=0.065))
    assert (decision.rate, decision.reason) == (None, 'deadline_too_short')


def test_a_robot_too_slow_for_its_deadline_sends() -> None:
    assert steady(OffloadPolicy(), situation(local_s=1.0, remaining_s=0.2)).rate == 2


def test_an_unknown_link_is_tried_with_the_smallest_payload() -> None:
    decision = OffloadPolicy().decide(situation(link=LinkState()))
    assert (decision.rate, decision.explores) == (0, True)
    assert math.isnan(decision.expected_s)


def test_an_unknown_link_is_not_tried_with_every_frame() -> None:
    decider = OffloadPolicy()
    sent = [
        decider.decide(situation(now_s=0.1 * i, link=LinkState())).rate is not None
        for i in range(1000)
    ]
    assert 3 <= sum(sent) <= 7


def test_a_link_that_was_slow_is_tried_again() -> None:
    decider = OffloadPolicy()
    old = replace(SLOW, age_s=5.0)
    sent = [decider.decide(situation(now_s=0.1 * i, link=old)).explores for i in range(1000)]
    assert 3 <= sum(sent) <= 7


def test_where_no_link_could_help_none_is_tried() -> None:
    old = replace(GOOD, age_s=1e3)
    decider = OffloadPolicy()
    for i in range(100):
        decision = decider.decide(situation(i * 1.0, old, EQUAL, local_s=0.02))
        assert decision.rate is None


def test_one_lost_frame_changes_nothing_two_do() -> None:
    decider = OffloadPolicy()
    steady(decider, situation())
    decider.record_failure(1.0)
    assert decider.decide(situation(1.1)).rate == 2
    decider.record_success()
    decider.record_failure(1.2)
    decider.record_failure(1.3)
    assert decider.decide(situation(1.4)).rate is None
    assert decider.decide(situation(3.2)).rate is None
    assert steady(decider, situation(5.4)).rate == 2


def test_a_link_that_is_lost_again_and_again_is_left_alone_for_longer() -> None:
    decider = OffloadPolicy()
    turns, now_s, remote = 0, 0.0, False
    while now_s < 100:
        now_s += 0.1
        sent = decider.decide(situation(now_s)).rate is not None
        turns += sent is not remote
        remote = sent
        if sent:
            decider.record_failure(now_s)
    # Alternating every dwell of 2 s would be a hundred times.
    assert turns <= 14


@given(
    st.lists(
        st.tuples(st.floats(3, 8), st.booleans(), st.floats(0.0, 10.0)),
        min_size=1,
        max_size=400,
    ),
    st.sampled_from([BETTER, EQUAL]),
)
def test_no_link_makes_it_oscillate(
    frames: Sequence[tuple[float, bool, float]], rates: Sequence[RateOption]
) -> None:
    """Whatever the link does, changes of side are at most one in a dwell (FAULTS 61)."""
    decider = OffloadPolicy()
    turns, remote = 0, False
    for i, (exponent, lose, age_s) in enumerate(frames):
        now_s = 0.05 * i
        link = replace(GOOD, bytes_per_s=10**exponent, age_s=age_s)
        decision = decider.decide(situation(now_s, link, rates))
        if not decision.explores:
            sent = decision.rate is not None
            turns += sent is not remote
            remote = sent
        if decision.rate is not None:
            decider.record_failure(now_s) if lose else decider.record_success()
    assert turns <= 2 * (1 + 0.05 * len(frames) / DecisionSettings().dwell_s)


@given(
    st.floats(0.001, 10),
    st.floats(0.001, 2),
    st.floats(0.001, 1),
    st.floats(1, 9),
    st.floats(0, 1),
    st.sampled_from(['auto', 'always']),
)
def test_whatever_is_sent_can_be_saved(
    remaining_s: float, local_s: float, encode_s: float, exponent: float, trip_s: float, mode: str
) -> None:
    link = LinkState(trip_s, 10**exponent, 0.01, age_s=0.1)
    frame = situation(0.0, link, BETTER, remaining_s, local_s, encode_s)
    decider = OffloadPolicy(DecisionSettings(mode))
    for _ in range(5):
        decision = decider.decide(frame)
        if decision.rate is not None and local_s <= remaining_s:
            assert encode_s + frame.local_upper_s <= remaining_s


def test_every_decision_is_the_recorded_one() -> None:
    """A checksum of decisions on a coarse grid, where times meet their limits exactly."""
    chance, decisions = random.Random(1), []
    quick = DecisionSettings(steady_frames=1, dwell_s=0.5, longest_dwell_s=2.0)
    for settings in (DecisionSettings(), quick, DecisionSettings('always')) * 4:
        policy, now_s = OffloadPolicy(settings), 0.0
        for _ in range(200):
            link = replace(
                chance.choice((GOOD, SLOW, GOOD, replace(GOOD, remote_s=0.125))),
                bytes_per_s=2.0 ** chance.randint(14, 22),
                age_s=chance.choice((0.0, 0.0, 2.0, 8.0, 60.0, math.inf)),
            )
            frame = situation(
                now_s,
                link,
                chance.choice((BETTER, BETTER, EQUAL, BETTER[:1], ())),
                chance.choice((0.0625, 0.25, 0.25, 0.5)),
                chance.choice((0.0625, 0.125, 0.25, 1.0)),
                chance.choice((0.0, 0.0625)),
            )
            found = policy.decide(frame)
            decisions.append((found.rate, found.reason, found.explores, f'{found.expected_s:.6g}'))
            if found.rate is not None and chance.random() < 0.2:
                policy.record_failure(now_s)
            elif found.rate is not None:
                policy.record_success()
            now_s += chance.choice((0.125, 0.125, 0.5, 2.0))
    assert zlib.crc32(repr(decisions).encode()) == 2387473342
