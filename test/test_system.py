# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The whole system: real nodes in processes of their own, real images, real DDS between them."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_graph import RosGraph, node_process, patch

from mt_perception.geometry.camera import typical
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.result_collector import CollectedFrame, ResultCollector
from mt_perception.nodes.round_trip_predictor import SynchronousPlayer
from mt_perception.sources import open_source
from mt_perception.types import Frame

START_S = 30.0
RELIABLE = ('-p', 'qos_overrides./image.subscription.reliability:=reliable')


class Robot:
    """What is on the other side of the perception process: a camera, and a listener."""

    def __init__(self, graph: RosGraph, labels: Sequence[str] = (), **recorded: Any) -> None:
        self.node: Node = graph.add(lambda **kwargs: Node('robot', **kwargs))
        self.graph = graph
        self.collector = ResultCollector(self.node, labels=labels, **recorded)
        self.player = SynchronousPlayer(graph.executor, FramePublisher(self.node), self.collector)

    def see(self, frame: Frame) -> CollectedFrame:
        record = self.player.step(frame, START_S)
        assert record is not None
        return record


def test_photographs_through_the_shipped_model(
    graph: RosGraph, data: Path, model_path: Path
) -> None:
    photographs = with_large_persons(data / 'coco', 4)
    with node_process('perception', '-p', f'model:={model_path}', *RELIABLE):
        robot = Robot(graph)
        assert robot.player.connect(START_S)
        overlaps = []
        for number, (image, box) in enumerate(photographs, start=1):
            height, width = image.shape[:2]
            frame = Frame(image, number * 10**9, 'camera_optical', typical(height, width))
            record = robot.see(frame)
            assert (record.stamp_ns, record.frame_id) == (frame.stamp_ns, 'camera_optical')
            assert record.depth is not None
            assert record.segmentation is not None
            assert record.detections is not None
            assert record.depth.depth.shape == (height, width)
            assert record.depth.intrinsics == frame.intrinsics
            assert record.segmentation.class_ids.shape == (height, width)
            known = {*range(len(record.segmentation.labels)), 255}
            assert set(np.unique(record.segmentation.class_ids)) <= known
            persons = [
                found
                for found, class_id in zip(
                    record.detections.boxes, record.detections.class_ids, strict=True
                )
                if record.detections.labels[class_id] == 'person'
            ]
            overlaps.append(max((iou(found, box) for found in persons), default=0.0))
    # In pixels of the photograph, whatever the network's size: else nothing would overlap.
    assert np.median(overlaps) > 0.7, overlaps


def with_large_persons(coco: Path, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Photographs in which one person fills a good part of the image, and that person's box."""
    content = json.loads((coco / 'instances.json').read_text())
    person = next(c['id'] for c in content['categories'] if c['name'] == 'person')
    images = {image['id']: image for image in content['images']}
    largest: dict[int, list[float]] = {}
    for note in content['annotations']:
        x, y, w, h = note['bbox']
        image = images[note['image_id']]
        if note['category_id'] == person and w * h > 0.15 * image['width'] * image['height']:
            largest.setdefault(note['image_id'], [x, y, x + w, y + h])
    chosen = sorted(largest)[:count]
    return [
        (cv2.imread(str(coco / 'images' / images[i]['file_name'])), np.array(largest[i]))
        for i in chosen
    ]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    size = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    both = size.prod()
    return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))


def test_parameters_change_while_it_runs(graph: RosGraph, tiny: Path) -> None:
    """What `ros2 param set` does, through the node's own service."""
    with node_process('perception', '-p', f'model:={tiny}', *RELIABLE):
        robot = Robot(graph, labels=('blue', 'green', 'red'))
        client = robot.node.create_client(
            SetParametersAtomically, '/perception/set_parameters_atomically'
        )
        assert robot.player.connect(START_S)
        assert graph.spin_until(client.service_is_ready)

        def set_to(**values: Any) -> tuple[bool, str]:
            parameters: list[ParameterMessage] = [
                Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
                for name, value in values.items()
            ]
            answer = client.call_async(SetParametersAtomically.Request(parameters=parameters))
            assert graph.spin_until(answer.done)
            return answer.result().result.successful, answer.result().result.reason

        image = patch((0, 0, 255))
        assert len(robot.see(Frame(image, 1)).detections)
        assert set_to(detection__classes=['blue']) == (True, '')
        assert not len(robot.see(Frame(image, 2)).detections)
        refused, reason = set_to(detection__classes=['red'], detection__score_threshold=1.5)
        assert not refused
        assert 'score_threshold' in reason
        assert not len(robot.see(Frame(image, 3)).detections)
        assert set_to(detection__classes=['red'], tasks__depth__enabled=False)[0]
        last = robot.see(Frame(image, 4))
        assert len(last.detections)
        assert last.depth is None


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_in_the_middle_of_its_work(
    graph: RosGraph, tiny: Path, number: signal.Signals
) -> None:
    with node_process('perception', '-p', f'model:={tiny}', '-p', 'input.size:=512') as process:
        robot = Robot(graph)
        assert robot.player.connect(START_S)
        publisher = FramePublisher(robot.node)
        large = Frame(np.full((2000, 3000, 3), 99, np.uint8), 1)
        for _ in range(3):
            publisher.publish(large)
        graph.spin_for(0.05)
        process.send_signal(number)
        assert process.wait(START_S) == 0
        assert process.stdout is not None
        said = process.stdout.read()
        assert 'Traceback' not in said
        assert 'rror' not in said


def test_what_it_cannot_start_with_is_one_line(tmp_path: Path) -> None:
    with node_process('perception', '-p', 'points.stride:=0') as process:
        assert process.wait(START_S) == 1
        assert process.stdout is not None
        said = process.stdout.read()
    assert 'points.stride' in said
    assert 'Traceback' not in said


def test_a_bag_through_both_nodes(graph: RosGraph, tiny: Path, data: Path) -> None:
    """A real recording, played by the source node, seen by the perception node."""
    bag = data / 'bags' / 'nc_redkitchen_dev_90f'
    with open_source(bag) as source:
        recorded = {frame.stamp_ns: frame for frame in source}
    robot = Robot(graph, capacity=len(recorded))
    with node_process('perception', '-p', f'model:={tiny}', *RELIABLE):
        assert graph.spin_until(lambda: robot.collector.connected, START_S)
        play = ('-p', f'source:={bag}', '-p', 'restamp:=false', '-p', 'rate_hz:=30.0')
        with node_process('source', *play) as player:
            assert graph.spin_until(lambda: player.poll() is not None, 2 * START_S)
            assert player.returncode == 0
            assert player.stdout is not None
            assert f'published {len(recorded)} images, 0 were unreadable' in player.stdout.read()
        graph.spin_for(0.5)
    records = [robot.collector.take(stamp_ns) for stamp_ns in robot.collector.complete]
    # How many are dropped is a matter of this computer; that none is mixed up is ours.
    assert len(records) >= 5
    for record in records:
        assert record is not None
        assert record.depth is not None
        frame = recorded[record.stamp_ns]
        assert record.frame_id == frame.frame_id
        assert record.depth.intrinsics == frame.intrinsics
        assert record.depth.depth.shape == frame.image.shape[:2]
