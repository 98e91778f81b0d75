# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The state between frames: limits on age, rate and tracks, and the latency controller."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mt_perception.errors import TaskError
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Plan, Stage
from mt_perception.image.pyramid import ImagePyramid
from mt_perception.model.task_graph import IMAGE, Block
from mt_perception.planning import frame_state
from mt_perception.planning.budget import Budget, Spending
from mt_perception.planning.frame_state import FrameState
from mt_perception.planning.task_rates import TaskRates
from mt_perception.types import Detections, Frame, Intrinsics, Segmentation

MODEL: Any = SimpleNamespace(name='n', version='1')
MS = 1_000_000
PIXELS = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)


def configured(budget: Budget | None = None, **options: Any) -> FrameState:
    state = FrameState()
    state.configure(Options(**options), budget or Budget(), MODEL)
    return state


def frame(ms: float, **changes: Any) -> Frame:
    return replace(Frame(PIXELS, round(ms * MS), 'c'), **changes)


def classes() -> Segmentation:
    return Segmentation(np.zeros((48, 64), np.uint8), ('a',))


def committed(
    state: FrameState, of: Frame, *tasks: str, plan: Plan | None = None, **run: Any
) -> None:
    """A frame in which these tasks made a result."""
    state.observe(of, ImagePyramid(of.image))
    ran: Any = SimpleNamespace(
        plan=plan or Plan(), frame=of, results={task: classes() for task in tasks}, block_ms={},
        **run,
    )  # fmt: skip
    execution: Any = SimpleNamespace(stage_ms={'total': 20.0})
    state.commit(ran, execution, 1.0)


def test_results_are_fresh_up_to_the_limit() -> None:
    state = configured(Budget(max_stale_ms=100.0))
    assert state.reusable(['a']) == {}
    assert state.period_ms == 0
    committed(state, frame(1000), 'a', 'b')
    view = state.reusable(['a', 'b', 'c'])
    assert set(view) == {'a', 'b'}
    camera = Intrinsics(90, 90, 32, 24, 64, 48)
    for later, fresh in (
        (frame(1000), True),
        (frame(1100), True),
        (frame(1100.000001), False),
        (frame(999.999999), False),
        (frame(1050, intrinsics=camera), False),
        (frame(1050, image=PIXELS[:40]), False),
        (frame(1050), True),
        (frame(0), False),
    ):
        state.observe(later, ImagePyramid(later.image))
        assert (set(state.reusable(['a'])) == {'a'}) == fresh
    state.observe(frame(1060), ImagePyramid(PIXELS))
    state.observe(frame(1090), ImagePyramid(PIXELS))
    assert state.period_ms == pytest.approx(30)
    state.observe(frame(1080), ImagePyramid(PIXELS))
    assert state.period_ms == 0, 'a clock that jumped back'
    # A result of a frame without a stamp is not reused.
    committed(state, frame(0), 'a')
    state.observe(frame(50), ImagePyramid(PIXELS))
    assert state.reusable(['a']) == {}
    state.forget()
    assert state.reusable(['b']) == {}
    with pytest.raises(TaskError, match="'b' has no earlier result"):
        state.reused('b', None, frame(1100))


def test_motion_is_for_small_budgets_alone() -> None:
    for compute, has_flow in ((1.0, False), (0.99, True)):
        state = configured(Budget(compute, max_stale_ms=100.0))
        committed(state, frame(1000), 'a', 'b')
        other = PIXELS.copy()
        other[:, :16] = 0
        later = frame(1010, image=other)
        state.observe(later, ImagePyramid(later.image))
        views = state.reusable(['a', 'b'])
        assert (views['a'].flow_image is not None) == has_flow
        assert set(state.motions(views)) == (set(views) if has_flow else set())
        changes = state.changes(views)
        assert changes['a'] == changes['b'] > 0
        assert not state.has_cut(views['a'])
        assert views['a'].age_ms(later) == pytest.approx(10)
        found = state.reused('a', None, later)
        assert found is not state.reused('b', None, later)
        assert isinstance(found, Segmentation)
        assert not found.class_ids.flags.writeable
    state = configured()
    committed(state, frame(1000), 'a')
    assert state.reusable(['a']) == {}
    kept = state.reused('a', None, frame(1010))
    assert isinstance(kept, Segmentation)
    assert kept.class_ids.flags.writeable, 'nothing is reused without a limit on age'


def test_a_rate_is_kept_on_a_grid() -> None:
    state = configured(Budget(max_rate_hz={'a': 10.0}))

    def due(ms: float) -> bool:
        return state.is_due('a', frame(ms))

    assert due(1000)
    committed(state, frame(1000), 'a', 'b')
    assert state.is_due('b', frame(1001))
    assert [due(ms) for ms in (1000, 1050, 1099.999999, 1100, 1500)] == [False] * 3 + [True] * 2
    assert due(0), 'without a stamp'
    # Due at 1100: 1 ns before the last frame the clock has jumped back.
    assert [due(ms) for ms in (999.999999, 1000 - 2e-6)] == [True, True]
    committed(state, frame(1130), 'a')
    assert [due(1199), due(1200)] == [False, True], 'late frames do not shift the grid'
    committed(state, frame(1300), 'a')
    assert [due(1399), due(1400)] == [False, True], 'the grid begins anew after a gap'
    committed(state, frame(0), 'a')
    assert due(1301), 'a frame without a stamp leaves no due time'


@pytest.mark.parametrize(
    ('track_min_score', 'tracked', 'asked'), [(0.0, 2, 0.1), (0.6, 1, 0.1), (0.2, 3, 0.1)]
)
def test_identities_begin_at_their_score(
    track_min_score: float, tracked: int, asked: float
) -> None:
    settings = {'tracking': True, 'track_min_score': track_min_score, 'max_detections': 3}
    state = configured(score_threshold=0.35, **settings)
    options = Options(score_threshold=0.35, **settings)  # type: ignore[arg-type]
    scores = np.array([0.9, 0.35, 0.34, 0.2, 0.15, 0.1, 0.05], np.float32)
    boxes = np.arange(7)[:, None] * 100 + np.array([0, 0, 50, 50])

    def make(given: Options) -> Detections:
        assert given.score_threshold == asked
        return Detections(boxes.astype(np.float32), scores, np.zeros(7, np.int64), ('a',))

    found = state.tracked(make, options, frame(1000))
    assert isinstance(found, Detections)
    assert found.scores.tolist() == scores[:2].tolist(), 'as many as the threshold passes'
    assert found.track_ids is not None
    assert (found.track_ids > 0).sum() == min(tracked, 2)
    few = state.tracked(make, replace(options, max_detections=1), frame(1010))
    assert isinstance(few, Detections)
    assert len(few) == 1
    lower = replace(options, score_threshold=0.05)
    asked = 0.05
    every = state.tracked(make, replace(lower, max_detections=9), frame(1020))
    assert isinstance(every, Detections)
    assert len(every) == 7


def test_the_loop_is_told_of_this_machines_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, ...]] = []
    monkeypatch.setattr(frame_state, 'time', SimpleNamespace(perf_counter=lambda: 77.0))
    state = configured(Budget(latency_ms=30.0))
    assert state.controller is not None
    monkeypatch.setattr(state.controller, 'observe', lambda *given: seen.append(given))
    blocks = tuple(Block(name, {'x': IMAGE}, ('y',), 10, 0) for name in 'ab')
    plan = Plan((Stage(blocks, ('t',)),), 'light', latency_share=0.5)
    for block_ms in ({'a': 3.0, 'b': 2.0, 'policy': 9.0}, {}, {'policy': 9.0}):
        ran: Any = SimpleNamespace(plan=plan, frame=frame(1000), results={}, block_ms=block_ms)
        execution: Any = SimpleNamespace(stage_ms={'total': 20.0})
        state.commit(ran, execution, 10.0)
    assert seen == [(77.0, 5.0, 15.0, 0.5)], 'blocks on another machine say nothing'
    assert state.path == 'light'
    state.commit(
        SimpleNamespace(plan=plan, frame=frame(1000, received_s=9.0), results={}, block_ms={}),  # type: ignore[arg-type]
        execution,
        10.0,
    )
    state.record_published(10.5)
    assert state.outside_ms == pytest.approx(1480)
    ran = SimpleNamespace(plan=plan, frame=frame(0), results={}, block_ms={'a': 4.0})
    state.commit(ran, execution, 10.0)
    assert seen[1] == (77.0, 4.0, pytest.approx(20 - 4 + 1480), 0.5)
    assert state.path == '', 'a frame without a stamp belongs to no video'
    state.record_published(10.25)
    assert state.outside_ms == pytest.approx(1480), 'its arrival is unknown'
    assert state.publishing_s == 0.5
    committed(state, frame(1001), 'a', plan=Plan((), 'reuse'))
    assert state.path == '', 'nothing ran'


def test_accounts_are_shared_by_budget() -> None:
    accounts: dict[float, Spending] = {}
    states = [FrameState(accounts) for _ in range(3)]
    for state, compute in zip(states, (0.5, 0.5, 0.25), strict=True):
        state.configure(Options(), Budget(compute), MODEL)
    assert states[0].spending is states[1].spending is accounts[0.5]
    assert states[2].spending is accounts[0.25]
    own = configured(Budget(0.5))
    assert own.spending.budget == 0.5
    assert own.controller is None
    spending, rates = own.spending, own.rates
    own.configure(Options(), Budget(0.5), MODEL)
    assert (own.spending, own.rates) == (spending, rates), 'equal settings change nothing'
    own.configure(Options(score_threshold=0.5), Budget(0.5, latency_ms=20.0), MODEL)
    assert own.spending is not spending
    assert own.rates is not rates
    assert own.controller is not None


def test_rates_turn_by_turn() -> None:
    rates, weights = TaskRates(), {'a': 1.0, 'b': 0.75, 'c': 0.5, 'd': 0.25, 'e': 0.0}
    found = [''.join(sorted(rates.deferred('edcba', weights))) for _ in range(9)]
    assert found == ['', 'bcde', 'de', 'cde', 'e', 'bcde', 'de', 'cde', 'e']
    assert TaskRates().deferred('ab', {'a': 0.0, 'b': 0.0}) == frozenset()
