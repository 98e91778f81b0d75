# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Records and summaries read back as they were written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mt_perception.errors import SourceError
from mt_perception.evaluation.records import (
    DetectionRecord,
    FrameRecord,
    Summary,
    TruthRecord,
    frame_line,
    parse_frame,
    read_frames,
    read_summary,
    summary_text,
    to_json,
    without_timing,
)


def record(**changes: object) -> FrameRecord:
    base = FrameRecord(
        key='a/<b>',
        source='bag',
        stamp_ns=2**62 + 1,
        image_size=(480, 640),
        detections=DetectionRecord(np.float32([[0.1, 2, 3, 4]]), np.float32([0.3]), ('person',)),
        truth=TruthRecord(
            np.float32([[1, 2, 3, 4.7]]),
            ('',),
            (False,),
            np.array([5.25]),
            ('chair', 'person'),
            True,
            False,
            '',
        ),
        metrics={'depth': {'absrel': 0.1 + 0.2}},
        tasks=('detection',),
        latency_ms={'total': 12.5},
        block_ms={'total': 3.5},
    )
    return replace(base, **changes)


def test_a_record_reads_back_as_it_was_written() -> None:
    line = frame_line(record())
    assert '\n' not in line
    again = parse_frame(line)
    assert frame_line(again) == line
    assert again.stamp_ns == 2**62 + 1
    assert again.metrics['depth']['absrel'] == 0.1 + 0.2
    assert again.detections is not None
    assert again.detections.boxes.dtype == np.float32


@given(arrays(np.float32, (3, 4), elements=st.floats(width=32, allow_nan=False)))
def test_float32_survives_exactly_and_short(boxes: np.ndarray) -> None:
    finite = np.where(np.isfinite(boxes), boxes, np.float32(0))
    detections = DetectionRecord(finite, np.float32([1, 0.5, 0]), ('a', 'b', 'c'))
    again = parse_frame(frame_line(record(detections=detections))).detections
    assert again is not None
    assert again.boxes.tobytes() == finite.tobytes()
    assert to_json(np.float32(0.1)) == 0.1


def test_no_detections_is_not_detection_not_served() -> None:
    none = DetectionRecord(np.empty((0, 4), np.float32), np.empty(0, np.float32), ())
    found = parse_frame(frame_line(record(detections=none))).detections
    assert found is not None
    assert found.boxes.shape == (0, 4)
    assert parse_frame(frame_line(record(detections=None))).detections is None


def test_only_timing_may_differ() -> None:
    slow = frame_line(record(latency_ms={'total': 99.0}))
    fast = frame_line(record())
    assert slow != fast
    assert without_timing(slow) == without_timing(fast)
    other = frame_line(record(macs=7))
    assert without_timing(other) != without_timing(fast)


def test_what_is_not_finite_is_null() -> None:
    line = frame_line(record(metrics={'m': {'x': float('nan'), 'y': np.float32('inf')}}))
    assert json.loads(line)['metrics']['m'] == {'x': None, 'y': None}


def test_unwritable_values_are_refused() -> None:
    with pytest.raises(TypeError, match='values of type object'):
        to_json(object())


@pytest.mark.parametrize('text', ['', '{', '[]', '{"format":1}', '{"format":2}', 'null'])
def test_foreign_lines_are_refused(text: str, tmp_path) -> None:
    with pytest.raises(SourceError):
        parse_frame(text)
    path = tmp_path / 'frames.jsonl'
    path.write_text(frame_line(record()) + '\n' + text + '\n')
    with pytest.raises(SourceError, match='line 2'):
        list(read_frames(path))


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('macs', 'x'),
        ('path', []),
        ('extra', None),
        ('failures', []),
        ('metrics', None),
        ('metrics', {'depth': 3}),
        ('timing', {'latency_ms': 3}),
        ('detections', {'boxes': [], 'scores': [0.5], 'labels': ['a']}),
        ('detections', {'boxes': [[0, 0, 1, 1]], 'scores': None, 'labels': ['a']}),
        ('detections', {'boxes': [[0, 0, 1, 1]], 'scores': [0.5], 'labels': []}),
        ('metrics', {'depth': {'affine': {'abs_rel': 0.1, 'rmse': 'x', 'delta1': 1}}}),
        ('metrics', {'depth': {'affine': {'abs_rel': 0.1}}}),
        ('metrics', {'segmentation': {'confusion': {'wall': 3}}}),
        ('metrics', {'segmentation': {'confidence': {'256': [1, 1]}}}),
        ('metrics', {'stability': {'mask_flips': []}}),
        ('extra', {'offload.payload_bytes': None}),
        ('timing', {'latency_ms': {'total': True}}),
        ('timing', {}),
        ('image_size', [480]),
    ],
)
def test_a_damaged_record_is_refused(name: str, value: object) -> None:
    """Metrics that read it would fail, with a traceback."""
    fields = json.loads(frame_line(record()))
    assert parse_frame(json.dumps(fields)).key == record().key
    with pytest.raises(SourceError, match='not a frame record'):
        parse_frame(json.dumps({**fields, name: value}))


@pytest.mark.parametrize('name', ['labels', 'crowd', 'areas', 'track_ids'])
def test_ground_truth_of_another_length_is_refused(name: str) -> None:
    fields = json.loads(frame_line(record()))
    fields['truth'][name] = []
    with pytest.raises(SourceError, match=r'boxes.* differ|1 boxes have 0 track_ids'):
        parse_frame(json.dumps(fields))


def test_summary_reads_back(tmp_path) -> None:
    summary = Summary(
        'bag', {'name': 'm'}, {}, {'size': 320}, {'depth': {'absrel': 0.1}}, {'frames': 2}, {},
        {}, {}, {'fps': 3.0},
    )  # fmt: skip
    path = tmp_path / 'summary.json'
    path.write_text(summary_text(summary))
    assert summary_text(read_summary(path)) == summary_text(summary)
    path.write_text('{"format": 1, "sources": 2}')
    with pytest.raises(SourceError, match='cannot read'):
        read_summary(path)
    path.write_text(json.dumps({**json.loads(summary_text(summary)), 'counts': 7}))
    with pytest.raises(SourceError, match='counts is a int'):
        read_summary(path)
    path.write_bytes(b'\xff')
    with pytest.raises(SourceError, match=r'summary\.json'):
        list(read_frames(path))
