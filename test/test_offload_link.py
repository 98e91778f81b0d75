# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The link's estimate: right on a steady link, calm about outliers, quick to follow a change."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.offload.link_estimate import (
    LinkEstimate,
    LinkState,
    RobustAverage,
    link_values,
)

POSITIVE = st.floats(1e-6, 1e6)


def answered(
    link: LinkEstimate, now_s: float, sent: int, mbit_s: float, remote_s: float = 0.02
) -> float:
    """One request over a link of this rate and a round trip of 10 ms; when it is done."""
    elapsed_s = 0.01 + remote_s + (sent + 8000) * 8 / (mbit_s * 1e6)
    link.pinged(0.01)
    link.sent(now_s, sent)
    link.answered(now_s + elapsed_s, elapsed_s, sent + 8000, remote_s)
    return now_s + elapsed_s


@pytest.mark.parametrize('lie_s', [1.0, 1e9, math.inf])
def test_an_impossible_time_of_the_host_is_ignored(lie_s: float) -> None:
    link, now_s = LinkEstimate(), 0.0
    for _ in range(20):
        now_s = answered(link, now_s, 8000, 2.0)
    honest = link.state(now_s)
    for _ in range(20):
        link.answered(now_s, 0.1, 16000, lie_s)
    lied = link.state(now_s)
    assert lied.remote_s == honest.remote_s
    assert lied.bytes_per_s < 2 * honest.bytes_per_s


@given(st.lists(POSITIVE, min_size=1, max_size=100))
def test_an_average_lies_among_its_samples(samples: Sequence[float]) -> None:
    smoothed = RobustAverage()
    for sample in samples:
        smoothed.add(sample)
    assert min(samples) * (1 - 1e-9) <= smoothed.value <= max(samples) * (1 + 1e-9)
    assert smoothed.high(3) >= smoothed.value


@given(POSITIVE, st.floats(0.01, 100))
def test_a_lasting_change_is_followed(before: float, factor: float) -> None:
    smoothed = RobustAverage()
    for _ in range(30):
        smoothed.add(before)
    for _ in range(30):
        smoothed.add(before * factor)
    assert smoothed.value == pytest.approx(before * factor, rel=0.05)


def test_one_outlier_hardly_moves_it() -> None:
    smoothed = RobustAverage()
    for _ in range(30):
        smoothed.add(0.02)
    smoothed.add(20.0)
    assert smoothed.value < 0.022


@pytest.mark.parametrize('sample', [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_measurement_is_left_out(sample: float) -> None:
    smoothed = RobustAverage()
    smoothed.add(0.5)
    smoothed.add(sample)
    assert (smoothed.value, smoothed.samples) == (0.5, 1)


def test_nothing_is_known_at_first() -> None:
    state = LinkEstimate().state(10.0)
    assert not state.known
    assert math.isnan(state.bytes_per_s)
    assert state.backlog_s == 0


@pytest.mark.parametrize('mbit_s', [0.25, 1.0, 5.0, 20.0])
def test_it_finds_the_rate_of_a_steady_link(mbit_s: float) -> None:
    link = LinkEstimate()
    now_s = 0.0
    for i in range(20):
        now_s = answered(link, now_s, 5000 + 1000 * (i % 5), mbit_s)
    state = link.state(now_s)
    assert state.bytes_per_s * 8e-6 == pytest.approx(mbit_s, rel=0.1)
    assert state.completion_s(6000, 8000) == pytest.approx(0.03 + 0.112 / mbit_s, rel=0.1)
    assert state.failure_rate == 0
    assert state.known


def test_without_a_ping_no_link_is_taken_for_a_fast_one() -> None:
    link = LinkEstimate()
    now_s = 0.0
    for sent in [30_000] * 5 + [6_000] * 20:
        elapsed_s = 0.03 + (sent + 4000) * 8e-6  # 1 Mbit/s
        link.sent(now_s, sent)
        now_s += elapsed_s
        link.answered(now_s, elapsed_s, sent + 4000, 0.02)
    state = link.state(now_s)
    assert 0.8 < state.bytes_per_s * 8e-6 < 1.2
    assert state.precision == LinkState(bytes_per_s=1e5).precision


def test_depth_is_coarser_where_bytes_cost_time() -> None:
    errors = [LinkState(bytes_per_s=rate * 1.25e5).precision for rate in (0.25, 1, 2, 5, 20, 1000)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == LinkState().precision == 0.03, 'an unknown link counts as the slowest'
    assert errors[-1] == 0.002


def test_it_follows_a_link_that_becomes_slow() -> None:
    link = LinkEstimate()
    now_s = 0.0
    for mbit_s in [20.0] * 20 + [0.5] * 16:
        now_s = answered(link, now_s, 8000, mbit_s)
    assert link.state(now_s).bytes_per_s * 8e-6 == pytest.approx(0.5, rel=0.3)


def test_time_at_the_host_is_not_taken_for_bandwidth() -> None:
    quick, slow = LinkEstimate(), LinkEstimate()
    for link, remote_s in ((quick, 0.01), (slow, 2.0)):
        now_s = 0.0
        for _ in range(10):
            now_s = answered(link, now_s, 8000, 2.0, remote_s)
    assert slow.state(0).bytes_per_s == pytest.approx(quick.state(0).bytes_per_s, rel=0.05)
    assert slow.state(0).remote_s == pytest.approx(2.0, rel=0.05)


def test_a_timeout_says_that_the_link_is_no_faster() -> None:
    link = LinkEstimate()
    now_s = 0.0
    for _ in range(10):
        now_s = answered(link, now_s, 8000, 20.0)
    for _ in range(10):
        link.sent(now_s, 8000)
        now_s += 0.5
        link.failed(now_s, 0.5, 8000, timed_out=True)
    state = link.state(now_s)
    assert state.bytes_per_s * 8e-6 < 0.5
    assert state.failure_rate > 0.5


def test_a_refused_request_says_nothing_about_bandwidth() -> None:
    link = LinkEstimate()
    now_s = answered(link, 0.0, 8000, 2.0)
    before = link.state(now_s).bytes_per_s
    link.sent(now_s, 8000)
    link.failed(now_s + 0.001, 0.001, 8000, timed_out=False)
    state = link.state(now_s + 0.001)
    assert state.bytes_per_s == before
    assert state.backlog_s == 0


def test_what_was_sent_in_vain_is_still_in_the_way() -> None:
    link = LinkEstimate()
    now_s = 0.0
    for _ in range(10):
        now_s = answered(link, now_s, 25_000, 1.0)
    for _ in range(3):
        link.sent(now_s, 25_000)
    state = link.state(now_s)
    assert state.backlog_s == pytest.approx(0.6, rel=0.2)
    assert link.state(now_s + 1).backlog_s == 0
    assert state.completion_s(0, 0) > 0.6


@given(
    st.lists(
        st.tuples(
            st.sampled_from(['ping', 'send', 'answer', 'refuse', 'time out']),
            st.floats(0, 1e4),
            st.integers(0, 1 << 26),
        ),
        max_size=60,
    )
)
def test_whatever_is_measured_the_state_makes_sense(
    events: Sequence[tuple[str, float, int]],
) -> None:
    link = LinkEstimate()
    now_s = 0.0
    for what, elapsed_s, size in events:
        now_s += elapsed_s
        if what == 'ping':
            link.pinged(elapsed_s)
        elif what == 'send':
            link.sent(now_s, size)
        elif what == 'answer':
            link.answered(now_s, elapsed_s, size, elapsed_s / 2)
        else:
            link.failed(now_s, elapsed_s, size, timed_out=what == 'time out')
        state = link.state(now_s)
        assert isinstance(state, LinkState)
        assert 0 <= state.failure_rate <= 1
        assert state.backlog_s >= 0
        assert math.isnan(state.bytes_per_s) or 0 < state.bytes_per_s < math.inf
        assert not state.known or state.age_s >= 0


def test_every_estimate_is_the_recorded_one() -> None:
    """A checksum of states, to five digits, of links on which anything happens."""
    chance, states = random.Random(1), []
    for _ in range(20):
        link, now_s = LinkEstimate(), 0.0
        for _ in range(40):
            what = chance.choice(('ping', 'send', 'answer', 'answer', 'refuse', 'late', 'other'))
            elapsed_s, size = chance.choice((0.01, 0.05, 0.2, 1.0)), 2 ** chance.randint(8, 20)
            now_s += chance.choice((0.0, 0.1, 1.0))
            if what == 'ping':
                link.pinged(elapsed_s / 4)
            elif what == 'send':
                link.sent(now_s, size)
            elif what == 'answer':
                remote_s = chance.choice((None, 0.0, elapsed_s / 4, elapsed_s))
                link.answered(now_s, elapsed_s, size, remote_s)
            elif what == 'other':
                link.superseded(elapsed_s, size)
            else:
                link.failed(now_s, elapsed_s, size, timed_out=what == 'late')
            state = link.state(now_s + 0.01)
            numbers = (*vars(state).values(), state.precision, link.deviation)
            states.append([f'{number:.5g}' for number in numbers])
            times = state.completion_s(100, 50), link._pinged.high(2)
            states.append([f'{seconds:.5g}' for seconds in times])
            states.append(sorted(link_values(state)))
    assert zlib.crc32(repr(states).encode()) == 3428265830


def test_values_of_a_report_are_in_its_units() -> None:
    assert (LinkState().backlog_s, LinkState().failure_rate) == (0, 0)
    state = LinkState(round_trip_s=0.005, bytes_per_s=1e6, failure_rate=0.25)
    assert link_values(state) == {'failure_rate': 0.25, 'round_trip_ms': 5.0, 'mbit_s': 8.0}
    assert link_values(LinkState(round_trip_s=0.0)) == {'failure_rate': 0.0}
