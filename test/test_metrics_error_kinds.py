# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of detection errors, and their cost in AP50, equal tidecv's."""

from __future__ import annotations

import numpy as np
import pytest

from mt_perception.evaluation.metrics import average_precision
from mt_perception.evaluation.metrics.error_kinds import (
    KINDS,
    FrameErrors,
    error_costs,
    frame_errors,
)

# What tidecv 1.0.1 returns for random_frames(seed): number and cost of each of KINDS.
TIDE = {
    0: (
        (8, 0.040749091091),
        (19, 0.141454104113),
        (10, 0.032824929470),
        (21, 0.028825657330),
        (21, 0.052479756187),
        (8, 0.071681208149),
    ),
    1: (
        (12, 0.085191632764),
        (27, 0.125616901477),
        (13, 0.012454908617),
        (29, 0.017940978372),
        (25, 0.030726058285),
        (12, 0.077317547500),
    ),
    2: (
        (13, 0.030329219453),
        (25, 0.182509738126),
        (9, 0.017920986564),
        (25, 0.022657417209),
        (27, 0.066061452752),
        (14, 0.073389023701),
    ),
    3: (
        (10, 0.087426574123),
        (13, 0.102729862014),
        (6, 0.030395948092),
        (21, 0.022275797391),
        (27, 0.085527032409),
        (7, 0.046453805135),
    ),
}


def random_frames(seed: int) -> list[tuple[np.ndarray, ...]]:
    """Objects of three classes; detections that are right, displaced, confused or elsewhere."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(12):
        count = int(rng.integers(1, 8))
        corner = rng.uniform(0, 300, (count, 2))
        true_boxes = np.concatenate([corner, corner + rng.uniform(20, 80, (count, 2))], axis=1)
        true_labels = rng.choice(np.array(['a', 'b', 'c'], object), count)
        index = rng.integers(0, count, 3 * count)
        near = true_boxes[index] + rng.normal(0, 8, (3 * count, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
        far = rng.uniform(0, 300, (4, 2))
        labels = np.where(
            rng.random(3 * count) < 0.75,
            true_labels[index],
            rng.choice(np.array(['a', 'b', 'c'], object), 3 * count),
        )
        boxes = np.concatenate([near, np.concatenate([far, far + 40], axis=1)])
        labels = np.concatenate([labels, rng.choice(np.array(['a', 'b', 'c'], object), 4)])
        keep = rng.random(len(boxes)) < 0.6
        frames.append(
            (boxes[keep], rng.random(int(keep.sum())), labels[keep], true_boxes, true_labels)
        )
    return frames


@pytest.mark.parametrize('seed', TIDE)
def test_equals_tidecv(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # tidecv reads precision at recalls of k / 100; COCO and we at numpy's linspace, which moves
    # single points of the curve by rounding.
    monkeypatch.setattr(average_precision, 'RECALLS', np.arange(101) / 100)
    frames = [
        frame_errors(*frame, np.zeros(len(frame[3]), np.bool_)) for frame in random_frames(seed)
    ]
    costs = error_costs(frames)
    assert list(costs) == list(KINDS)
    for kind, (count, cost) in zip(KINDS, TIDE[seed], strict=True):
        assert costs[kind]['count'] == count, kind
        assert costs[kind]['d_ap50'] == pytest.approx(cost, abs=1e-9), kind


def one(box: list[float], label: str, crowd: bool = False) -> FrameErrors:
    """One detection, of class a, beside two objects: a at the left and b at the right."""
    true = np.array([[0, 0, 10, 10], [50, 0, 60, 10]], np.float32)
    return frame_errors(
        np.array([box], np.float32),
        np.array([0.9], np.float32),
        np.array([label], object),
        true,
        np.array(['a', 'b'], object),
        np.array([False, crowd]),
    )


@pytest.mark.parametrize(
    ('box', 'kind', 'missed'),
    [
        ([0, 0, 10, 9], 'right', [False, True]),
        ([0, 0, 10, 3], 'localisation', [False, True]),
        ([50, 0, 60, 9], 'classification', [True, False]),
        ([50, 0, 60, 3], 'both', [True, True]),
        ([20, 20, 30, 30], 'background', [True, True]),
        # At an overlap of exactly a half and a tenth.
        ([0, 0, 10, 5], 'right', [False, True]),
        ([50, 0, 60, 5], 'classification', [True, False]),
        ([0, 0, 10, 1], 'localisation', [False, True]),
        ([50, 0, 60, 1], 'background', [True, True]),
    ],
)
def test_kinds(box: list[float], kind: str, missed: list[bool]) -> None:
    errors = one(box, 'a')
    assert errors.kinds.tolist() == [kind]
    assert errors.missed.tolist() == missed


def test_a_second_detection_is_a_duplicate() -> None:
    box = np.array([[0, 0, 10, 10]], np.float32)
    errors = frame_errors(
        np.repeat(box, 2, axis=0),
        np.array([0.8, 0.9], np.float32),
        np.array(['a', 'a'], object),
        box,
        np.array(['a'], object),
        np.array([False]),
    )
    assert errors.kinds.tolist() == ['right', 'duplicate']


def test_a_detection_in_a_crowd_does_not_count() -> None:
    assert one([50, 0, 60, 3], 'b', crowd=True).kinds.tolist() == []
    assert one([50, 0, 60, 3], 'a', crowd=True).kinds.tolist() == ['background']


def test_nothing_to_measure() -> None:
    assert error_costs([]) == {}
    assert error_costs([one([0, 0, 1, 1], 'a')])['missed'] == {'count': 2, 'd_ap50': 0.0}
    nothing = np.zeros((0, 4)), np.array([], object), np.array([], bool)
    box = np.array([[0, 0, 1, 1.0]]), np.array([0.9]), np.array(['a'], object)
    alone = frame_errors(*box, *nothing)
    assert alone.kinds.tolist() == ['background']
    assert error_costs([alone]) == {}
    half = frame_errors(np.array([[0, 0, 10, 20.0]]), *box[1:], np.array([[0, 0, 10, 10.0]]),
                        np.array(['a'], object), np.array([True]))  # fmt: skip
    assert half.kinds.tolist() == ['background'], 'half of it is in a crowd, and not more'


def test_only_the_best_hundred_detections_count() -> None:
    boxes = np.array([[20, 20, 30, 30.0]] * 101 + [[0, 0, 10, 10]])
    labels, truth = np.array(['a'] * 102, object), np.array([[0, 0, 10, 10.0]])
    scores = np.linspace(0.9, 0.1, 102)
    for order in (slice(None), slice(None, None, -1)):
        errors = frame_errors(boxes[order], scores, labels, truth, labels[:1], np.array([False]))
        assert len(errors.scores) == 100
        assert ('right' in errors.kinds) == (order.step == -1)
