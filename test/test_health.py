# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counting what happens to frames, and what is wrong with their stamps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.nodes.budget_check import BudgetCheck
from mt_perception.nodes.diagnostics import (
    ERROR,
    OK,
    WARN,
    InputSnapshot,
    LogThrottle,
    ModelSnapshot,
    NodeSnapshot,
    StatusSnapshot,
    counts,
    input_status,
    perception_status,
    status,
)
from mt_perception.nodes.health import Health, StampCheck
from mt_perception.nodes.stats import report_values, stats
from mt_perception.planning.budget import Budget
from mt_perception.reports import BudgetReport, Execution

NOW_S = 1_700_000_000
NOW_NS = NOW_S * 10**9


@pytest.mark.parametrize(
    ('sec', 'nanosec', 'faults'),
    [
        (NOW_S - 1, 0, ()),
        (0, 0, ('zero',)),
        (NOW_S - 5, 4_000_000_000, ('malformed',)),
        (-1, 0, ('malformed',)),
        (NOW_S + 3600, 0, ('future',)),
        (NOW_S, 50_000_000, ()),
    ],
)
def test_a_first_stamp(sec: int, nanosec: int, faults: tuple[str, ...]) -> None:
    stamp = StampCheck().check(sec, nanosec, NOW_NS)
    assert stamp.faults == faults
    assert stamp.stamp_ns == sec * 10**9 + nanosec
    assert stamp.age_ms >= 0.0


def test_age_of_an_image() -> None:
    assert StampCheck().check(NOW_S - 2, 500_000_000, NOW_NS).age_ms == pytest.approx(1500)
    assert StampCheck().check(NOW_S + 2, 0, NOW_NS).age_ms == 0.0


def test_age_is_unknown_without_stamp_or_clock() -> None:
    assert StampCheck().check(0, 0, NOW_NS).age_ms == 0.0
    assert StampCheck().check(5, 0, 0).age_ms == 0.0


def test_a_repeated_and_an_older_stamp_are_flagged_once() -> None:
    check = StampCheck()
    looks = [check.check(sec, 0, NOW_NS).faults for sec in (10, 11, 11, 5, 6, 7)]
    assert looks == [(), (), ('duplicate',), ('out_of_order',), (), ()]


def test_a_camera_without_stamps_is_no_duplicate() -> None:
    check = StampCheck()
    assert [check.check(0, 0, NOW_NS).faults for _ in range(3)] == [('zero',)] * 3


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))))
def test_no_stamp_is_too_strange(stamps: list[tuple[int, int]]) -> None:
    check = StampCheck()
    for sec, nanosec in stamps:
        assert math.isfinite(check.check(sec, nanosec, NOW_NS).age_ms)


def test_gaps_in_the_publishers_numbers_are_drops() -> None:
    health = Health(0.0)
    for number in (1, 2, 5, 6, 20):
        health.image_arrived(1.0, number)
    assert health.drops['superseded'] == 2 + 13
    assert health.arrived == 5


def test_a_publisher_that_begins_anew_drops_nothing() -> None:
    health = Health(0.0)
    for number in (900_000, 1, 2, None, 3, 2_000_000):
        health.image_arrived(1.0, number)
    assert not health.drops


def test_rates_are_those_since_the_last_report() -> None:
    health = Health(0.0)
    for i in range(10):
        health.image_arrived(i / 10, i)
        if i % 2:
            health.frame_done(4.0, {})
    report = health.report(1.0)
    assert (report.rate_in_hz, report.rate_out_hz) == (pytest.approx(10), pytest.approx(5))
    assert health.report(2.0).rate_in_hz == 0.0


def test_warnings_end_with_their_cause_but_counts_remain() -> None:
    health = Health(0.0)
    health.rejected('short_data', 'the data is too short')
    health.frame_done(1.0, {'depth': 'it broke'})
    first, second = health.report(1.0), health.report(2.0)
    assert list(first.warnings.values()) == ['the data is too short']
    assert first.errors == {'depth': 'it broke'}
    assert not second.warnings
    assert not second.errors
    assert counts('rejected', health.rejects) == {'rejected': 1, 'rejected.short_data': 1}
    assert counts('failed', health.task_failures) == {'failed': 1, 'failed.depth': 1}


def test_silence() -> None:
    health = Health(10.0)
    assert health.silent_s(12.5) == 2.5
    health.image_arrived(12.0, None)
    assert health.silent_s(12.5) == 0.5


def test_latency_quantiles_forget_the_distant_past() -> None:
    health = Health(0.0)
    assert math.isnan(health.report(1.0).latency_p50_ms)
    for latency_ms in (*[1000.0] * 100, *[float(i) for i in range(1, 257)]):
        health.frame_done(latency_ms, {})
    report = health.report(2.0)
    assert report.latency_p50_ms == pytest.approx(128.5)
    assert report.latency_p95_ms == pytest.approx(243.25)


def test_memory_is_bounded() -> None:
    health = Health(0.0)
    for i in range(5000):
        health.image_arrived(i, i)
        health.frame_done(1.0, {})
    assert len(health._latencies_ms) <= 256


def test_status_message() -> None:
    made = status('node: input', 'tiny', ERROR, 'broken', {'rate_hz': 12.34567, 'topic': '/image'})
    assert made.level == ERROR
    assert {v.key: v.value for v in made.values} == {'rate_hz': '12.346', 'topic': '/image'}


def test_each_message_is_logged_once_in_half_a_minute() -> None:
    throttle = LogThrottle()
    allowed = [throttle.allows('a', now_s) for now_s in (0.0, 29.9, 30.0, 59.9, 60.0)]
    assert allowed == [True, False, True, False, True]
    assert throttle.allows('b', 60.0)
    assert not throttle.allows('b', 61.0)
    for number in range(998):
        assert throttle.allows(str(number), 62.0)
    assert not throttle.allows('a', 63.0), '1000 messages are remembered'
    assert throttle.allows('one more', 63.0)
    assert throttle.allows('a', 63.0)


def test_values_of_a_status() -> None:
    assert counts('dropped', {'late': 2, 'early': 1}) == {
        'dropped': 3, 'dropped.early': 1, 'dropped.late': 2,
    }  # fmt: skip
    found = status('n', 'h', WARN, 'm', {'a': 0.12345, 'b': 7, 'c': 'x'})
    assert (found.name, found.hardware_id, found.level, found.message) == ('n', 'h', WARN, 'm')
    assert [(each.key, each.value) for each in found.values] == [
        ('a', '0.123'), ('b', '7'), ('c', 'x'),
    ]  # fmt: skip


SOURCE = InputSnapshot('/image', '/camera_info', '', rectified=True)
MODEL = ModelSnapshot('tiny', '1', ('CPU',), (), {'path': 'full'})


def snapshot(**changes: Any) -> NodeSnapshot:
    report = Health(0.0).report(10.0)
    made = NodeSnapshot('', 'active', '', (), report, SOURCE, MODEL, None)
    return replace(made, **changes)


def test_the_status_of_the_input() -> None:
    assert input_status(snapshot(input=None)) == StatusSnapshot(OK, 'not subscribed', {})
    fine = input_status(snapshot())
    assert (fine.level, fine.message) == (OK, '0.0 Hz')
    assert fine.values['camera'] == 'P of a rectified image'
    raw = input_status(snapshot(input=replace(SOURCE, rectified=False)))
    assert raw.values['camera'] == 'K of a raw image'
    silent = input_status(snapshot(input=replace(SOURCE, silence_reason='no publisher')))
    assert silent.level == ERROR
    assert silent.message.startswith('no image for ')
    assert silent.message.endswith(' s: no publisher')
    report = replace(snapshot().report, warnings={'a': 'late', 'b': 'blind'})
    warned = input_status(snapshot(report=report))
    assert (warned.level, warned.message) == (WARN, 'late; blind')


def test_the_status_of_the_model() -> None:
    def found(**changes: Any) -> tuple[bytes, str]:
        made = perception_status(snapshot(**changes))
        return made.level, made.message

    assert found() == (OK, '0.0 Hz')
    assert found(model=None, state='unconfigured') == (WARN, 'unconfigured')
    assert found(model=None, fault='no model') == (ERROR, 'no model')
    assert found(state='inactive') == (WARN, 'inactive')
    assert found(state='inactive', fault='refused') == (WARN, 'refused')
    assert found(warnings=('b',), model=replace(MODEL, warnings=('a',))) == (WARN, 'a; b')
    assert found(model=replace(MODEL, budget_warning='too slow')) == (WARN, 'too slow')
    report = replace(snapshot().report, errors={'depth': 'x', 'detection': 'y'})
    assert found(report=report, state='inactive') == (ERROR, 'depth: x; detection: y')
    values = perception_status(snapshot()).values
    assert (values['model'], values['providers'], values['path']) == ('tiny 1', 'CPU', 'full')


def test_limits_of_stamps_and_gaps() -> None:
    """A tenth of a second of future, 10,000 missing numbers, and 256 latencies."""
    check = StampCheck()
    assert check.check(NOW_S, 100_000_000, NOW_NS).faults == ()
    assert check.check(NOW_S, 100_000_001, NOW_NS).faults == ('future',)
    assert StampCheck().check(NOW_S, 999_999_999, NOW_NS + 10**9).faults == ()
    assert StampCheck().check(NOW_S - 9, 1_000_000_000, NOW_NS).faults == ('malformed',)
    for step, missing in ((1, 0), (2, 1), (10_000, 9_999), (10_001, 0)):
        health = Health(0.0)
        health.image_arrived(1.0, 7)
        health.image_arrived(1.0, 7 + step)
        assert health.drops['superseded'] == missing
    health = Health(0.0)
    for latency_ms in [99.0] * 256 + [1.0] * 129:
        health.frame_done(latency_ms, {})
    report = health.report(10.0)
    assert report.latency_p50_ms == 1
    assert report.latency_p95_ms == 99
    assert report.rate_out_hz == pytest.approx(38.5)


def test_a_budget_is_judged_after_32_frames() -> None:
    def warning(
        realised: float, measured_ms: float, frames: int = 32, latency_ms: float = 10.0
    ) -> str:
        check = BudgetCheck(Budget(compute=0.5, latency_ms=latency_ms), 0.25)
        spent = BudgetReport(0.5, realised)
        run = Execution((), (), 'light', '', 0, (0, 0), {}, budget=spent)
        for _ in range(frames):
            check.add(run, measured_ms)
        return check.warning()

    assert warning(0.55, 10.0) == '', 'a tenth above the budget is normal'
    assert warning(0.9, 12.0, frames=31) == ''
    assert warning(0.56, 10.0).startswith('budget.compute 0.5 is not met: 0.56 on average; the ')
    assert 'the cheapest path costs 0.25' in warning(0.56, 10.0)
    assert warning(0.5, 12.0) == 'budget.latency_ms 10 is not met: p95 is 12 ms on path light'
    assert warning(0.5, 12.0, latency_ms=0.0) == ''
    assert warning(0.6, 12.0).count('is not met') == 2


def test_statistics_of_a_frame() -> None:
    run = Execution(
        ('depth',), ('trunk', 'depth'), 'light', 'why', 7, (64, 96), {'total': 5.0},
        block_ms={'trunk': 2.0}, loaded_bytes=3,
    )  # fmt: skip
    values = stats(run, {'detection': 'no boxes'})
    expected = {
        'latency_ms.total': 5.0, 'block_ms.trunk': 2.0, 'macs': 7, 'loaded_bytes': 3,
        'network_height': 64, 'network_width': 96, 'tasks': 'depth', 'blocks': 'trunk depth',
        'path': 'light', 'reason': 'why', 'failed.detection': 'no boxes',
    }  # fmt: skip
    assert expected.items() <= values.items()
    texts = {
        'budget.realised': '0.5', 'reuse.tasks': 'a b', 'policy.x': 'True', 'offload.bytes': '7',
        'conditions.y': 'False', 'depth_scale.source': 'ground', 'macs': '7',
    }  # fmt: skip
    assert report_values(texts) == {
        'budget.realised': 0.5, 'reuse.tasks': 'a b', 'policy.x': True, 'offload.bytes': 7,
        'conditions.y': False, 'depth_scale.source': 'ground',
    }  # fmt: skip
