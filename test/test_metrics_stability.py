# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steadiness between frames: which pairs count, and the figures by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.stability import StabilityMetric
from mt_perception.geometry.camera import typical
from mt_perception.reports import Execution
from mt_perception.types import DepthMap, Detections, Frame, Result, Segmentation

LABELS = ('cup', 'door')
STEP_NS = 100_000_000
RAN = Execution((), (), 'full', '', 0, (0, 0), {})


def step(
    metric: StabilityMetric, stamp_ns: int, source: str = 's', grey: int = 90, **outputs: object
) -> dict:
    image = np.full((6, 8, 3), grey, np.uint8)
    result = Result(stamp_ns, '', None, None, None, RAN)
    sample = Sample(Frame(image, stamp_ns), None, str(stamp_ns), source)
    return dict(metric.process(sample, dataclasses.replace(result, **outputs)))


def mask(value: int, changed: int = 0) -> Segmentation:
    ids = np.full((6, 8), value, np.uint8)
    ids.ravel()[:changed] = 1 - value
    return Segmentation(ids, LABELS)


def depth(metres: float) -> DepthMap:
    return DepthMap(np.full((6, 8), metres, np.float32), typical(6, 8))


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int64),
        LABELS,
    )


def test_figures_by_hand() -> None:
    metric = StabilityMetric()
    first = boxes((0, 0, 4, 4, 0.9, 0), (5, 0, 8, 4, 0.8, 1), (0, 5, 2, 6, 0.1, 0))
    # The first box moved by one of four columns, the second changed its class, a third is new.
    second = boxes((1, 0, 5, 4, 0.9, 0), (5, 0, 8, 4, 0.8, 0), (0, 4, 1, 6, 0.7, 0))
    assert step(metric, 0, segmentation=mask(0), depth=depth(2), detections=first) == {}
    figures = step(
        metric, STEP_NS, segmentation=mask(0, changed=12), depth=depth(3), detections=second
    )
    assert figures == pytest.approx(
        {
            'image_change': 0,
            'mask_flips': 12 / 48,
            'depth_change': math.log(1.5),
            'depth_scale_change': math.log(1.5),
            'boxes_kept': 4 / 5,
            'box_overlap': (12 / 20 + 1) / 2,
            'box_class_switches': 1 / 2,
        }
    )
    assert metric.evaluate()['pairs'] == 1
    assert metric.evaluate()['mask_flips'] == pytest.approx(0.25)


@pytest.mark.parametrize('unknown', [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize('first', [False, True])
def test_unknown_depth_does_not_count(unknown: float, first: bool) -> None:
    """In either frame: depth that is not positive or not finite is no depth."""
    metric = StabilityMetric()
    maps = [np.full((6, 8), metres, np.float32) for metres in (2.0, 3.0)]
    maps[0 if first else 1].ravel()[:30] = unknown
    step(metric, 0, depth=DepthMap(maps[0], typical(6, 8)))
    figures = step(metric, STEP_NS, depth=DepthMap(maps[1], typical(6, 8)))
    assert figures['depth_change'] == pytest.approx(math.log(1.5))
    assert figures['depth_scale_change'] == pytest.approx(math.log(1.5))
    nothing = DepthMap(np.full((6, 8), unknown, np.float32), typical(6, 8))
    assert list(step(metric, 2 * STEP_NS, depth=nothing)) == ['image_change']


@pytest.mark.parametrize(
    'second',
    [
        {'stamp_ns': 3 * STEP_NS},
        {'stamp_ns': 0},
        {'stamp_ns': STEP_NS, 'source': 'another'},
        {'stamp_ns': STEP_NS, 'grey': 200},
    ],
    ids=['far apart', 'same stamp', 'other source', 'other scene'],
)
def test_pairs_that_do_not_compare(second: dict) -> None:
    metric = StabilityMetric()
    step(metric, 0, segmentation=mask(0))
    assert step(metric, **second, segmentation=mask(1)) == {}
    assert metric.evaluate() == {}


def test_tasks_that_were_not_served_have_no_figure() -> None:
    metric = StabilityMetric()
    step(metric, 0, depth=depth(2))
    assert list(step(metric, STEP_NS, segmentation=mask(1))) == ['image_change']
    assert list(step(metric, 2 * STEP_NS, segmentation=mask(1))) == ['image_change', 'mask_flips']
    figures = metric.resample(np.array([[1, 1, 5]]))
    assert figures['mask_flips'][0] == 0
    assert 'depth_change' not in figures


def test_limits_are_part_of_what_counts() -> None:
    """A quarter of a second, a score of 0.3, an overlap of a half, and another image size."""
    metric = StabilityMetric()
    score = float(np.nextafter(np.float32(0.3), np.float32(1)))
    step(metric, 0, detections=boxes((0, 0, 4, 4, score, 0), (5, 0, 8, 4, 0.29, 1)))
    second = boxes((0, 0, 4, 2, score, 0), (5, 0, 8, 4, 0.9, 1))
    figures = step(metric, 250_000_000, detections=second)
    assert figures['boxes_kept'] == pytest.approx(2 / 3)
    assert figures['box_overlap'] == 0.5
    nothing = boxes((0, 0, 4, 4, 0.1, 0))
    assert list(step(metric, 300_000_000, detections=boxes())) == ['image_change', 'boxes_kept']
    assert list(step(metric, 350_000_000, detections=nothing)) == ['image_change']
    sample = Sample(Frame(np.full((6, 9, 3), 90, np.uint8), 400_000_000), None, 'k', 's')
    assert metric.process(sample, Result(400_000_000, '', None, None, None, RAN)) == {}
    metric.reset()
    assert step(metric, 450_000_000) == metric.evaluate() == {}


@pytest.mark.parametrize(('grey', 'compares'), [(120, True), (121, False)])
def test_another_scene_differs_by_an_eighth(grey: int, compares: bool) -> None:
    metric = StabilityMetric()
    step(metric, 0)
    assert bool(step(metric, STEP_NS, grey=grey)) == compares
    if compares:
        assert metric.evaluate()['image_change'] == pytest.approx(30 / 255)


def test_pixels_without_a_class_do_not_flip() -> None:
    metric = StabilityMetric()
    for stamp_ns, classes in ((0, [0, 0, 255, 1]), (STEP_NS, [0, 1, 0, 255])):
        ids = np.repeat(np.array(classes, np.uint8), 12).reshape(6, 8)
        figures = step(metric, stamp_ns, segmentation=Segmentation(ids, LABELS))
    assert figures['mask_flips'] == 0.5
    unknown = Segmentation(np.full((6, 8), 255, np.uint8), LABELS)
    step(metric, 2 * STEP_NS, segmentation=unknown)
    assert list(step(metric, 3 * STEP_NS, segmentation=mask(0))) == ['image_change']
