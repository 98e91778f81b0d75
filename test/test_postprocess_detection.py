# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detections: thresholds, suppression against a plain reference, and numbers that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mt_perception.errors import TaskError
from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.detection import MAX_CANDIDATES, detections
from mt_perception.image.letterbox import Letterbox, fit
from mt_perception.types import Detections

LABELS = ('cat', 'dog', 'cup')
SAME = Letterbox((240, 320), (240, 320), (256, 320))
EVERYTHING = Options(score_threshold=0)


def run(
    boxes: object,
    scores: object,
    class_ids: object,
    options: Options = EVERYTHING,
    letterbox: Letterbox = SAME,
) -> Detections:
    outputs = {
        'boxes': np.asarray(boxes, np.float32).reshape(1, -1, 4),
        'scores': np.asarray(scores, np.float32).reshape(1, -1),
        'class_ids': np.asarray(class_ids, np.int64).reshape(1, -1),
    }
    return detections(outputs, letterbox, LABELS, options)


def test_best_first_in_image_pixels() -> None:
    box = fit((480, 640), 320, 32)
    found = run([[10, 20, 30, 40], [100, 20, 130, 60]], [0.5, 0.9], [0, 2], letterbox=box)
    np.testing.assert_array_equal(found.boxes, [[200, 40, 260, 120], [20, 40, 60, 80]])
    np.testing.assert_allclose(found.scores, [0.9, 0.5])
    assert [found.labels[i] for i in found.class_ids] == ['cup', 'cat']
    kinds = (found.boxes.dtype, found.scores.dtype, found.class_ids.dtype)
    assert kinds == (np.float32, np.float32, np.int64)


def test_overlaps_are_suppressed_inside_a_class_only() -> None:
    boxes = [[0, 0, 100, 100], [5, 5, 105, 105], [2, 2, 102, 102]]
    found = run(boxes, [0.9, 0.8, 0.7], [0, 0, 1])
    assert found.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.7])


def test_threshold_classes_and_count() -> None:
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(6)]
    scores, classes = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 1, 2, 0, 1, 2]
    assert len(run(boxes, scores, classes)) == 6
    assert len(run(boxes, scores, classes, Options(score_threshold=0.3))) == 4
    only = run(boxes, scores, classes, Options(score_threshold=0, classes=('dog', 'cup')))
    assert set(only.class_ids) == {1, 2}
    few = run(boxes, scores, classes, Options(score_threshold=0, max_detections=2))
    np.testing.assert_allclose(few.scores, [0.6, 0.5])


def test_boxes_are_clipped_and_empty_ones_dropped() -> None:
    boxes = [
        [-50, -60, 20, 30],
        [300, 200, 900, 900],
        [400, 10, 500, 20],  # Beside the image.
        [10, 241, 20, 250],  # In the padding.
        [30, 30, 30, 40],  # No width.
        [50, 50, 40, 60],  # Negative width.
    ]
    found = run(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0] * 6)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 20, 30], [300, 200, 320, 240]])


def test_what_is_not_finite_is_dropped() -> None:
    good = [0, 0, 10, 10]
    boxes = [good, [np.nan, 0, 10, 10], [0, 0, np.inf, 10], [-np.inf, 0, 9, 9], good, good]
    found = run(boxes, [0.5, 0.9, 0.9, 0.9, np.nan, np.inf], [0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(found.boxes, [good])
    assert found.class_ids.tolist() == [0]


def test_no_candidates_are_no_detections() -> None:
    found = run([], [], [])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert len(run([[0, 0, 9, 9]], [0], [0])) == 0


def test_nothing_finite_is_a_failure() -> None:
    with pytest.raises(TaskError, match='no finite score'):
        run([[0, 0, 9, 9]] * 2, [np.nan, np.nan], [0, 0])


@pytest.mark.parametrize('class_id', [-1, 3, 2**40])
def test_a_class_without_a_label_is_a_failure(class_id: int) -> None:
    with pytest.raises(TaskError, match='the manifest has 3 labels'):
        run([[0, 0, 9, 9]], [0.5], [class_id])


def test_class_ids_are_integers() -> None:
    """A fraction would be cut off: 1.9 is not class 1."""
    outputs = {
        'boxes': np.array([[[0, 0, 9, 9]]], np.float32),
        'scores': np.array([[0.5]], np.float32),
        'class_ids': np.array([[1.9]], np.float32),
    }
    with pytest.raises(TaskError, match='expected integer class_ids, found float32'):
        detections(outputs, fit((64, 64), 64, 32), ('a', 'b', 'c'), Options())


@pytest.mark.parametrize(
    ('boxes', 'scores', 'class_ids'),
    [((1, 4, 4), (1, 5), (1, 5)), ((1, 5, 5), (1, 5), (1, 5)), ((5, 4), (5,), (5,))],
)
def test_shapes_that_do_not_fit(
    boxes: tuple[int, ...], scores: tuple[int, ...], class_ids: tuple[int, ...]
) -> None:
    outputs = {
        'boxes': np.zeros(boxes, np.float32),
        'scores': np.zeros(scores, np.float32),
        'class_ids': np.zeros(class_ids, np.int64),
    }
    with pytest.raises(TaskError, match='expected boxes'):
        detections(outputs, SAME, LABELS, EVERYTHING)


def test_only_the_best_candidates_are_looked_at() -> None:
    rng = np.random.default_rng(0)
    n = 5 * MAX_CANDIDATES
    corners = rng.uniform(0, 200, (n, 2))
    boxes = np.hstack([corners, corners + 4])
    found = run(boxes, rng.random(n), rng.integers(0, 3, n), Options(0, 0, 1.0, n))
    assert len(found) == MAX_CANDIDATES
    assert (np.diff(found.scores) <= 0).all()


def reference_nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float) -> list:
    """Greedy suppression, written as it is defined."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind='stable'):
        for j in kept:
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            shared = np.prod(np.maximum(high - low, 0))
            union = sum(np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, j)) - shared
            if classes[i] == classes[j] and shared / union > iou:
                break
        else:
            kept.append(int(i))
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([0.3, 0.45, 0.65]))
def test_suppression_is_the_textbook_one(seed: int, n: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 150, (n, 2)).astype(np.float32)
    boxes = np.hstack([corners, corners + rng.uniform(20, 80, (n, 2)).astype(np.float32)])
    scores, classes = rng.uniform(0.01, 1, n).astype(np.float32), rng.integers(0, 3, n)
    found = run(boxes, scores, classes, Options(0, 0, iou, 100))
    kept = reference_nms(boxes, scores, classes, iou)
    np.testing.assert_allclose(found.boxes, boxes[kept])
    np.testing.assert_array_equal(found.class_ids, classes[kept])


@given(
    hnp.arrays(np.float32, (7, 4), elements=st.floats(width=32)),
    hnp.arrays(np.float32, 7, elements=st.floats(width=32)),
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_whatever_the_network_says_boxes_are_boxes(
    boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int]
) -> None:
    if not np.isfinite(scores).any():
        return
    found = run(boxes, scores, [0, 1, 2, 0, 1, 2, 0], letterbox=fit(size, 416, 32))
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes[:, 2:] <= [size[1], size[0]]).all()
    assert ((found.scores > 0) & (found.scores <= 1)).all()


def test_equal_scores_are_always_in_the_same_order() -> None:
    boxes = [[10 * i, 0, 10 * i + 8, 8] for i in range(30)]
    found = run(boxes, [0.5] * 30, [0] * 30)
    np.testing.assert_array_equal(found.boxes, boxes)


def test_boxes_of_two_classes_never_meet() -> None:
    """Not even by a pixel: the strictest suppression leaves both."""
    boxes = [[0, 0, 100, 100], [0, 0, 100, 100], [0, 0, 100, 99]]
    found = run(boxes, [0.9, 0.8, 0.7], [0, 1, 1], Options(score_threshold=0, nms_iou=0))
    assert found.class_ids.tolist() == [0, 1]
