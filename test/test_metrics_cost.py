# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What results cost, and one figure for a gain over a baseline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.cost import CostMetric, latencies
from mt_perception.evaluation.metrics.delta_mtl import delta_mtl
from mt_perception.evaluation.records import FrameRecord
from mt_perception.reports import Execution
from mt_perception.types import Frame, Result


def record(macs: int, path: str, total: float) -> FrameRecord:
    return FrameRecord(
        *('k', 's', 0, (1, 1), None, None, {}),
        macs=macs,
        path=path,
        blocks=('trunk',),
        failures={'depth': 'no camera'} if path == 'light' else {},
        latency_ms={'total': total},
    )


def test_cost_over_frames() -> None:
    metric = CostMetric()
    assert metric.evaluate() == {}
    for each in (record(10, 'full', 4), record(30, 'full', 8), record(5, 'light', 90)):
        metric.add(each)
    assert metric.evaluate() == {
        'frames': 3,
        'macs': 15.0,
        'macs_max': 30,
        'paths': {'full': 2, 'light': 1},
        'blocks': {'trunk': 3},
        'failures': {'depth': 1},
    }
    figures = metric.resample(np.array([[1, 1, 1], [0, 0, 3], [2, 1, 0]]))
    assert figures['macs'].tolist() == pytest.approx([15, 5, 50 / 3])
    assert figures['latency_ms'].tolist() == [8, 90, 4]


def test_latency_percentiles_are_over_the_frames_that_ran_the_stage() -> None:
    stages = latencies([{'total': 2.0, 'depth': 1.0}, {'total': 4.0}])
    assert stages['total']['frames'] == 2
    assert stages['total']['p50'] == 3
    assert stages['depth']['max'] == 1


def test_delta_mtl_by_hand() -> None:
    ours = {
        'detection': {'ap': 0.33},
        'segmentation': {'miou': 0.4},
        'depth': {'metric': {'abs_rel': 0.18}, 'affine': {'abs_rel': 0.1}},
    }
    three = {
        'detection': {'ap': 0.30},
        'segmentation': {'miou': 0.5},
        'depth': {'metric': {'abs_rel': 0.20}},
    }
    found = delta_mtl(ours, three, 'three nets')
    assert found is not None
    assert found.value == pytest.approx((0.1 - 0.2 + 0.1) / 3)
    assert [t.metric for t in found.tasks] == ['ap', 'miou', 'metric.abs_rel']


def test_delta_mtl_takes_what_both_have() -> None:
    ours = {'depth': {'metric': {'abs_rel': 0.2}, 'affine': {'abs_rel': 0.1}}}
    relative = {'depth': {'affine': {'abs_rel': 0.2}}, 'detection': {'ap': 0.3}}
    found = delta_mtl(ours, relative, 'relative')
    assert found is not None
    assert [(t.metric, t.change) for t in found.tasks] == [('affine.abs_rel', 0.5)]
    assert delta_mtl({'detection': {'ap': 0.3}}, {'detection': {'ap': 0.0}}, 'zero') is None
    assert delta_mtl({}, relative, 'relative') is None


def test_a_result_costs_what_its_record_says() -> None:
    run = Execution((), ('trunk',), 'light', '', 5, (0, 0), {'total': 7.0})
    result = Result(1, '', None, None, None, run, failures={'depth': 'x'})
    sample = Sample(Frame(np.zeros((2, 2, 3), np.uint8)), None, 'k', 's')
    metric, later = CostMetric(), CostMetric()
    assert metric.process(sample, result) == {}
    later.add(record(5, 'light', 7.0))
    assert metric.evaluate() == later.evaluate()
    assert metric.resample(np.ones((1, 1)))['latency_ms'] == 7
    metric.reset()
    assert metric.evaluate() == metric.resample(np.ones((1, 0))) == {}


def test_payloads_are_those_of_offloaded_frames_and_unknown_times_count_nowhere() -> None:
    metric = CostMetric()
    for size in (100, 300, None):
        given = record(1, 'full', 6.0 if size else np.nan)
        metric.add(replace(given, extra={} if size is None else {'offload.payload_bytes': size}))
    assert metric.evaluate()['payload_bytes'] == 200
    assert metric.resample(np.array([[1, 1, 8]]))['latency_ms'] == 6
