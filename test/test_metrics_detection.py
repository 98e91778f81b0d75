# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision equals pycocotools', on random cases and on a real annotation file."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.evaluation.datasets.truth import TrueObjects
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.matching import box_overlaps
from mt_perception.evaluation.records import FrameRecord
from mt_perception.types import Detections

LABELS = ('cup', 'door', 'person')
KEYS = ('ap', 'ap50', 'ap75', 'ap_small', 'ap_medium', 'ap_large')


def random_boxes(rng: np.random.Generator, n: int, size: int = 200) -> np.ndarray:
    corner = rng.integers(0, size, (n, 2))
    extent = np.exp(rng.uniform(1, 5.3, (n, 2))).astype(int)
    return np.concatenate([corner, corner + extent], axis=1).astype(np.float32)


def random_frame(
    rng: np.random.Generator, most: int = 12, labels: tuple[str, ...] = LABELS
) -> tuple[Detections, TrueObjects]:
    """Objects, some of them crowds; detections near them, elsewhere, and with equal scores."""
    n = int(rng.integers(0, most))
    boxes = random_boxes(rng, n)
    crowd = rng.random(n) < 0.15
    class_ids = rng.integers(0, len(labels), n)
    sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    areas = np.where(rng.random(n) < 0.5, sizes, sizes * rng.uniform(0.3, 1, n))
    near = boxes[rng.integers(0, n, 2 * n)] if n else boxes
    near = near + rng.integers(-9, 10, near.shape)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    found = np.concatenate([near, random_boxes(rng, int(rng.integers(0, most)))])
    scores = np.round(rng.random(len(found)), 1 if rng.random() < 0.5 else 7).astype(np.float32)
    order = np.argsort(-scores, kind='stable')
    return (
        Detections(
            found[order].astype(np.float32),
            scores[order],
            rng.integers(0, len(labels), len(found)),
            labels,
        ),
        TrueObjects(boxes, class_ids, crowd, areas, frozenset(range(len(labels))), labels),
    )


def oracle(frames: list[tuple[Detections, TrueObjects]], labels: tuple[str, ...]) -> list[float]:
    """The twelve figures of pycocotools."""
    coco_api = pytest.importorskip('pycocotools.coco')
    coco_eval = pytest.importorskip('pycocotools.cocoeval')
    images, annotations, results = [], [], []
    for image, (found, truth) in enumerate(frames, 1):
        images.append({'id': image})
        for box, cls, crowd, area in zip(
            truth.boxes.tolist(), truth.class_ids, truth.crowd, truth.areas, strict=True
        ):
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image,
                    'category_id': int(cls) + 1,
                    'bbox': [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    'area': float(area),
                    'iscrowd': int(crowd),
                }
            )
        for box, cls, score in zip(
            found.boxes.tolist(), found.class_ids, found.scores.tolist(), strict=True
        ):
            results.append(
                {
                    'image_id': image,
                    'category_id': int(cls) + 1,
                    'bbox': [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    'score': score,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_api.COCO()
        truth.dataset = {
            'images': images,
            'annotations': annotations,
            'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(labels)],
        }
        truth.createIndex()
        if not results or not annotations:
            return [-1.0] * 12
        judge = coco_eval.COCOeval(truth, truth.loadRes(results), 'bbox')
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) for value in judge.stats]


def measure(frames: list[tuple[Detections, TrueObjects]]) -> list[float]:
    metric = DetectionMetric()
    for found, truth in frames:
        metric.observe(found, truth)
    figures = metric.evaluate()
    return [-1.0 if figures[key] is None else figures[key] for key in KEYS]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 12))
def test_equals_pycocotools_on_random_cases(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    frames = [random_frame(rng) for _ in range(images)]
    expected = oracle(frames, LABELS)
    if expected[0] < 0:
        return  # Nothing to detect, or nothing detected: the oracle does not run.
    assert measure(frames) == pytest.approx(expected[:6], abs=1e-9)


def test_equals_pycocotools_with_more_than_a_hundred_detections_of_a_class() -> None:
    rng = np.random.default_rng(1)
    frames = [random_frame(rng, most=150, labels=('cup',)) for _ in range(3)]
    assert max(len(found) for found, _ in frames) > 200
    assert measure(frames) == pytest.approx(oracle(frames, ('cup',))[:6], abs=1e-9)


def test_equals_pycocotools_on_coco(data: Path) -> None:
    """The real boxes with their crowds and areas; detections are the boxes, disturbed."""
    content = json.loads((data / 'coco' / 'instances.json').read_text())
    labels = tuple(category['name'] for category in content['categories'])
    index = {category['id']: i for i, category in enumerate(content['categories'])}
    rng = np.random.default_rng(7)
    frames = []
    for image in [image['id'] for image in content['images'][:150]]:
        rows = [row for row in content['annotations'] if row['image_id'] == image]
        boxes = np.array([row['bbox'] for row in rows], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        class_ids = np.array([index[row['category_id']] for row in rows], np.int64)
        truth = TrueObjects(
            boxes,
            class_ids,
            np.array([row['iscrowd'] for row in rows], np.bool_),
            np.array([row['area'] for row in rows], np.float64),
            frozenset(range(len(labels))),
            labels,
        )
        found = np.repeat(boxes, 2, axis=0)
        found = found + rng.normal(0, 0.1, found.shape) * np.tile(found[:, 2:] - found[:, :2], 2)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        wrong = rng.random(len(found)) < 0.2
        guessed = np.where(wrong, rng.integers(0, 80, len(found)), np.repeat(class_ids, 2))
        scores = rng.random(len(found)).astype(np.float32)
        order = np.argsort(-scores, kind='stable')
        frames.append(
            (
                Detections(found[order].astype(np.float32), scores[order], guessed[order], labels),
                truth,
            )
        )
    expected = oracle(frames, labels)
    assert measure(frames) == pytest.approx(expected[:6], abs=1e-9)
    assert 0.1 < expected[0] < 0.9


def simple(boxes: list[list[float]], ids: list[int], exhaustive: set[int]) -> TrueObjects:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return TrueObjects(
        array,
        np.array(ids, np.int64),
        np.zeros(len(ids), np.bool_),
        np.prod(array[:, 2:] - array[:, :2], axis=1).astype(np.float64),
        frozenset(exhaustive),
        LABELS,
    )


def found(boxes: list[list[float]], ids: list[int], scores: list[float]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(ids, np.int64),
        LABELS,
    )


def test_detections_of_classes_nobody_annotated_do_not_count() -> None:
    box = [10.0, 10, 60, 60]
    metric = DetectionMetric()
    metric.observe(
        found([box, box, [0, 0, 9, 9]], [0, 2, 1], [0.9, 0.8, 0.95]), simple([box], [2], {2})
    )
    figures = metric.evaluate()
    assert figures['ap'] == pytest.approx(1)
    assert list(figures['classes']) == ['person']
    assert figures['detections'] == 1


def test_a_false_alarm_in_an_image_without_objects_costs_precision() -> None:
    box = [10.0, 10, 60, 60]
    metric = DetectionMetric()
    metric.observe(found([box], [2], [0.5]), simple([box], [2], {2}))
    metric.observe(found([box], [2], [0.9]), simple([], [], {2}))
    assert metric.evaluate()['ap50'] == pytest.approx(0.5)


def test_nothing_found_is_zero_and_nothing_to_find_is_none() -> None:
    metric = DetectionMetric()
    assert metric.evaluate() == {}
    frame = metric.observe(None, simple([[10, 10, 60, 60]], [1], {1}))
    assert frame == {'objects': 1, 'found': 0, 'ap': 0.0}
    assert metric.evaluate()['ap'] == 0
    assert metric.evaluate()['ap_large'] is None
    metric.reset()
    assert metric.observe(found([], [], []), simple([], [], {0, 1, 2}))['ap'] is None
    assert metric.evaluate()['ap'] is None


def test_resampling_equals_measuring_the_frames_again() -> None:
    rng = np.random.default_rng(3)
    metric = DetectionMetric()
    frames = []
    for _ in range(9):
        each, truth = random_frame(rng)
        # Different scores: which of two equal ones comes first would depend on the resample.
        scores = np.sort(rng.random(len(each)).astype(np.float32))[::-1]
        frames.append((dataclasses.replace(each, scores=scores), truth))
        metric.observe(*frames[-1])
    drawn = rng.integers(0, len(frames), (5, len(frames)))
    weights = np.array([np.bincount(row, minlength=len(frames)) for row in drawn])
    figures = metric.resample(weights)
    for i, row in enumerate(drawn):
        again = measure([frames[k] for k in row])
        assert figures['ap'][i] == pytest.approx(again[0], abs=1e-9)
        assert figures['ap50'][i] == pytest.approx(again[1], abs=1e-9)


def test_precision_and_recall_by_threshold() -> None:
    box, other = [10.0, 10, 60, 60], [100.0, 100, 160, 160]
    metric = DetectionMetric()
    metric.observe(found([box, other], [2, 0], [0.8, 0.3]), simple([box], [2], {0, 2}))
    metric.observe(found([box], [2], [0.5]), simple([box, other], [2, 2], {0, 2}))
    points = {p['score']: (p['precision'], p['recall']) for p in
              metric.evaluate()['operating_points']}  # fmt: skip
    assert sorted(points) == pytest.approx(np.arange(1, 20) / 20)
    assert points[0.25] == pytest.approx((2 / 3, 2 / 3))
    assert points[0.5] == pytest.approx((1, 2 / 3))
    assert points[0.75] == pytest.approx((1, 1 / 3))
    assert points[0.95] == (None, 0)


def test_calibration_error() -> None:
    """Of ten detections at 0.9 five are right; one at 0.35 is right, one at 0.2 is too low."""
    metric = DetectionMetric()
    for right in (True,) * 5 + (False,) * 5:
        box = [0.0, 0.0, 10.0, 10.0]
        there = simple([box] if right else [[50.0, 50.0, 60.0, 60.0]], [0], {0})
        metric.observe(found([box], [0], [0.9]), there)
    metric.observe(
        found([[0, 0, 10, 10], [30, 30, 40, 40]], [0, 0], [0.35, 0.2]),
        simple([[0, 0, 10, 10]], [0], {0}),
    )
    result = metric.evaluate()
    low, high = result['reliability']
    assert low == {'detections': 1, 'score': pytest.approx(0.35), 'precision': 1.0}
    assert high == {'detections': 10, 'score': pytest.approx(0.9), 'precision': 0.5}
    assert result['ece'] == pytest.approx((1 * 0.65 + 10 * 0.4) / 11)


def test_no_detection_has_no_calibration_error() -> None:
    metric = DetectionMetric()
    metric.observe(found([], [], []), simple([[0, 0, 10, 10]], [0], {0}))
    assert metric.evaluate()['ece'] is None


def test_overlap_of_touching_empty_and_crowd_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [5, 0, 5, 10]], np.float32)
    overlaps = box_overlaps(boxes, boxes)
    assert overlaps[0, 0] == 1
    assert overlaps[0, 1] == 0
    assert np.isfinite(overlaps).all()
    inside = box_overlaps(boxes[:1], np.array([[0, 0, 100, 100]]), np.array([True]))
    assert inside[0, 0] == 1


def test_what_a_summary_counts() -> None:
    box, other = [10.0, 10, 60, 60], [100.0, 100, 160, 160]
    metric = DetectionMetric()
    assert metric.frames == 0
    metric.add(FrameRecord('k', 's', 0, (1, 1), None, None, {}))
    frame = metric.observe(found([box, other], [2, 0], [0.8, 0.3]), simple([box], [2], {0, 2}))
    assert frame == {'objects': 1, 'found': 1, 'ap': pytest.approx(1)}
    metric.observe(found([box], [1], [0.5]), simple([box, other], [2, 2], {0, 2}))
    figures = metric.evaluate()
    assert metric.frames == 3
    assert (figures['frames'], figures['objects'], figures['detections']) == (2, 3, 2)
    assert set(figures['classes']) == {'person'}
    # One of three objects is found: recall 0, 0.01 … 0.33 at a precision of 1.
    assert figures['classes']['person']['ap50'] == pytest.approx(34 / 101)
    assert figures['ap75'] == figures['ap_medium'] == figures['classes']['person']['ap']
    assert figures['ap_small'] is None
    metric.reset()
    assert metric.frames == 0
    assert not metric.matches
