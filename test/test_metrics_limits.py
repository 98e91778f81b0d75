# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Edges of the metrics: empty runs, boundaries of bins and ranges, failed tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.metrics import average_precision, confidence, matching
from mt_perception.evaluation.metrics.average_precision import ClassMatches, operating_points
from mt_perception.evaluation.metrics.cost import latencies
from mt_perception.evaluation.metrics.delta_mtl import delta_mtl
from mt_perception.evaluation.metrics.depth import DepthMetric, measure
from mt_perception.evaluation.metrics.frame_means import resampled_means
from mt_perception.evaluation.metrics.matching import bit, match
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.evaluation.metrics.stability import StabilityMetric
from mt_perception.evaluation.metrics.tracking import tracked_frame
from mt_perception.evaluation.records import DetectionRecord, FrameRecord, TruthRecord
from mt_perception.geometry.camera import typical
from mt_perception.reports import Execution
from mt_perception.types import DepthMap, Frame, Result, Segmentation

RAN = Execution(('depth', 'segmentation'), (), 'full', '', 0, (0, 0), {})
RESULT = Result(1, '', None, None, None, RAN)
FRAME = Frame(np.zeros((3, 4, 3), np.uint8))


def class_matches(scores: list[float], right: list[int], ignored: list[int]) -> ClassMatches:
    """Detections of one frame with three objects; the bit 0 is an overlap of 0.5 at any size."""
    found = np.array([i in right for i in range(len(scores))], np.uint64)
    vain = np.array([i in ignored for i in range(len(scores))], np.uint64)
    frame = np.zeros(len(scores), np.int64)
    return ClassMatches(frame, np.array(scores), found, vain, np.array([[3, 3, 0, 0]]))


def test_ranges_of_scores() -> None:
    """Ten of them, from a score of 0.3; a score of 1 is in the last one."""
    one = class_matches([1.0, 0.95, 0.9, 0.31, 0.3, 0.299], [0, 2, 4, 5], [1])
    two = class_matches([0.35], [], [])
    assert average_precision.reliability([one, two]) == [
        {'detections': 3, 'score': pytest.approx(0.32), 'precision': pytest.approx(1 / 3)},
        {'detections': 2, 'score': pytest.approx(0.95), 'precision': 1.0},
    ]
    assert average_precision.reliability([]) == []
    assert average_precision.calibration_error([]) is None
    points = {point['score']: point for point in operating_points([one, two])}
    assert points[0.95] == {'score': 0.95, 'precision': 1.0, 'recall': pytest.approx(1 / 6)}
    assert points[0.9] == {'score': 0.9, 'precision': 1.0, 'recall': pytest.approx(2 / 6)}
    assert points[0.3]['precision'] == pytest.approx(3 / 5)
    assert points[0.05]['recall'] == pytest.approx(4 / 6)
    nothing = replace(two, objects=np.zeros((1, 4), np.int64))
    last = operating_points([nothing])[-1]
    assert last == {'score': 0.95, 'precision': None, 'recall': None}
    assert operating_points([]) == []


def test_ranges_of_confidence() -> None:
    """Ten equal ones over the 256 codes; 255 is in the last one."""
    counts = np.stack([np.arange(256) + 1, np.arange(256) // 2], axis=1)
    rows = confidence.reliability(counts)
    codes = [[c for c in range(256) if min(9, c * 10 // 255) == i] for i in range(10)]
    pixels = [sum(c + 1 for c in each) for each in codes]
    assert [row['pixels'] for row in rows] == pixels
    assert [row['accuracy'] for row in rows] == pytest.approx(
        [sum(c // 2 for c in each) / n for each, n in zip(codes, pixels, strict=True)]
    )
    assert [row['confidence'] for row in rows] == pytest.approx(
        [sum((c + 1) * c / 255 for c in each) / n for each, n in zip(codes, pixels, strict=True)]
    )
    assert confidence.reliability(np.zeros((256, 2), np.int64)) == []
    kept = confidence.counts_from_json(confidence.counts_to_json(counts))
    np.testing.assert_array_equal(kept, counts)
    one = np.zeros((256, 2), np.int64)
    one[50], one[200] = (10, 0), (10, 1)
    assert confidence.platt_scaling(one)[0] > 0, 'one pixel is right'


def test_all_percentiles_of_a_stage() -> None:
    values = [float(v) for v in range(101)]
    assert latencies([{'a': v} for v in values] + [{'b': 7.0}]) == {
        'a': {'frames': 101, 'mean': 50.0, 'p50': 50.0, 'p90': 90.0, 'p95': 95.0, 'p99': 99.0,
              'max': 100.0},
        'b': {'frames': 1, **dict.fromkeys(('mean', 'p50', 'p90', 'p95', 'p99', 'max'), 7.0)},
    }  # fmt: skip


def test_a_gain_needs_both_metrics() -> None:
    ours = {'detection': {'ap': None}, 'segmentation': {'miou': 0.3}, 'depth': {'metric': None}}
    theirs = {'detection': {'ap': 0.5}, 'segmentation': None, 'depth': {'metric': {'abs_rel': 1}}}
    assert delta_mtl(ours, theirs, 'b') is None
    assert delta_mtl(theirs, ours, 'b') is None
    found = delta_mtl({'depth': {'metric': {'abs_rel': 0.5}}}, theirs, 'b')
    assert found is not None
    assert (found.value, found.baseline, found.tasks[0].baseline) == (0.5, 'b', 1.0)


def test_means_of_resamples() -> None:
    values = {'a': [1.0, None, 4.0], 'b': [None, None, None], 'c': [None, 3.0, None]}
    found = resampled_means(values, np.array([[1, 5, 2], [0, 1, 0]]))
    assert set(found) == {'a', 'c'}
    np.testing.assert_allclose(found['a'], [3.0, np.nan])
    np.testing.assert_allclose(found['c'], [3.0, 3.0])


def test_depth_over_frames() -> None:
    assert DepthMetric().evaluate() == {}
    assert DepthMetric().max_range_m == 20
    metric = DepthMetric()
    truth = np.array([[1.0] * 12 + [20.0] * 4 + [20.1] * 4], np.float32)
    found = truth * np.float32([[1.5] * 8 + [0.5] * 4 + [1.25] * 8])
    found[0, -1] = found[0, 0] = np.nan
    metric.observe(found, truth)
    metric.observe(truth, truth)
    sample = Sample(FRAME, None, 'k', 's')
    assert metric.process(sample, RESULT) == {}
    figures = metric.evaluate()
    assert (figures['frames'], figures['pixels'], figures['max_range_m']) == (2, 31, 20.0)
    assert figures['coverage'] == pytest.approx((15 / 16 + 1) / 2)
    near, far = figures['ranges']
    assert (near['from_m'], near['to_m'], near['pixels']) == (1.0, 1.5, 23)
    assert near['abs_rel'] == pytest.approx(11 * 0.5 / 23)
    assert near['bias_m'] == pytest.approx((7 * 0.5 - 4 * 0.5) / 23)
    assert near['rmse'] == pytest.approx((11 * 0.25 / 23) ** 0.5)
    assert (far['from_m'], far['to_m'], far['pixels']) == (20.0, 40.0, 8)
    assert far['rmse'] == pytest.approx((4 * 25 / 8) ** 0.5)
    assert figures['metric']['abs_rel'] == pytest.approx((11 * 0.5 + 4 * 0.25) / 15 / 2)
    assert metric.resample(np.array([[0, 0, 1]]))['metric.abs_rel'][0] != 0
    metric.reset()
    assert metric.evaluate() == {}


def test_ranges_of_relative_depth_are_those_of_the_fit() -> None:
    truth = np.linspace(1, 9, 40, dtype=np.float32).reshape(5, 8)
    figures = measure(1 / (7 / truth + 3), truth, relative=True)
    assert max(row[2] for row in figures['ranges']) < 0.01
    assert measure(truth, truth)['ranges'] == [
        [2, 3.0, 0.0, 0.0, 0.0], [3, 2.0, 0.0, 0.0, 0.0], [4, 5.0, 0.0, 0.0, 0.0],
        [5, 5.0, 0.0, 0.0, 0.0], [6, 10.0, 0.0, 0.0, 0.0], [7, 10.0, 0.0, 0.0, 0.0],
        [8, 5.0, 0.0, 0.0, 0.0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('area', 'sizes'),
    [(1023, [1, 1, 0, 0]), (1024, [1, 1, 1, 0]), (1025, [1, 0, 1, 0]), (9215, [1, 0, 1, 0]),
     (9216, [1, 0, 1, 1]), (9217, [1, 0, 0, 1])],
)  # fmt: skip
def test_sizes_of_objects_and_detections(area: int, sizes: list[int]) -> None:
    """Both limits are part of a range; a detection of another size counts at none of them."""
    box = np.array([[0.0, 0, 1, area]])
    found = match(box, np.array([0.5]), box, np.array([area]), np.array([False]))
    assert found.objects.tolist() == sizes
    assert [int(bit(found.found, size, 9)[0]) for size in range(4)] == sizes
    alone = match(box, np.array([0.5]), np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool))
    assert [int(~bit(alone.ignored, size, 0)[0]) % 2 for size in range(4)] == sizes
    assert not alone.found.any()


def test_names_and_limits_of_matching() -> None:
    assert matching.MAX_DETECTIONS == 100
    assert list(matching.AREA_RANGES) == ['all', 'small', 'medium', 'large']
    np.testing.assert_allclose(matching.IOU_THRESHOLDS, np.arange(50, 100, 5) / 100)
    assert [round(100 * t) for t in average_precision.THRESHOLDS] == [5 * k for k in range(1, 20)]


def test_a_failed_segmentation_has_no_right_pixel() -> None:
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    sample = Sample(
        FRAME, GroundTruth(segmentation=truth, segmentation_labels=('a', 'b')), 'k', 's'
    )
    metric = SegmentationMetric()
    values = metric.process(sample, RESULT)
    assert (values['miou'], values['pixel_accuracy']) == (0.0, 0.0)
    assert values['confusion'] == {'a': {'': 2}, 'b': {'': 1}}
    for other in (
        (Sample(FRAME, None, 'k', 's'), RESULT),
        (Sample(FRAME, GroundTruth(), 'k', 's'), RESULT),
        (sample, replace(RESULT, execution=replace(RAN, tasks=('depth',)))),
    ):
        assert metric.process(*other) == {}
    sure = Segmentation(truth.copy(), ('a', 'b'), np.full((1, 4), 200, np.uint8))
    assert metric.process(sample, replace(RESULT, segmentation=sure))['confidence'] == {
        '200': [3, 3],
    }  # fmt: skip
    figures = metric.evaluate()
    assert (figures['frames'], figures['pixel_accuracy']) == (2, 0.5)
    assert metric.resample(np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]))['miou'].tolist() == [0, 1]
    unlabelled = GroundTruth(segmentation=np.full((1, 4), 255, np.uint8),
                             segmentation_labels=('a', 'b'))  # fmt: skip
    blank = Sample(FRAME, unlabelled, 'k', 's')
    assert metric.process(blank, replace(RESULT, segmentation=sure)) == {}
    metric.reset()
    assert not metric.confidence.any()


@pytest.mark.parametrize(('inside', 'counts'), [(9, True), (10, False)])
def test_half_of_a_detection_in_an_ignored_region(inside: int, counts: bool) -> None:
    boxes = np.array([[0, 0, 10, 20], [40, 0, 60, 20]], np.float32)
    truth = TruthRecord(boxes, ('person',) * 2, (False, True), np.ones(2), ('person',),
                        segmentation=False, depth=False, pseudo='', track_ids=(3, 4))  # fmt: skip
    box = np.float32([[20 + inside, 0, 40 + inside, 20]])
    found = DetectionRecord(box, np.float32([0.5]), ('person',), (8,))
    frame = tracked_frame(FrameRecord('1', 's', 1, (90, 90), found, truth, {}))
    assert frame is not None
    assert (frame.ids.tolist() == [8]) == counts
    assert frame.true_ids.tolist() == [3]
    assert frame.overlaps.shape == (1, int(counts))


def test_near_depth_counts_in_the_change_of_depth() -> None:
    """From a nanometre on, in either frame; the figures say in which direction they improve."""
    metric = StabilityMetric()
    for stamp_ns, metres in ((0, 0.5), (100_000_000, 0.25), (200_000_000, 1e-9)):
        depth = DepthMap(np.full((3, 4), metres, np.float32), typical(3, 4))
        sample = Sample(replace(FRAME, stamp_ns=stamp_ns), None, 'k', 's')
        values = metric.process(sample, replace(RESULT, stamp_ns=stamp_ns, depth=depth))
        if stamp_ns == 100_000_000:
            assert values['depth_change'] == pytest.approx(np.log(2))
    assert values['depth_change'] == pytest.approx(np.log(0.25e9))
    assert metric.headline == {
        'mask_flips': False, 'depth_change': False, 'depth_scale_change': False,
        'boxes_kept': True, 'box_overlap': True, 'box_class_switches': False,
    }  # fmt: skip
    assert SegmentationMetric.headline == {'miou': True, 'pixel_accuracy': True}
    assert set(DepthMetric.headline) == {
        f'{kind}.{figure}' for kind in ('metric', 'median', 'affine')
        for figure in ('abs_rel', 'rmse', 'delta1')
    }  # fmt: skip
    assert [name for name, higher in DepthMetric.headline.items() if higher] == [
        'metric.delta1', 'median.delta1', 'affine.delta1',
    ]  # fmt: skip
