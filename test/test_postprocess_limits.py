# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Post-processing at its limits, with values worked out in numpy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from mt_perception.errors import TaskError
from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.depth import network_depth
from mt_perception.execution.postprocess.detection import MAX_CANDIDATES, detections
from mt_perception.execution.postprocess.segmentation import confidence, segmentation
from mt_perception.execution.postprocess.warp import warped
from mt_perception.geometry.camera import typical
from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.image.letterbox import Letterbox
from mt_perception.image.optical_flow import OpticalFlow
from mt_perception.model.manifest import ConfidenceSpec
from mt_perception.reports import ScaleReport
from mt_perception.types import DepthMap, Detections, Intrinsics, Segmentation

SAME = Letterbox((4, 6), (4, 6), (4, 6))
CAMERA = Intrinsics(fx=500, fy=300, cx=3, cy=2, width=6, height=4)


def found(scores: Any, boxes: Any = None, class_ids: Any = None, **options: Any) -> Detections:
    """Detections of boxes beside each other, in an image of 40x1000."""
    count = len(scores)
    places = [[20 * i, 0, 20 * i + 10, 10] for i in range(count)] if boxes is None else boxes
    outputs = {
        'boxes': np.array([places], np.float32).reshape(1, -1, 4),
        'scores': np.array([scores], np.float32).reshape(1, -1),
        'class_ids': np.array([class_ids or [0] * count], np.int64).reshape(1, -1),
    }
    box = Letterbox((40, 1000), (40, 1000), (64, 1000))
    return detections(outputs, box, ('a', 'b', 'c'), Options(**options))


def test_detections_at_the_threshold() -> None:
    assert MAX_CANDIDATES == 1000
    score = float(np.float32(0.5))
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    assert found([0.9, score, below], score_threshold=0.5).scores.tolist() == pytest.approx(
        [0.9, 0.5]
    )
    assert found([1.5, 0.0, -0.1, 1e-9], score_threshold=0.0).scores.tolist() == pytest.approx(
        [1.0, 1e-9]
    )
    assert len(found([0.9] * 5, max_detections=1)) == 1
    classes = found([0.5, 0.6, 0.7, 0.8], class_ids=[2, 1, 0, 1], classes=('b', 'c'))
    assert classes.class_ids.tolist() == [1, 1, 2]
    assert classes.boxes[:, 0].tolist() == [60, 20, 0]
    # An overlap of exactly the limit stays, and boxes of other classes never overlap.
    pair = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert len(found([0.9, 0.8], pair, nms_iou=0.51)) == 2
    assert len(found([0.9, 0.8], pair, nms_iou=0.49)) == 1
    assert len(found([0.9, 0.8], pair, [0, 2], nms_iou=0.0)) == 2
    thin = [[5, 5, 5.001, 6], [5, 5, 5, 6], [5, 5, 6, 5], [990, 30, 2000, 90]]
    assert found([0.9] * 4, thin).boxes[-1].tolist() == [990, 30, 1000, 40]
    assert len(found([0.9] * 4, thin)) == 2


@pytest.mark.parametrize('class_id', [-1, 3])
def test_classes_have_labels(class_id: int) -> None:
    with pytest.raises(TaskError, match='the manifest has 3 labels'):
        found([0.9, 0.9], class_ids=[0, class_id])
    assert found([0.9, 0.9], class_ids=[0, 2]).class_ids.tolist() == [0, 2]


def test_a_calibrated_confidence_by_the_formula() -> None:
    """Softmax of three classes, 24 pixels from even chances to certainty."""
    logits = np.zeros((1, 3, 4, 6), np.float32)
    logits[0, 1] = np.linspace(0, 9, 24).reshape(4, 6)
    logits[0, 2] = -logits[0, 1] / 3
    chances = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=0)
    codes = np.rint(255 * chances.max(axis=0))
    for slope, offset in ((1.0, 0.0), (0.7, 0.3), (2.0, -1.0)):
        share = np.clip(codes, 0.5, 254.5) / 255
        odds = slope * np.log(share / (1 - share)) + offset
        expected = np.rint(255 / (1 + np.exp(-odds)))
        made = confidence(logits, SAME, ConfidenceSpec('t', slope, offset))
        np.testing.assert_allclose(made, expected, atol=1)
        assert np.mean(made == expected) > 0.9
    for shape in ((3, 4, 6), (2, 3, 4, 6), (1, 0, 4, 6)):
        with pytest.raises(TaskError, match=r'expected logits \(1, C, h, w\)'):
            confidence(np.zeros(shape, np.float32), SAME, ConfidenceSpec('t'))


def test_labels_at_their_limit() -> None:
    ids = np.array([[[0, 1, 2, 255, 0, 0]] * 4], np.int64)
    assert segmentation(ids, SAME, ('a', 'b', 'c')).class_ids[0].tolist() == [0, 1, 2, 255, 0, 0]
    with pytest.raises(TaskError, match=r'class_ids below 2, .* found 2'):
        segmentation(ids, SAME, ('a', 'b'))


def test_depth_of_each_output() -> None:
    """Through a lens of other focal lengths along both axes, in a letterbox of another shape."""
    box = Letterbox((4, 6), (4, 3), (4, 4))
    values = np.array([[[1, 2, 3, 9], [0, -1, 4, 9], [5, 5.1, np.inf, 9], [1, np.nan, 1, 9]]])
    metres = network_depth({'depth': values}, box, CAMERA)
    focal = network_depth({'depth_per_focal': values}, box, CAMERA)
    np.testing.assert_allclose(focal.values, values[0] * 250, equal_nan=True)
    np.testing.assert_allclose(metres.inverse(2), [[1, 1 / 3], [0.2, 0]])
    assert (metres.assumed, metres.relative, metres.camera) == (False, False, CAMERA)
    there = metres.depth_map(5.0)
    known = np.where((values[0, :, :3] > 0) & (values[0, :, :3] <= 5), values[0, :, :3], np.nan)
    expected = cv2.resize(known.astype(np.float32), (6, 4), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(there.depth, expected, equal_nan=True)
    assert there.scale == ScaleReport('network')
    assert (there.relative, there.assumed_intrinsics) == (False, False)
    unknown = network_depth({'depth': values}, box, None)
    assert (unknown.assumed, unknown.camera) == (True, typical(4, 6))
    assert unknown.depth_map(5.0).scale.source == 'camera unknown'
    report = ScaleReport('ground', 2.0)
    assert unknown.depth_map(5.0, report).scale == report
    scaled = metres.corrected(DepthFit(2.0, 0.0))
    np.testing.assert_allclose(scaled.values, values[0] * 2, equal_nan=True)
    known_values = values[0, 0]
    shifted = metres.corrected(DepthFit(2.0, 0.25)).values[0]
    np.testing.assert_allclose(shifted, 1 / (1 / (2 * known_values) + 0.25), rtol=1e-6)


def test_relative_depth_by_the_formula() -> None:
    """Below a thousandth of the largest inverse depth all is equally far; the median is 1."""
    inverse = np.array([[[8, 4, 2, 1, 0.5, 0.0081], [0.008, 0.0079, 0, -3, np.nan, -np.inf],
                         [4, 4, 4, 4, 4, 4], [1, 1, 1, 2, 2, 2]]])  # fmt: skip
    made = network_depth({'inverse_depth': inverse}, SAME, CAMERA).depth_map(0.1)
    finite = np.where(np.isfinite(inverse[0]), inverse[0], 0)
    depth = 1 / np.maximum(finite, 0.008)
    unit = float(np.median(depth))
    np.testing.assert_allclose(made.depth, depth / unit, rtol=1e-5)
    assert made.relative
    assert made.scale == ScaleReport('relative', pytest.approx(1 / unit))
    fitted = network_depth({'inverse_depth': inverse}, SAME, CAMERA).corrected(DepthFit(2.0, 0.0))
    assert not fitted.relative
    np.testing.assert_allclose(fitted.values[2], 0.5)


def test_results_follow_the_flow() -> None:
    """By a pixel to the right; boxes of less than a pixel have left the image."""
    still = np.zeros((4, 6), np.uint8)
    motion = OpticalFlow(still, still)
    motion.backward = np.tile(np.float32([-1, 0]), (4, 6, 1))
    boxes = np.float32([[0, 0, 2, 3], [4, 0, 6, 3], [4.5, 0, 6, 3], [0, 1, 4, 2], [0, 1, 4, 1.9]])
    given = Detections(boxes, np.linspace(0.9, 0.5, 5).astype(np.float32), np.arange(5),
                       tuple('abcde'))  # fmt: skip
    moved = warped(given, motion, (4, 6))
    assert isinstance(moved, Detections)
    assert moved.class_ids.tolist() == [0, 1, 3]
    np.testing.assert_allclose(moved.boxes, [[1, 0, 3, 3], [5, 0, 6, 3], [1, 1, 5, 2]])
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    shifted = values[:, [0, 0, 1, 2, 3, 4]]
    masks = warped(Segmentation(values, ('a',), values + 9), motion, (4, 6))
    assert isinstance(masks, Segmentation)
    np.testing.assert_array_equal(masks.class_ids, shifted)
    np.testing.assert_array_equal(masks.confidence, shifted + 9)
    plain = warped(Segmentation(values, ('a',)), motion, (4, 6))
    assert isinstance(plain, Segmentation)
    assert plain.confidence is None
    depth = warped(DepthMap(values.astype(np.float32), CAMERA), motion, (4, 6))
    assert isinstance(depth, DepthMap)
    np.testing.assert_array_equal(depth.depth, shifted)
