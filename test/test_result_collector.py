# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What other programs collect of a perception node, and the messages it comes in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from fake_node import STAMP, FakeNode
from ros_graph import DOMAIN_ID, camera_info, image_message, patch, ros_time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mt_perception.errors import NodeError
from mt_perception.geometry.boxes3d import Boxes3D
from mt_perception.nodes import conversions, round_trip_predictor
from mt_perception.nodes.demo_subscriber import DemoSubscriber
from mt_perception.nodes.result_collector import CollectedFrame, ResultCollector
from mt_perception.nodes.round_trip_predictor import RoundTripPredictor
from mt_perception.types import FISHEYE, Detections, Frame, Intrinsics

HEADER = Header(stamp=STAMP, frame_id='optical')


def test_compressed_depth_has_the_codes_of_image_transport() -> None:
    depth = np.array([[0.1541, 0.16, 1.0, 9.5], [80.0, 80.5, 0.0, -1.0], [np.nan, np.inf, 2, 3]])
    message = conversions.compressed_depth_message(HEADER, depth.astype(np.float32), 80.0)
    assert (message.header, message.format) == (HEADER, '32FC1; compressedDepth png')
    kind, a, b = struct.unpack('<iff', bytes(message.data)[:12])
    assert (kind, a, b) == (0, 10_100.0, 1 - 10_100 / 80)
    codes = cv2.imdecode(np.frombuffer(bytes(message.data)[12:], np.uint8), cv2.IMREAD_UNCHANGED)
    expected = [[10_100 / z - 125.25 if 0 < z <= 80 else 0 for z in row] for row in depth]
    assert codes.tolist() == [[int(code) for code in row] for row in expected]
    assert codes[0, 0] == 65_416, 'nearer does not fit'
    nearest = np.array([[0.1538, 0.1539]], np.float32)
    data = bytes(conversions.compressed_depth_message(HEADER, nearest, 80.0).data)[12:]
    codes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert codes.tolist() == [[0, 65_501]]


def test_a_camera_info_is_whole() -> None:
    lens = (0.1, -0.2, 0.3, 0.4, 0.5)
    for distortion, projection, model, d in (
        ((), 'pinhole', 'plumb_bob', [0.0] * 5),
        (lens, 'pinhole', 'plumb_bob', list(lens)),
        ((*lens, 0.6, 0.7, 0.8), 'pinhole', 'rational_polynomial', [*lens, 0.6, 0.7, 0.8]),
        ((), FISHEYE, 'equidistant', []),
        (lens[:4], FISHEYE, 'equidistant', list(lens[:4])),
    ):
        camera = Intrinsics(100.0, 101.0, 31.5, 23.5, 64, 48, distortion=distortion)
        if projection == FISHEYE:
            camera = replace(camera, projection=FISHEYE)
        assert conversions.camera_info_of(HEADER, camera) == CameraInfo(
            header=HEADER, width=64, height=48, distortion_model=model, d=d,
            k=[100.0, 0.0, 31.5, 0.0, 101.0, 23.5, 0.0, 0.0, 1.0],
            r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            p=[100.0, 0.0, 31.5, 0.0, 0.0, 101.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0],
        )  # fmt: skip


FOUND = Detections(
    np.array([[1, 2, 4, 8], [0, 0, 3, 5]], np.float32),
    np.array([0.75, 0.5], np.float32),
    np.array([1, 0]),
    ('cat', 'dog'),
)


def test_detections_are_whole() -> None:
    made = conversions.DetectionsMessage().fill(HEADER, FOUND)
    first, second = made.detections
    assert (made.header, first.header, first.id) == (HEADER, HEADER, '')
    box = first.bbox
    assert (box.center.position.x, box.center.position.y) == (2.5, 5)
    assert (box.size_x, box.size_y, box.center.theta) == (3, 6, 0)
    assert [(r.hypothesis.class_id, r.hypothesis.score) for r in first.results] == [('dog', 0.75)]
    assert (second.bbox.size_x, second.bbox.center.position.y) == (3, 2.5)
    boxes = Boxes3D(np.array([1]), np.array([[1.0, 2.0, 3.0]]), np.array([[0.5, 0.25, 0.125]]))
    (three,) = conversions.detections_3d_message(HEADER, FOUND, boxes).detections
    (result,) = three.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ('cat', 0.5)
    for point in (result.pose.pose.position, three.bbox.center.position):
        assert (point.x, point.y, point.z) == (1, 2, 3)
    assert (three.bbox.size.x, three.bbox.size.y, three.bbox.size.z) == (0.5, 0.25, 0.125)
    assert three.header == HEADER


def collected(**options: Any) -> tuple[ResultCollector, dict[str, Callable[..., None]], FakeNode]:
    node = FakeNode()
    made = ResultCollector(node, **options)  # type: ignore[arg-type]
    return made, {one.topic: one.callback for one in node.subscriptions}, node


def statistics(stamp_ns: int, **values: str) -> DiagnosticArray:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    header = Header(stamp=ros_time(stamp_ns), frame_id='optical')
    return DiagnosticArray(header=header, status=[DiagnosticStatus(values=pairs)])


def test_results_are_collected_by_stamp() -> None:
    made, deliver, node = collected(labels=FOUND.labels, capacity=2)
    p = '/perception'
    assert not made.connected
    node.publishers = {one.topic: [0] for one in node.subscriptions}
    assert not made.connected, 'without class names'
    deliver[f'{p}/segmentation/label_info'](conversions.label_info(('floor', 'wall'), STAMP))
    assert made.connected
    ns = conversions.stamp_ns(STAMP)
    arrived = {'received_timestamp': 50}
    deliver[f'{p}/stats'](
        statistics(ns, made='~/detections ~/depth/image ~/overlay/image', macs='7'), arrived
    )
    assert made.complete == []
    pixels = conversions.ImageMessage('32FC1', np.float32)
    deliver[f'{p}/depth/image'](pixels.fill(HEADER, np.full((4, 6), 2, np.float32)), arrived)
    assert not made.is_complete(ns)
    found = conversions.DetectionsMessage().fill(HEADER, FOUND)
    deliver[f'{p}/detections'](found, {'received_timestamp': 70})
    assert made.complete == [ns]
    assert not made.is_complete(ns + 1)
    frame = made.take(ns)
    assert frame is not None
    assert (frame.stamp_ns, frame.frame_id, frame.complete_ns) == (ns, 'optical', 70)
    assert frame.stats['macs'] == '7'
    assert frame.segmentation is None
    assert frame.depth is not None
    assert frame.depth.assumed_intrinsics
    assert frame.depth.depth.tolist() == [[2.0] * 6] * 4
    assert frame.detections is not None
    assert frame.detections.class_ids.tolist() == [1, 0]
    assert made.take(ns) is None
    for stamp_ns in (1, 2, 3):
        deliver[f'{p}/stats'](statistics(stamp_ns), {'received_timestamp': 0})
    assert made.complete == [2, 3], 'the oldest is forgotten'
    alone = made.take(3)
    assert alone is not None
    assert alone.complete_ns > 10**18, 'the time of the callback'
    info = camera_info(6, 4, 9)
    image = pixels.fill(Header(stamp=ros_time(9)), np.full((4, 6), 2, np.float32))
    deliver[f'{p}/depth/image'](image, arrived)
    deliver[f'{p}/depth/camera_info'](info, arrived)
    classes = conversions.ImageMessage('mono8', np.uint8)
    deliver[f'{p}/segmentation/image'](
        classes.fill(Header(stamp=ros_time(9)), np.ones((4, 6), np.uint8)), arrived
    )
    frame = made.take(9)
    assert frame is not None
    assert frame.depth is not None
    assert frame.depth.intrinsics.fx == 100
    assert not frame.depth.assumed_intrinsics
    assert frame.segmentation is not None
    assert frame.segmentation.labels == ('floor', 'wall')
    assert (frame.stats, frame.detections) == ({}, None)
    only, deliver, node = collected(tasks=('detection',))
    assert sorted(deliver) == [f'{p}/detections', f'{p}/stats']
    node.publishers = {one.topic: [0] for one in node.subscriptions}
    assert only.connected
    deliver[f'{p}/stats'](statistics(ns, made='~/depth/image'), arrived)
    deliver[f'{p}/detections'](found, arrived)
    assert only.complete == [ns], 'other topics are not waited for'
    named = only.take(ns)
    assert named is not None
    assert named.detections is not None
    assert named.detections.labels == ('cat', 'dog'), 'the names of the message'


def test_a_round_trip_has_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {
        'latency_ms.node': '8.0', 'latency_ms.total': '5.0', 'latency_ms.inference': '3.0',
        'block_ms.trunk': '2.5', 'tasks': 'depth detection', 'blocks': 'trunk depth',
        'path': 'light', 'reason': 'why', 'macs': '77', 'network_height': '64',
        'network_width': '96', 'loaded_bytes': '3', 'failed.detection': 'no boxes',
        'budget.realised': '0.5', 'budget.compute': '0.25',
    }  # fmt: skip
    record = CollectedFrame(5, 'optical', None, None, None, stats, {'a': 12_000_000, 'b': 1})
    steps: list[Any] = []
    seconds = iter((1.0, 1.25, 1.0, 1.009, 1.0, 1.25, 1.0, 1.25, 1.0, 1.25))
    times = SimpleNamespace(
        perf_counter=lambda: next(seconds), time_ns=lambda: 2_000_000, monotonic=lambda: 0.0
    )

    def step(frame: Frame, deadline_s: float) -> CollectedFrame | None:
        steps.append((frame, deadline_s))
        return answers.pop(0)

    monkeypatch.setattr(
        round_trip_predictor, 'SynchronousPlayer', lambda *given: SimpleNamespace(step=step)
    )
    monkeypatch.setattr(round_trip_predictor, 'time', times)
    rejected = replace(record, stats={'rejected': 'short_data'})
    answers: list[CollectedFrame | None] = [
        record, record, None, replace(record, stats={}), rejected,
    ]  # fmt: skip
    frame = Frame(patch((0, 0, 0)), 5)
    with RoundTripPredictor(('depth',), ('cat',), DOMAIN_ID) as made:
        result, quick = made.run(frame), made.run(frame)
        for says in ('returned no results within', 'returned no results within', 'short_data'):
            with pytest.raises(NodeError, match=says):
                made.run(frame)
    run = result.execution
    assert run.stage_ms == {
        'inference': 3.0, 'messages': 3.0, 'transport': pytest.approx(2.0),
        'total': pytest.approx(10.0),
    }  # fmt: skip
    assert quick.execution.stage_ms['total'] == pytest.approx(9.0), 'as the caller saw it'
    assert (run.tasks, run.blocks, run.path, run.reason) == (
        ('depth', 'detection'), ('trunk', 'depth'), 'light', 'why',
    )  # fmt: skip
    assert (run.macs, run.network_size, run.loaded_bytes) == (77, (64, 96), 3)
    assert run.block_ms == {'trunk': 2.5}
    assert run.values()['budget.realised'] == 0.5
    assert result.failures == {'detection': 'no boxes'}
    assert (result.stamp_ns, result.frame_id) == (5, 'optical')
    assert steps[0][0] is frame


def test_the_demo_pairs_images_with_their_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResultCollector, 'connected', True)
    with DemoSubscriber(('cat',), DOMAIN_ID) as demo:
        assert not demo.connected, 'nobody but the demo itself takes images'
        demo.node.create_subscription(Image, '/image', lambda message: None, 1)
        assert demo.connected
        for nanosec in range(51):
            demo._on_image(image_message(patch((0, 0, nanosec)), nanosec))
        frames = {
            n: CollectedFrame(n, 'c', None, None, None, {}, {'a': 5_000_000}) for n in (0, 1, 50)
        }
        collector = SimpleNamespace(complete=[0, 1, 7, 50], take=frames.get)
        monkeypatch.setattr(demo, '_collector', collector)
        first, last = demo.answered()
        assert (first.results, last.results) == (frames[1], frames[50]), 'the oldest is gone'
        assert first.image[48, 64].tolist() == [0, 0, 1]
        assert last.latency_ms == pytest.approx(4.99995)
        assert demo.images == 51
        values = [KeyValue(key='a', value='1')]
        for name in ('input', 'perception', 'offload'):
            status = DiagnosticStatus(name=f'/perception: {name}', values=values)
            demo._on_diagnostics(DiagnosticArray(status=[status]))
            assert (demo.input, demo.perception) == (
                {'a': '1'}, {} if name == 'input' else {'a': '1'},
            )  # fmt: skip
