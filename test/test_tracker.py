# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tracker: identities survive occlusion, lost frames and a clock that jumps back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.tracking.assignment import assign, box_iou
from mt_perception.tracking.kalman_filter import new_states
from mt_perception.tracking.tracker import NO_TRACK, Tracker, TrackerOptions
from mt_perception.types import Detections

SECOND = 10**9
PERIOD_NS = SECOND // 10


def found(*boxes: tuple[float, ...], scores: float | list[float] = 0.9, kind: int = 0):
    """Detections of boxes (centre x, centre y, width, height)."""
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    centre, half = rows[:, :2], rows[:, 2:] / 2
    return Detections(
        np.concatenate([centre - half, centre + half], axis=1),
        np.full(len(rows), scores, np.float32),
        np.full(len(rows), kind, np.int64),
        ('person', 'dog'),
    )


def walk(frame: int, speed: float = 20.0) -> tuple[float, float, float, float]:
    """A person who walks to the right, pixels in a second."""
    return 100 + speed * frame / 10, 200, 40, 100


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_pairs_have_the_largest_sum(n: int, m: int, digits: int, seed: int) -> None:
    """Against SciPy, ties among them."""
    optimize = pytest.importorskip('scipy.optimize', reason='SciPy is the oracle')
    random = np.random.default_rng(seed)
    similarity, minimum = random.random((n, m)).round(digits), random.random()
    rows, columns = assign(similarity, minimum)
    worth = np.where(similarity >= minimum, similarity, 0)
    best = worth[optimize.linear_sum_assignment(-worth)].sum()
    assert worth[rows, columns].sum() == pytest.approx(best)
    assert (similarity[rows, columns] >= minimum).all()
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)


def test_overlaps() -> None:
    boxes = found((10, 10, 20, 20), (20, 10, 20, 20), (100, 100, 10, 10)).boxes
    np.testing.assert_allclose(
        box_iou(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]], atol=1e-6
    )
    assert box_iou(boxes[:0], boxes).shape == (0, 3)


def test_a_constant_velocity_is_learnt() -> None:
    states = new_states(found(walk(0)).boxes)
    for frame in range(1, 20):
        states = states.predicted(0.1).updated(found(walk(frame)).boxes)
    np.testing.assert_allclose(states.mean[0, :, 1], [20, 0, 0, 0], atol=0.5)
    np.testing.assert_allclose(states.predicted(1.0).boxes, found(walk(29)).boxes, atol=1)
    assert (np.linalg.eigvalsh(states.covariance[0]) > 0).all()
    # Without a measurement it becomes less certain.
    wider = states.predicted(1.0).covariance[..., 0, 0]
    assert (wider > states.covariance[..., 0, 0]).all()


def test_two_people_who_cross_keep_their_identities() -> None:
    tracker, ids = Tracker(), []
    for frame in range(40):
        left, right = 100 + 6 * frame, 340 - 6 * frame
        # They walk in different depths, and the detector swaps their order.
        boxes = [(left, 200, 40, 100), (right, 215, 50, 130)]
        order = [0, 1] if frame % 2 else [1, 0]
        given_ids = tracker.update(found(*(boxes[i] for i in order)), (frame + 1) * PERIOD_NS)
        ids.append(tuple(given_ids[np.argsort(order)].tolist()))
    assert set(ids) == {ids[0]}
    assert ids[0][0] != ids[0][1]


def test_an_occlusion_and_a_lost_frame() -> None:
    tracker = Tracker()
    for frame in range(10):
        (first,) = tracker.update(found(walk(frame)), (frame + 1) * PERIOD_NS)
    for frame in range(10, 17):
        assert not len(tracker.update(found(), (frame + 1) * PERIOD_NS))
    (again,) = tracker.update(found(walk(17)), 18 * PERIOD_NS)
    assert again == first
    # Longer than max_age_ms: somebody else.
    (other,) = tracker.update(found(walk(30)), 31 * PERIOD_NS)
    assert other != first


def test_an_uncertain_detection_continues_a_track_and_starts_none() -> None:
    tracker = Tracker(TrackerOptions(min_score=0.5))
    (first,) = tracker.update(found(walk(0)), PERIOD_NS)
    both = tracker.update(found(walk(1), (400, 100, 40, 100), scores=0.2), 2 * PERIOD_NS)
    assert both.tolist() == [first, NO_TRACK]
    (again,) = tracker.update(found(walk(2)), 3 * PERIOD_NS)
    assert again == first


def test_another_class_is_another_object() -> None:
    tracker = Tracker()
    (person,) = tracker.update(found(walk(0)), PERIOD_NS)
    (dog,) = tracker.update(found(walk(0), kind=1), 2 * PERIOD_NS)
    assert dog != person


def test_a_clock_that_jumps_back_starts_anew_without_using_an_identity_twice() -> None:
    tracker = Tracker()
    (first,) = tracker.update(found(walk(0)), 50 * PERIOD_NS)
    (second,) = tracker.update(found(walk(0)), PERIOD_NS)
    assert second > first
    (third,) = tracker.update(found(walk(1)), 2 * PERIOD_NS)
    assert third == second


@given(st.lists(st.lists(st.tuples(*[st.floats(-50, 500)] * 2), max_size=6), max_size=12))
def test_identities_are_unique_within_a_frame(frames: list[list[tuple[float, float]]]) -> None:
    tracker = Tracker()
    for number, centres in enumerate(frames, 1):
        ids = tracker.update(found(*((x, y, 30, 60) for x, y in centres)), number * PERIOD_NS)
        assert len(set(ids.tolist())) == len(centres)
        assert NO_TRACK not in ids.tolist()
