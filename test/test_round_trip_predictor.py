# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The collector gathers a frame's outputs by stamp; in lock-step no frame is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from ros_graph import PATIENCE_S, RosGraph, patch
from tiny_model import COLOURS, SEGMENTS

from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.perception import PerceptionNode
from mt_perception.nodes.result_collector import ResultCollector
from mt_perception.nodes.round_trip_predictor import SynchronousPlayer
from mt_perception.pipeline import Pipeline
from mt_perception.types import DEPTH, DETECTION, Frame, Intrinsics

CAMERA = Intrinsics(fx=100.0, fy=100.0, cx=63.5, cy=47.5, width=128, height=96)
RELIABLE = {'qos_overrides./image.subscription.reliability': 'reliable'}


def connected(
    graph: RosGraph, tiny: Path, **recorded: Any
) -> tuple[SynchronousPlayer, ResultCollector]:
    graph.add(PerceptionNode, model=str(tiny), **RELIABLE)
    node = graph.add(lambda **kwargs: Node('replay', **kwargs))
    collector = ResultCollector(node, labels=COLOURS, **recorded)
    player = SynchronousPlayer(graph.executor, FramePublisher(node), collector)
    assert player.connect(PATIENCE_S)
    return player, collector


def test_what_comes_back_is_what_the_pipeline_says(graph: RosGraph, tiny: Path) -> None:
    player, collector = connected(graph, tiny)
    pipeline = Pipeline.load(tiny)
    for i, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255)) * 10, start=1):
        frame = Frame(patch(colour), i, 'optical', CAMERA)
        record = player.step(frame, PATIENCE_S)
        result = pipeline.run(frame)
        assert record is not None
        assert (record.stamp_ns, record.frame_id) == (i, 'optical')
        assert record.detections is not None
        assert np.allclose(record.detections.boxes, result.detections.boxes, atol=1e-3)
        assert np.array_equal(record.detections.scores, result.detections.scores)
        assert np.array_equal(record.detections.class_ids, result.detections.class_ids)
        assert record.depth is not None
        assert record.depth.intrinsics == CAMERA
        assert np.array_equal(record.depth.depth, result.depth.depth, equal_nan=True)
        assert record.segmentation is not None
        assert record.segmentation.labels == SEGMENTS
        assert np.array_equal(record.segmentation.class_ids, result.segmentation.class_ids)
        assert record.stats['path'] == 'full'
        assert record.complete_ns >= min(record.received_ns.values())
    assert not collector.complete


def test_only_what_is_recorded_runs(graph: RosGraph, tiny: Path) -> None:
    player, _ = connected(graph, tiny, tasks=(DETECTION, DEPTH))
    record = player.step(Frame(patch((255, 0, 0)), 1, 'optical'), PATIENCE_S)
    assert record is not None
    assert record.segmentation is None
    assert record.stats['tasks'] == 'detection depth'
    assert record.depth is not None
    assert record.depth.assumed_intrinsics, 'no camera was given'


def test_a_frame_without_an_answer_is_none_after_its_deadline(graph: RosGraph) -> None:
    node = graph.add(lambda **kwargs: Node('replay', **kwargs))
    player = SynchronousPlayer(graph.executor, FramePublisher(node), ResultCollector(node))
    assert not player.connect(0.1)
    assert player.step(Frame(patch((255, 0, 0)), 1), 0.1) is None


def test_what_nobody_takes_is_forgotten(graph: RosGraph, tiny: Path) -> None:
    player, collector = connected(graph, tiny, capacity=3)
    taken = collector.take
    collector.take = lambda stamp_ns: None  # type: ignore[method-assign]
    for stamp_ns in range(1, 8):
        player.step(Frame(patch((255, 0, 0)), stamp_ns), PATIENCE_S)
    assert collector.complete == [5, 6, 7]
    assert taken(4) is None
    assert taken(6) is not None
    assert collector.complete == [5, 7]
