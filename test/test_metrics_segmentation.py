# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Intersection over union against values worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.metrics.confidence import platt_scaling
from mt_perception.evaluation.metrics.segmentation import (
    NO_CLASS,
    SegmentationMetric,
    confusion,
    restrict,
    summarise,
)
from mt_perception.evaluation.records import FrameRecord, frame_line, parse_frame
from mt_perception.reports import Execution
from mt_perception.types import Frame, Result, Segmentation

LABELS = ('floor', 'wall', 'cup')
FRAME = Frame(np.zeros((1, 9, 3), np.uint8))
NO_RESULT = Result(
    0, '', None, None, None, Execution(('segmentation',), (), 'full', '', 0, (0, 0), {})
)


def image(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def record(metrics: dict) -> FrameRecord:
    return parse_frame(
        frame_line(FrameRecord('k', 's', 0, (1, 1), None, None, {'segmentation': metrics}))
    )


def test_by_hand() -> None:
    truth = image([0, 0, 0, 1], [1, 255, 255, 0])
    given = image([0, 0, 1, 1], [255, 0, 1, 0])
    metric = SegmentationMetric()
    frame = metric.observe(given, truth, LABELS)
    assert frame['confusion'] == {
        'floor': {'floor': 3, 'wall': 1},
        'wall': {'wall': 1, NO_CLASS: 1},
    }
    # floor: 3 right, 4 there, 3 given; wall: 1 right, 2 there, 2 given; no cup anywhere.
    figures = metric.evaluate()
    assert figures['classes']['floor'] == {'iou': 3 / 4, 'pixels': 4}
    assert figures['classes']['wall'] == {'iou': 1 / 3, 'pixels': 2}
    assert 'cup' not in figures['classes']
    assert figures['miou'] == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert figures['pixel_accuracy'] == pytest.approx(4 / 6)
    assert figures['frames'] == 1


def test_a_class_given_but_never_there_counts_as_zero() -> None:
    counts = confusion(image([2, 0]), image([0, 0]), LABELS)
    assert summarise(counts)['classes']['cup'] == {'iou': 0.0, 'pixels': 0}
    assert summarise(counts)['miou'] == pytest.approx(0.25)


def test_frames_are_summed_before_the_ratio_is_taken() -> None:
    metric = SegmentationMetric()
    metric.observe(image([0, 0, 0, 0]), image([0, 0, 0, 0]), LABELS)
    metric.observe(image([1]), image([0]), LABELS)
    assert metric.evaluate()['classes']['floor']['iou'] == pytest.approx(4 / 5)


def test_nothing_labelled_gives_nothing() -> None:
    metric = SegmentationMetric()
    assert metric.observe(image([0, 1]), image([255, 255]), LABELS) == {}
    assert metric.evaluate() == {}


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match='cannot be compared'):
        confusion(image([0, 1]), image([0]), LABELS)


def test_only_the_shared_classes() -> None:
    counts = {'floor': {'floor': 5, 'cup': 3}, 'cup': {'cup': 2, 'floor': 1}, 'wall': {'cup': 7}}
    shared = restrict(counts, ['cup', 'wall'])
    assert shared == {'cup': {'cup': 2, NO_CLASS: 1}, 'wall': {'cup': 7}}


label_images = arrays(np.uint8, (4, 6), elements=st.sampled_from([0, 1, 2, 255]))


@given(frames=st.lists(st.tuples(label_images, label_images), min_size=1, max_size=5))
def test_read_back_and_resampled_frames_give_the_same_figures(
    frames: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    now, later, tripled = SegmentationMetric(), SegmentationMetric(), SegmentationMetric()
    for found, truth in frames:
        line = now.observe(found, truth, LABELS)
        later.add(record(dict(line)))
        for _ in range(3):
            tripled.observe(found, truth, LABELS)
    assert json.dumps(now.evaluate()) == json.dumps(later.evaluate())
    if not now.evaluate():
        return
    again = now.resample(np.full((1, len(frames)), 3))
    for key in now.headline:
        assert again[key][0] == pytest.approx(tripled.evaluate()[key], abs=1e-12)
        assert again[key][0] == pytest.approx(now.evaluate()[key], abs=1e-12)


def with_confidence(given: np.ndarray, confidence: np.ndarray) -> Result:
    return replace(NO_RESULT, segmentation=Segmentation(given, LABELS, confidence))


def test_reliability_by_hand_and_from_records() -> None:
    """Of four sure pixels one is wrong; of four unsure ones two are right; one has no truth."""
    truth = image([0, 0, 0, 0, 1, 1, 1, 1, 255])
    given = image([0, 0, 0, 1, 1, 1, 0, 0, 0])
    codes = image([242] * 4 + [128] * 4 + [255])
    metric = SegmentationMetric()
    sample = Sample(FRAME, GroundTruth(segmentation=truth, segmentation_labels=LABELS), 'k', 's')
    frame = metric.process(sample, with_confidence(given, codes))
    figures = metric.evaluate()
    assert [row['pixels'] for row in figures['reliability']] == [4, 4]
    assert [row['accuracy'] for row in figures['reliability']] == [0.5, 0.75]
    assert figures['ece'] == pytest.approx((4 * (128 / 255 - 0.5) + 4 * (242 / 255 - 0.75)) / 8)
    again = SegmentationMetric()
    again.add(record(dict(frame)))
    assert again.evaluate() == figures


@pytest.mark.parametrize(
    ('codes', 'shares'),
    [
        ((250, 254), (0.02, 0.5)),
        ((252, 255), (0.001, 0.02)),
        ((20, 255), (0.05, 0.1)),
        ((0, 255), (0.001, 0.999)),
    ],
)
def test_platt_scaling_of_an_overconfident_network_converges(
    codes: tuple[int, int], shares: tuple[float, float]
) -> None:
    """Two confidences determine the two numbers exactly; a whole Newton step diverges here."""
    counts = np.zeros((256, 2), np.int64)
    for code, share in zip(codes, shares, strict=True):
        counts[code] = (10_000, round(10_000 * share))
    slope, offset = platt_scaling(counts)
    confidence = np.clip(np.array(codes), 0.5, 254.5) / 255
    odds = slope * np.log(confidence / (1 - confidence)) + offset
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), shares, rtol=1e-6)


def test_platt_scaling_finds_the_odds_that_made_the_data() -> None:
    codes = np.arange(1, 255)
    odds = 0.7 * np.log(codes / (255 - codes)) - 0.4
    counts = np.zeros((256, 2), np.int64)
    counts[1:255, 0] = 1_000_000
    counts[1:255, 1] = np.rint(1e6 / (1 + np.exp(-odds)))
    assert platt_scaling(counts) == pytest.approx((0.7, -0.4), abs=1e-4)


def test_nothing_to_fit_leaves_the_confidence_as_it_is() -> None:
    counts = np.zeros((256, 2), np.int64)
    assert platt_scaling(counts) == (1.0, 0.0)
    counts[200] = 10, 10
    assert platt_scaling(counts) == (1.0, 0.0)


def test_a_confidence_without_information_becomes_the_accuracy() -> None:
    counts = np.zeros((256, 2), np.int64)
    counts[50], counts[200] = (10, 5), (10, 1)
    assert platt_scaling(counts) == (0.0, pytest.approx(np.log(6 / 14)))
