# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node in this process: what it publishes, when it works and when it does not."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_graph import (
    Peer,
    RosGraph,
    camera_info,
    image_message,
    patch,
    ros_graph,
    ros_time,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from tiny_cut import write_tiny_cut
from tiny_model import broken_head, depth_head
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from mt_perception.evaluation.datasets.truth_messages import decode_depth
from mt_perception.execution.executor import Executor
from mt_perception.model.folder import open_model
from mt_perception.model.sessions import load_sessions
from mt_perception.model.weight_residency import SessionStore
from mt_perception.nodes import conversions, perception, qos_events
from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.perception import PerceptionNode
from mt_perception.nodes.publishers import LATCHED
from mt_perception.nodes.subscriptions import queued_s

RED = (0, 0, 255)
SECOND = 10**9

TOPICS: dict[str, type] = {
    '/perception/detections': Detection2DArray,
    '/perception/depth/image': Image,
    '/perception/depth/camera_info': CameraInfo,
    '/perception/segmentation/image': Image,
    '/perception/points': PointCloud2,
    '/perception/overlay/image': Image,
    '/perception/overlay/image/compressed': CompressedImage,
    '/perception/depth/image/compressedDepth': CompressedImage,
    '/perception/detections_3d': Detection3DArray,
    '/perception/instances/image': Image,
    '/perception/stats': DiagnosticArray,
}
DETECTIONS, DEPTH, SEGMENTATION = (
    '/perception/detections',
    '/perception/depth/image',
    '/perception/segmentation/image',
)
STATS = '/perception/stats'
DETECTIONS_3D = '/perception/detections_3d'
OVERLAY_JPEG = '/perception/overlay/image/compressed'
DEPTH_PNG = '/perception/depth/image/compressedDepth'


OFFLOADING = {'offload.enabled': True, 'offload.mode': 'never', 'offload.endpoint': '127.0.0.1:9'}
"""Settings with which a thread of its own runs the frames."""


@pytest.fixture(scope='session')
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cut(tmp_path_factory.mktemp('split') / 'tiny')


class Bench:
    """One perception node and its other side, connected."""

    def __init__(self, graph: RosGraph, model: Path, *topics: str, **settings: Any) -> None:
        self.graph = graph
        self.node: PerceptionNode = graph.add(PerceptionNode, model=str(model), **settings)
        self.peer: Peer = graph.add(Peer)
        self.topics = topics
        for topic in topics:
            self.peer.listen(topic, TOPICS[topic])
        self.stamp_s = 0
        assert graph.spin_until(lambda: self.connected)

    @property
    def connected(self) -> bool:
        node, peer = self.node, self.peer
        return bool(
            node.state == ACTIVE
            and peer.images.get_subscription_count()
            and peer.infos.get_subscription_count()
            and len(node.processor.publishers.subscribed()) == len(self.topics)
            and all(s.get_publisher_count() for s in node.inputs._subscriptions)
        )

    def got(self, topic: str) -> list[Any]:
        return self.peer.got[topic]

    def pass_frame(self, pixels: np.ndarray | None = None, info: bool = True) -> int:
        """Send a frame of a new stamp and wait until it went through; returns the stamp."""
        self.stamp_s += 1
        before = self.node.health.processed
        self.peer.send(patch(RED) if pixels is None else pixels, self.stamp_s * SECOND, info)
        assert self.graph.spin_until(lambda: self.node.health.processed > before)
        assert self.graph.spin_until(lambda: all(self.has(t, self.stamp_s) for t in self.made))
        return self.stamp_s * SECOND

    @property
    def made(self) -> list[str]:
        """Our topics that come with every frame that has a camera info."""
        need_camera = ('/perception/points', '/perception/detections_3d', CAMERA)
        return [t for t in self.topics if t not in need_camera]

    def has(self, topic: str, stamp_s: int) -> bool:
        return any(m.header.stamp.sec == stamp_s for m in self.got(topic))

    def diagnostics(self) -> dict[str, DiagnosticStatus]:
        """The next report."""
        reports = self.peer.got.get('/diagnostics')
        if reports is None:
            reports = self.peer.listen('/diagnostics', DiagnosticArray)
        before = len(reports)
        assert self.graph.spin_until(lambda: len(reports) > before)
        return {status.name.split(': ')[1]: status for status in reports[-1].status}


CAMERA = '/perception/depth/camera_info'


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {v.key: v.value for v in status.values}


# What is published


def test_one_frame_makes_every_output(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, *TOPICS)
    labels = bench.peer.listen('/perception/segmentation/label_info', LabelInfo, LATCHED)
    bench.pass_frame()
    assert graph.spin_until(lambda: all(bench.got(topic) for topic in TOPICS) and labels)
    headers = {topic: bench.got(topic)[0].header for topic in TOPICS}
    assert all(h.stamp.sec == 1 and h.frame_id == 'camera_optical' for h in headers.values())

    found = bench.got(DETECTIONS)[0].detections
    assert found
    assert {d.results[0].hypothesis.class_id for d in found} == {'red'}
    box = found[0].bbox
    assert abs(box.center.position.x - 64) <= 16
    assert abs(box.center.position.y - 48) <= 16

    depth = bench.got(DEPTH)[0]
    assert (depth.encoding, depth.height, depth.width) == ('32FC1', 96, 128)
    # The network sees a camera of half the focal length; red is a third as bright as white.
    metres = conversions.depth_from(depth)
    assert metres[48, 64] == pytest.approx(0.02 / 3 * 50, rel=0.02)

    mask = bench.got(SEGMENTATION)[0]
    assert (mask.encoding, mask.height, mask.width) == ('mono8', 96, 128)
    names = {entry.class_id: entry.class_name for entry in labels[0].class_map}
    ids = np.frombuffer(mask.data, np.uint8).reshape(96, 128)
    assert names[ids[48, 64]] == 'red'
    assert names[ids[4, 4]] == 'grey'
    assert set(np.unique(ids)) <= {*names, 255}

    assert list(bench.got(CAMERA)[0].k) == list(camera_info(128, 96).k)
    points = bench.got('/perception/points')[0]
    assert (points.height, points.width) == (48, 64)
    overlay = bench.got('/perception/overlay/image')[0]
    assert (overlay.encoding, overlay.height, overlay.width) == ('bgr8', 96, 128)
    jpeg = cv2.imdecode(np.asarray(bench.got(OVERLAY_JPEG)[0].data, np.uint8), cv2.IMREAD_COLOR)
    drawn = np.frombuffer(overlay.data, np.uint8).reshape(96, 128, 3)
    assert np.abs(jpeg.astype(int) - drawn).mean() < 8
    assert bench.got(OVERLAY_JPEG)[0].format == 'bgr8; jpeg compressed bgr8'
    stats = values(bench.got(STATS)[0].status[0])
    assert stats['tasks'] == 'detection segmentation depth'
    assert 60_000 > float(stats['latency_ms.node']) >= float(stats['latency_ms.total'])


def test_detections_in_space_are_where_the_depth_says(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, DEPTH, DETECTIONS_3D, STATS)
    bench.pass_frame(info=False)
    assert not bench.got(DETECTIONS_3D), 'without a camera their scale would be a guess'
    bench.pass_frame()
    assert graph.spin_until(lambda: bench.got(DETECTIONS_3D))
    flat, found = bench.got(DETECTIONS)[-1], bench.got(DETECTIONS_3D)[-1]
    assert found.header == flat.header
    assert found.detections
    metres = conversions.depth_from(bench.got(DEPTH)[-1])
    for box, image_box in zip(found.detections, (d.bbox for d in flat.detections), strict=True):
        assert box.results[0].hypothesis.class_id == 'red'
        center, size = box.bbox.center.position, box.bbox.size
        assert box.results[0].pose.pose.position == center
        u, v = image_box.center.position.x, image_box.center.position.y
        # Some boxes of the small model reach over the square's edge.
        assert center.z == pytest.approx(metres[round(v), round(u)], rel=0.3)
        # The camera of these tests: focal length 100 px, centre (63.5, 47.5).
        assert center.x == pytest.approx((u - 63.5) * center.z / 100, abs=1e-3)
        assert center.y == pytest.approx((v - 47.5) * center.z / 100, abs=1e-3)
        assert size.x == pytest.approx(image_box.size_x * center.z / 100, rel=0.1)


def test_compressed_depth_is_what_image_transport_reads(graph: RosGraph, tiny: Path) -> None:
    # Depth of the small model is centimetres, which the format cannot hold.
    header = Header(frame_id='camera_optical')
    depth = np.linspace(0.2, 19.9, 96 * 128, dtype=np.float32).reshape(96, 128)
    depth[:2] = np.nan
    message = conversions.compressed_depth_message(header, depth, 20.0)
    assert message.format == '32FC1; compressedDepth png'
    read = decode_depth(message)
    assert np.isnan(read[:2]).all()
    # A step of the inverse depth: 2 % at 20 m, less nearer.
    assert np.allclose(read[2:], depth[2:], rtol=0.002)
    near = conversions.compressed_depth_message(header, np.full((4, 4), 0.01, np.float32), 20.0)
    assert np.isnan(decode_depth(near)).all()

    bench = Bench(graph, tiny, DEPTH_PNG, STATS)
    bench.pass_frame()
    assert bench.got(DEPTH_PNG)[0].header.frame_id == 'camera_optical'
    assert decode_depth(bench.got(DEPTH_PNG)[0]).shape == (96, 128)


def test_points_of_a_plane_are_a_plane(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, '/perception/points', STATS, **{'points.stride': 1})
    bench.pass_frame(np.full((96, 128, 3), 200, np.uint8))
    assert graph.spin_until(lambda: bench.got('/perception/points'))
    cloud = bench.got('/perception/points')[0]
    xyz = np.frombuffer(cloud.data, np.float32).reshape(96, 128, 4)[..., :3]
    z = xyz[..., 2]
    assert np.ptp(z) < 1e-5
    columns = (np.arange(128) - 63.5) * z[0, 0] / 100
    assert np.allclose(xyz[:, :, 0], columns, atol=1e-4)


def test_nothing_seen_is_published_too(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, DEPTH, STATS)
    for grey in (0, 255):
        bench.pass_frame(np.full((96, 128, 3), grey, np.uint8))
        assert bench.got(DETECTIONS)[-1].detections == []
    black = conversions.depth_from(bench.got(DEPTH)[0])
    assert np.isnan(black).all()


def test_the_image_size_may_change(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, DEPTH, SEGMENTATION, '/perception/overlay/image', STATS)
    for height, width in ((96, 128), (33, 71), (240, 320), (96, 128)):
        bench.pass_frame(patch(RED, height, width))
        for topic in (DEPTH, SEGMENTATION, '/perception/overlay/image'):
            message = bench.got(topic)[-1]
            assert (message.height, message.width) == (height, width)


def test_compressed_images_follow_the_remapping_of_image(graph: RosGraph, tiny: Path) -> None:
    node = graph.add(
        lambda **kwargs: PerceptionNode(
            cli_args=['--ros-args', '-r', 'image:=/head/image_raw'], **kwargs
        ),
        model=str(tiny),
        **{'input.transport': 'compressed'},
    )
    peer = graph.add(Peer)
    detections = peer.listen(DETECTIONS, Detection2DArray)
    images = peer.create_publisher(CompressedImage, '/head/image_raw/compressed', 1)
    assert graph.spin_until(
        lambda: images.get_subscription_count() and node.processor.publishers.subscribed()
    )
    assert node.inputs.camera_info_topic == '/head/camera_info'
    jpeg = cv2.imencode('.jpg', patch(RED))[1].tobytes()
    images.publish(CompressedImage(format='jpeg', data=jpeg[: len(jpeg) // 2]))
    assert graph.spin_until(lambda: node.health.rejects)
    images.publish(CompressedImage(format='jpeg', data=jpeg))
    assert graph.spin_until(lambda: detections)
    assert detections[0].detections
    assert dict(node.health.rejects) == {'truncated': 1}


def test_image_may_be_remapped_to_the_compressed_topic_itself(graph: RosGraph, tiny: Path) -> None:
    for image in ('/cam/image_raw/compressed', '/cam/image_raw'):
        node = graph.add(
            lambda image=image, **kwargs: PerceptionNode(
                cli_args=['--ros-args', '-r', f'image:={image}'], **kwargs
            ),
            model=str(tiny),
            **{'input.transport': 'compressed'},
        )
        assert graph.spin_until(lambda node=node: node.inputs)
        assert node.inputs.image_topic == '/cam/image_raw/compressed'
        assert node.inputs.camera_info_topic == '/cam/camera_info'
        node.destroy_node()


# Who listens decides what runs


def test_nobody_listens_and_nothing_runs(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny)
    for i in range(1, 4):
        bench.peer.send(patch(RED), i * SECOND)
        assert graph.spin_until(lambda i=i: bench.node.health.idle == i)
    assert bench.node.health.processed == 0


def test_a_lazy_input_is_subscribed_while_a_result_has_a_subscriber(
    graph: RosGraph, tiny: Path
) -> None:
    settings = {'input.lazy': True, 'input.timeout_ms': 300.0}
    node = graph.add(PerceptionNode, model=str(tiny), **settings)
    peer = graph.add(Peer)
    reports = peer.listen('/diagnostics', DiagnosticArray)
    subscribers = peer.images.get_subscription_count
    assert graph.spin_until(lambda: node.state == ACTIVE and node.inputs is None)
    for _ in range(2):
        assert graph.spin_until(lambda: not subscribers())
        reports.clear()
        assert graph.spin_until(lambda: len(reports) > 1)
        (idle,) = [s for s in reports[-1].status if s.name.endswith(': input')]
        assert idle.level == DiagnosticStatus.OK, 'a camera that is not needed is not silent'
        got: list[Any] = []
        listener = peer.create_subscription(Detection2DArray, DETECTIONS, got.append, 10)
        assert graph.spin_until(subscribers)
        assert graph.spin_until(
            lambda got=got: (peer.send(patch(RED), SECOND), graph.spin_for(0.02)) and got
        )
        peer.destroy_subscription(listener)
    assert graph.spin_until(lambda: not subscribers())
    assert node.set_parameters([Parameter('input.lazy', value=False)])[0].successful
    assert node.inputs is not None
    assert graph.spin_until(subscribers)
    assert node.set_parameters([Parameter('input.lazy', value=True)])[0].successful
    assert graph.spin_until(lambda: not subscribers())
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    graph.spin_for(0.3)
    assert node.inputs is None


def test_an_event_subscribes_a_lazy_input_for_a_new_subscriber(
    graph: RosGraph, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perception, '_DEMAND_S', 3600.0)
    node = graph.add(PerceptionNode, model=str(tiny), **{'input.lazy': True})
    peer = graph.add(Peer)
    assert graph.spin_until(lambda: node.state == ACTIVE and node.inputs is None)
    graph.spin_for(0.2)
    got = peer.listen(DETECTIONS, Detection2DArray)
    assert graph.spin_until(lambda: node.inputs is not None)
    assert graph.spin_until(lambda: (peer.send(patch(RED), SECOND), graph.spin_for(0.02)) and got)


def check_late_subscriber(graph: RosGraph, tiny: Path) -> None:
    """A lazy node subscribes to the image after a result has a subscriber."""
    node = graph.add(PerceptionNode, model=str(tiny), **{'input.lazy': True})
    peer = graph.add(Peer)
    assert graph.spin_until(lambda: node.state == ACTIVE and node.inputs is None)
    peer.listen(DETECTIONS, Detection2DArray)
    assert graph.spin_until(lambda: node.inputs is not None)


def test_a_lost_event_delays_a_new_subscriber_by_a_second(
    graph: RosGraph, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qos_events, 'HAS_MATCHED', False)
    check_late_subscriber(graph, tiny)


def test_without_events_a_timer_subscribes_a_lazy_input(
    graph: RosGraph, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Humble."""
    monkeypatch.setattr(perception, 'HAS_MATCHED', False)
    monkeypatch.setattr(qos_events, 'HAS_MATCHED', False)
    check_late_subscriber(graph, tiny)


@pytest.mark.parametrize(
    ('topic', 'tasks'),
    [
        (DETECTIONS, 'detection'),
        (DEPTH, 'depth'),
        (SEGMENTATION, 'segmentation'),
        ('/perception/points', 'depth'),
        ('/perception/overlay/image', 'detection segmentation'),
        (OVERLAY_JPEG, 'detection segmentation'),
        (DEPTH_PNG, 'depth'),
        (DETECTIONS_3D, 'detection segmentation depth'),
    ],
)
def test_only_the_wanted_heads_run(graph: RosGraph, tiny: Path, topic: str, tasks: str) -> None:
    bench = Bench(graph, tiny, topic, STATS)
    bench.pass_frame()
    stats = values(bench.got(STATS)[0].status[0])
    assert stats['tasks'] == tasks
    assert set(stats['blocks'].split()) == {'trunk', *tasks.split()}


def test_a_listener_may_come_and_go(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    bench.pass_frame()
    late: list[Any] = []
    subscription = bench.peer.create_subscription(Image, DEPTH, late.append, 1)
    assert graph.spin_until(lambda: len(bench.node.processor.publishers.subscribed()) == 3)
    bench.pass_frame()
    assert graph.spin_until(lambda: late)
    bench.peer.destroy_subscription(subscription)
    assert graph.spin_until(lambda: len(bench.node.processor.publishers.subscribed()) == 2)
    bench.pass_frame()
    assert [values(m.status[0])['tasks'] for m in bench.got(STATS)] == [
        'detection',
        'detection depth',
        'detection',
    ]


def test_a_disabled_task_does_not_run_though_somebody_listens(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, DEPTH, STATS, **{'tasks.depth.enabled': False})
    bench.peer.send(patch(RED), SECOND)
    assert graph.spin_until(lambda: bench.got(STATS))
    assert values(bench.got(STATS)[0].status[0])['tasks'] == 'detection'
    assert not bench.got(DEPTH)


# Bad images and cameras


def test_a_bad_image_is_named_and_the_next_one_works(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    good = image_message(patch(RED), 50 * SECOND)
    spoil = {
        'unknown_encoding': {'encoding': 'cmyk'},
        'zero_size': {'width': 0},
        'short_step': {'step': 3},
        'short_data': {'height': 97},
    }
    for reason, change in spoil.items():
        bad = image_message(patch(RED), 40 * SECOND)
        for field, value in change.items():
            setattr(bad, field, value)
        bench.peer.images.publish(bad)
        assert graph.spin_until(lambda reason=reason: bench.node.health.rejects[reason] == 1), (
            dict(bench.node.health.rejects)
        )
    told = bench.diagnostics()['input']
    bench.peer.images.publish(good)
    assert graph.spin_until(lambda: bench.has(DETECTIONS, 50))
    assert told.level == DiagnosticStatus.WARN
    assert values(told)['rejected'] == '4'
    assert values(told)['rejected.short_step'] == '1'
    rejected = [m for m in bench.got(STATS) if 'rejected' in values(m.status[0])]
    assert len(rejected) == 4
    assert bench.diagnostics()['input'].level == DiagnosticStatus.OK


def test_without_camera_info_depth_but_no_points(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DEPTH, '/perception/points', CAMERA, STATS)
    logged = bench.peer.listen('/rosout', Log)
    assert graph.spin_until(lambda: bench.peer.count_publishers('/rosout') > 0)
    bench.pass_frame(info=False)
    told = bench.diagnostics()['input']
    assert told.level == DiagnosticStatus.WARN
    assert 'no camera_info on /camera_info' in told.message
    assert not bench.got('/perception/points')
    assert not bench.got(CAMERA)

    def warnings() -> int:
        return sum('no camera_info' in m.msg and m.level == Log.WARN for m in logged)

    # One warning, not one for each frame or each report.
    for _ in range(3):
        bench.pass_frame(info=False)
        bench.diagnostics()
    assert graph.spin_until(lambda: warnings() > 0)
    assert warnings() == 1
    bench.pass_frame()
    assert graph.spin_until(lambda: bench.got('/perception/points') and bench.got(CAMERA))


@pytest.mark.parametrize(('model', 'known'), [('equidistant', True), ('mei', False)])
def test_a_fisheye_is_said_and_its_points_are_undistorted_if_its_lens_is_known(
    graph: RosGraph, tiny: Path, model: str, known: bool
) -> None:
    bench = Bench(graph, tiny, DEPTH, '/perception/points', STATS)
    info = camera_info(128, 96, SECOND)
    info.distortion_model, info.d = model, [-0.01, 0.04, -0.03, 0.01]
    bench.peer.infos.publish(info)
    bench.pass_frame(info=False)
    assert bench.got(DEPTH)
    if known:
        assert graph.spin_until(lambda: bench.got('/perception/points'))
    else:
        assert not bench.got('/perception/points')
    assert f'fisheye ({model})' in bench.diagnostics()['input'].message


@pytest.mark.parametrize(('choice', 'focal', 'named'), [('yes', 60.0, 'P of'), ('no', 100.0, 'K')])
def test_whether_images_are_rectified_can_be_set_and_is_said(
    graph: RosGraph, tiny: Path, choice: str, focal: float, named: str
) -> None:
    bench = Bench(graph, tiny, DEPTH, STATS, **{'input.rectified': choice})
    frames: list[Any] = []
    run = bench.node.pipeline.run

    def recorded(frame: Any, *rest: Any, **more: Any) -> Any:
        frames.append(frame)
        return run(frame, *rest, **more)

    bench.node.pipeline.run = recorded
    info = camera_info(128, 96, SECOND)
    info.p = [60.0, 0.0, 63.5, 0.0, 0.0, 60.0, 47.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    bench.peer.infos.publish(info)
    bench.pass_frame(info=False)
    assert frames[0].intrinsics.fx == focal
    assert values(bench.diagnostics()['input'])['camera'].startswith(named)


def test_a_camera_info_of_another_frame_is_said(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DEPTH, STATS)
    info = camera_info(128, 96, SECOND)
    info.header.frame_id = 'depth_optical'
    bench.peer.infos.publish(info)
    bench.pass_frame(info=False)
    assert "of frame 'depth_optical'" in bench.diagnostics()['input'].message


@pytest.mark.parametrize('fault', ['other_size', 'bad_k', 'nan_k'])
def test_a_camera_info_that_cannot_be_right(graph: RosGraph, tiny: Path, fault: str) -> None:
    bench = Bench(graph, tiny, DEPTH, '/perception/points', STATS)
    info = camera_info(128, 96, SECOND)
    if fault == 'other_size':
        info.width = 640
    else:
        info.k = [float('nan') if fault == 'nan_k' else 0.0] * 9
    bench.peer.infos.publish(info)
    bench.pass_frame(info=False)
    assert bench.got(DEPTH)
    assert not bench.got('/perception/points')
    assert bench.diagnostics()['input'].level == DiagnosticStatus.WARN
    bench.pass_frame()
    assert graph.spin_until(lambda: bench.got('/perception/points'))


def test_one_camera_info_serves_all_images_that_follow(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, '/perception/points', STATS)
    bench.pass_frame()
    bench.pass_frame(info=False)
    bench.pass_frame(info=False)
    assert graph.spin_until(lambda: len(bench.got('/perception/points')) == 3)


def test_the_camera_info_that_comes_after_its_image(graph: RosGraph, tiny: Path) -> None:
    """The very first image waits for its camera, so that its depth has the right scale."""
    bench = Bench(graph, tiny, DEPTH, STATS)
    bench.peer.images.publish(image_message(patch(RED), SECOND))
    graph.spin_for(0.01)
    bench.peer.infos.publish(camera_info(128, 96, SECOND, focal=300.0))
    assert graph.spin_until(lambda: bench.got(DEPTH))
    metres = conversions.depth_from(bench.got(DEPTH)[0])
    assert metres[48, 64] == pytest.approx(0.02 / 3 * 150, rel=0.02)


# Time


def test_strange_stamps_are_flagged_and_pass_unchanged(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    now_s = int(time.time())
    stamps = {0: 'zero', now_s: '', now_s + 3600: 'future', now_s - 9: 'out_of_order'}
    for n, stamp_s in enumerate((*stamps, now_s - 9), start=1):
        bench.peer.send(patch(RED), stamp_s * SECOND)
        assert graph.spin_until(lambda n=n: len(bench.got(DETECTIONS)) == n)
        assert bench.got(DETECTIONS)[-1].header.stamp.sec == stamp_s
    faults = {*filter(None, stamps.values()), 'duplicate'}
    assert dict(bench.node.health.stamp_faults) == dict.fromkeys(faults, 1)
    ages = [float(values(m.status[0])['age_ms']) for m in bench.got(STATS)]
    assert min(ages) >= 0.0
    told = bench.diagnostics()['input']
    assert told.level == DiagnosticStatus.WARN
    assert values(told)['stamps.future'] == '1'


def test_nanoseconds_of_more_than_a_second(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    message = image_message(patch(RED), SECOND)
    message.header.stamp.nanosec = 4_000_000_000
    bench.peer.images.publish(message)
    assert graph.spin_until(lambda: bench.got(DETECTIONS))
    assert bench.got(DETECTIONS)[0].header == message.header
    assert bench.node.health.stamp_faults['malformed'] == 1


def test_a_looped_bag_goes_on_within_one_frame(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, '/perception/points', STATS)
    for lap in range(3):
        for stamp_s in (1000, 1001, 1002):
            before = len(bench.got('/perception/points'))
            bench.peer.send(patch(RED), stamp_s * SECOND)
            assert graph.spin_until(
                lambda before=before: len(bench.got('/perception/points')) > before, 3
            ), (lap, stamp_s)
    assert bench.node.health.processed == 9
    assert bench.node.health.stamp_faults == {'out_of_order': 2}


def test_a_clock_that_leaps_an_hour_ahead_alarms_nobody(graph: RosGraph, tiny: Path) -> None:
    settings = {'use_sim_time': True, 'input.max_age_ms': 500.0}
    bench = Bench(graph, tiny, DETECTIONS, STATS, **settings)
    clock = bench.peer.create_publisher(Clock, '/clock', 1)
    assert graph.spin_until(clock.get_subscription_count)
    bench.diagnostics()
    for stamp_s in (1000, 1001, 4601, 4602):
        clock.publish(Clock(clock=ros_time(stamp_s * SECOND)))
        now = bench.node.get_clock().now
        assert graph.spin_until(lambda s=stamp_s, now=now: now().nanoseconds == s * SECOND)
        bench.stamp_s = stamp_s - 1
        bench.pass_frame()
    told = bench.diagnostics()
    assert told['input'].level == told['perception'].level == DiagnosticStatus.OK
    assert not bench.node.health.drops['too_old']
    assert not bench.node.health.stamp_faults
    assert float(values(told['perception'])['latency_ms.p95']) < 3600e3


STAMPS_OR_FILES = {
    # The stamps of images that are published or received.
    *('nodes/frame_publisher.py', 'nodes/result_collector.py', 'nodes/round_trip_predictor.py'),
    # How long the middleware held a message, within bounds.
    'nodes/subscriptions.py',
    # Ages of files, and validity of certificates.
    *('nodes/shared_memory.py', 'offload/credentials.py'),
}
WALL_CLOCKS = {'time', 'time_ns', 'localtime', 'gmtime', 'ctime', 'now', 'utcnow', 'today'}


def test_deadlines_do_not_follow_the_system_clock() -> None:
    """A step of the wall clock must move no timeout: only the monotonic clock is asked."""
    package = Path(conversions.__file__).parent.parent
    rooms = ('nodes', 'offload', 'server', 'planning', 'execution', 'tracking', 'image', 'model')
    files = {f for room in rooms for f in (package / room).rglob('*.py')} | {
        package / 'pipeline.py'
    }
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            imported = isinstance(node, ast.ImportFrom) and node.module in ('time', 'datetime')
            names = {a.name for a in node.names} if imported else set()
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = {node.attr} if node.value.id in ('time', 'datetime', 'date') else set()
            if names & WALL_CLOCKS:
                found.add(str(file.relative_to(package)))
    assert found == STAMPS_OR_FILES


def test_the_time_of_a_message_in_the_queue_counts_unless_the_clock_was_set() -> None:
    now_ns = 1_700_000_000 * SECOND
    assert queued_s(now_ns - SECOND // 50, now_ns) == pytest.approx(0.02)
    for received_ns in (None, 0, now_ns + SECOND, now_ns - 5 * SECOND):
        assert queued_s(received_ns, now_ns) == 0


def test_an_image_that_is_too_old_is_skipped(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS, **{'input.max_age_ms': 2000.0})
    bench.peer.send(patch(RED), time.time_ns() - 5 * SECOND)
    assert graph.spin_until(lambda: bench.node.health.drops['too_old'] == 1)
    told = bench.diagnostics()['input']
    bench.peer.send(patch(RED), time.time_ns())
    assert graph.spin_until(lambda: bench.got(DETECTIONS))
    assert len(bench.got(DETECTIONS)) == 1
    assert 'a bag needs use_sim_time' in told.message
    bench.peer.send(patch(RED), 0)
    assert graph.spin_until(lambda: len(bench.got(DETECTIONS)) == 2), 'no stamp has no age'


def test_simulated_time_without_a_clock_is_told(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS, use_sim_time=True)
    bench.pass_frame()
    told = bench.diagnostics()['input']
    assert told.level == DiagnosticStatus.WARN
    assert '/clock has no publisher' in told.message
    # And no busy loop: a node that waits for a clock computes next to nothing.
    before_s = time.process_time()
    graph.spin_for(1.0)
    assert time.process_time() - before_s < 0.6


# Flow


def test_the_newest_image_wins(graph: RosGraph, tiny: Path) -> None:
    """60 Hz in, 5 Hz computed: an image is at most a period older than its computation."""
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    pipeline = bench.node.pipeline
    run = pipeline.run
    sent: list[int] = []
    picked: list[int] = []

    def slow(frame: Any, wanted: Any, deadline_s: Any, **_: Any) -> Any:
        picked.append(frame.stamp_ns // SECOND)
        # The camera does not wait for us: 12 images come while this one is computed.
        for _ in range(12):
            sent.append(len(sent) + 1)
            bench.peer.images.publish(image_message(patch(RED), sent[-1] * SECOND))
            time.sleep(1 / 60)
        newest.append(sent[-1])
        return run(frame, wanted, deadline_s)

    newest: list[int] = []
    pipeline.run = slow
    sent.append(1)
    bench.peer.images.publish(image_message(patch(RED), SECOND))
    assert graph.spin_until(lambda: len(picked) >= 4)
    pipeline.run = run
    # What is picked up next is the newest that there was when the last one was done.
    for done, then in zip(newest, picked[1:], strict=False):
        assert done - 1 <= then <= done
    assert bench.node.health.drops['superseded'] >= 3 * 10


def test_a_camera_that_dies_is_an_error_until_it_lives_again(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS, **{'input.timeout_ms': 300.0})
    bench.pass_frame()
    graph.spin_for(0.4)
    told = bench.diagnostics()['input']
    assert told.level == DiagnosticStatus.ERROR
    assert 'has a publisher that sends no images' in told.message
    bench.peer.destroy_publisher(bench.peer.images)
    graph.spin_for(0.3)
    assert 'no publisher on /image' in bench.diagnostics()['input'].message
    bench.peer.images = bench.peer.create_publisher(Image, '/image', 1)
    assert graph.spin_until(lambda: bench.connected)
    assert graph.spin_until(lambda: (bench.pass_frame(), graph.spin_for(0.05)) and healthy(bench))


def healthy(bench: Bench) -> bool:
    reports = bench.peer.got['/diagnostics']
    return any('input' in s.name and s.level == DiagnosticStatus.OK for s in reports[-1].status)


def test_a_topic_of_another_type_is_told(graph: RosGraph, tiny: Path) -> None:
    node = graph.add(PerceptionNode, model=str(tiny))
    with ros_graph() as elsewhere:
        elsewhere.add(lambda **kwargs: Node('other', **kwargs)).create_publisher(
            CompressedImage, '/image', 1
        )
        assert graph.spin_until(lambda: node.inputs and node.count_publishers('/image'))
        assert 'carries sensor_msgs/msg/CompressedImage' in node.inputs.silence_reason()


def test_incompatible_qos_of_a_listener_is_told(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny)
    bench.peer.listen(DETECTIONS, Detection2DArray, LATCHED)
    assert graph.spin_until(lambda: bench.node.health.qos_faults)
    told = bench.diagnostics()['input']
    assert told.level == DiagnosticStatus.WARN
    assert '/perception/detections' in told.message
    assert 'DURABILITY' in told.message


def test_incompatible_qos_of_the_camera_is_told(graph: RosGraph, tiny: Path) -> None:
    """QoS can be overridden by parameters; here so that it does not fit."""
    reliable = {'qos_overrides./image.subscription.reliability': 'reliable'}
    node = graph.add(PerceptionNode, model=str(tiny), **reliable)
    peer = graph.add(Peer)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    peer.destroy_publisher(peer.images)
    peer.create_publisher(Image, '/image', best_effort)
    assert graph.spin_until(lambda: node.health.qos_faults['/image'])
    assert 'is best effort' in node.inputs.silence_reason()


def test_an_unknown_qos_name_is_refused_and_not_replaced(graph: RosGraph, tiny: Path) -> None:
    wrong = {'qos_overrides./perception/detections.publisher.reliability': 'mostly'}
    node = graph.add(PerceptionNode, model=str(tiny), **wrong)
    assert graph.spin_until(lambda: node.fault)
    assert node.state == 'unconfigured'
    assert 'mostly' in node.fault


def test_two_publishers_of_one_topic_count_no_drops(graph: RosGraph, tiny: Path) -> None:
    """Each publisher numbers its own images."""
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    for _ in range(40):
        bench.pass_frame()
    other = bench.peer.create_publisher(Image, '/image', 1)
    assert graph.spin_until(
        lambda: other.get_subscription_count() and bench.node.count_publishers('/image') == 2
    )
    for n in range(20):
        for publisher in (bench.peer.images, other):
            before = bench.node.health.processed
            publisher.publish(image_message(patch(RED), (100 + n) * SECOND))
            assert graph.spin_until(lambda before=before: bench.node.health.processed > before)
    assert bench.node.health.received == 80
    assert not bench.node.health.drops


class Blocked:
    """A runner that blocks until it is released, as one that waits for a remote host."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.entered = threading.Event()
        self.released = threading.Event()

    def run(self, stage: Any, run: Any) -> None:
        self.entered.set()
        assert self.released.wait(60)
        self._runner.run(stage, run)


def test_a_frame_that_waits_stops_neither_services_nor_diagnostics(
    graph: RosGraph, split: Path
) -> None:
    bench = Bench(graph, split, DETECTIONS, STATS, **OFFLOADING, **{'input.timeout_ms': 500.0})
    reports = bench.peer.listen('/diagnostics', DiagnosticArray)
    client = bench.peer.create_client(SetParameters, '/perception/set_parameters')
    states = bench.peer.create_client(GetState, '/perception/get_state')
    assert graph.spin_until(lambda: client.service_is_ready() and states.service_is_ready())
    blocked = Blocked(bench.node.pipeline.runner)
    bench.node.pipeline.runner = blocked
    try:
        sent = 1
        bench.peer.send(patch(RED), SECOND)
        assert graph.spin_until(blocked.entered.is_set)
        reports.clear()
        value = Parameter('detection.max_detections', value=1).to_parameter_msg()
        answers = [
            client.call_async(SetParameters.Request(parameters=[value])),
            states.call_async(GetState.Request()),
        ]
        assert graph.spin_until(lambda: all(answer.done() for answer in answers))
        assert answers[0].result().results[0].successful
        # For several time-outs images arrive, and none is processed.
        while len(reports) < 3:
            sent += 1
            bench.peer.send(patch(RED), sent * SECOND)
            graph.spin_for(0.1)
    finally:
        blocked.released.set()
    for report in reports:
        (found,) = [s for s in report.status if s.name.endswith(': input')]
        assert found.level == DiagnosticStatus.OK, found.message
        assert 'no image' not in found.message
    health = bench.node.health
    assert graph.spin_until(lambda: health.processed == 2)
    assert graph.spin_until(lambda: len(bench.got(DETECTIONS)) == 2)
    # The newest image is the one that waited, and every image is accounted for.
    assert bench.got(DETECTIONS)[-1].header.stamp.sec == sent
    assert sent == health.processed + health.drops['superseded']
    # The parameter was set while the first frame was processed.
    assert [len(m.detections) > 1 for m in bench.got(DETECTIONS)] == [True, False]


def test_a_camera_that_dies_while_a_frame_waits_is_noticed(graph: RosGraph, split: Path) -> None:
    bench = Bench(graph, split, DETECTIONS, STATS, **OFFLOADING, **{'input.timeout_ms': 300.0})
    blocked = Blocked(bench.node.pipeline.runner)
    bench.node.pipeline.runner = blocked
    try:
        bench.peer.send(patch(RED), SECOND)
        assert graph.spin_until(blocked.entered.is_set)
        graph.spin_for(0.5)
        told = bench.diagnostics()['input']
    finally:
        blocked.released.set()
    assert told.level == DiagnosticStatus.ERROR
    assert 'no image for' in told.message


def test_a_node_that_is_deactivated_publishes_nothing_more(graph: RosGraph, split: Path) -> None:
    bench = Bench(graph, split, DETECTIONS, STATS, **OFFLOADING)
    blocked = Blocked(bench.node.pipeline.runner)
    bench.node.pipeline.runner = blocked
    try:
        for n in (1, 2):
            bench.peer.send(patch(RED), n * SECOND)
            assert graph.spin_until(blocked.entered.is_set)
        assert graph.spin_until(lambda: bench.node.health.arrived == 2)
        assert bench.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    finally:
        blocked.released.set()
    bench.node.trigger_activate()
    assert graph.spin_until(lambda: bench.connected)
    bench.stamp_s = 10
    bench.pass_frame()
    stamps = {m.header.stamp.sec for m in bench.got(DETECTIONS)}
    # The frame in progress may end after the node is active again; the waiting one never runs.
    assert stamps <= {1, 11}
    assert 11 in stamps


def test_two_nodes_of_one_name_are_a_warning(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    logged = bench.peer.listen('/rosout', Log)
    assert graph.spin_until(lambda: bench.peer.count_publishers('/rosout') > 0)
    assert bench.diagnostics()['perception'].level == DiagnosticStatus.OK
    with ros_graph() as elsewhere:
        elsewhere.add(PerceptionNode, model=str(tiny))

        def noticed() -> bool:
            elsewhere.spin_for(0.01)
            return 'another node is named /perception' in bench.diagnostics()['perception'].message

        assert graph.spin_until(noticed)
        assert bench.diagnostics()['perception'].level == DiagnosticStatus.WARN
        # Where nobody reads diagnostics the log says it too.
        assert graph.spin_until(lambda: any('another node is named' in m.msg for m in logged))


# Failing heads


def runner_with(model: Path, depth: onnx.ModelProto) -> Executor:
    """The model's blocks with another depth head, which loading the model would refuse."""
    sessions = dict(load_sessions(open_model(model)).by_block)
    sessions['depth'] = onnxruntime.InferenceSession(depth.SerializeToString())
    return Executor(SessionStore(sessions.__getitem__, dict.fromkeys(sessions, 0)))


def test_one_head_fails_and_the_others_go_on(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, DEPTH, SEGMENTATION, STATS)
    bench.node.pipeline.runner = runner_with(tiny, broken_head())
    for n in (1, 2):
        bench.peer.send(patch(RED), n * SECOND)
        assert graph.spin_until(
            lambda n=n: all(len(bench.got(t)) == n for t in (DETECTIONS, SEGMENTATION, STATS))
        )
    assert not bench.got(DEPTH)
    told = bench.diagnostics()['perception']
    assert told.level == DiagnosticStatus.ERROR
    assert 'depth' in told.message
    assert values(told)['failed.depth'] == '2'


@pytest.mark.parametrize('weight', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_published(graph: RosGraph, tiny: Path, weight: float) -> None:
    bench = Bench(graph, tiny, DETECTIONS, DEPTH, STATS)
    bench.node.pipeline.runner = runner_with(tiny, depth_head(weight))
    bench.peer.send(patch(RED), SECOND)
    assert graph.spin_until(lambda: bench.got(STATS) and bench.got(DETECTIONS))
    for message in bench.got(DEPTH):
        assert not np.isinf(conversions.depth_from(message)).any()


def test_a_defect_costs_its_frame_only_and_is_reported(
    graph: RosGraph, tiny: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS)
    run = bench.node.pipeline.run

    def broken(*arguments: Any, **more: Any) -> Any:
        raise ZeroDivisionError('a defect')

    bench.node.pipeline.run = broken
    for n in range(1, 21):
        bench.peer.send(patch(RED), n * SECOND)
        assert graph.spin_until(lambda n=n: bench.node.health.drops['internal_error'] == n)
    assert graph.spin_until(lambda: len(bench.got(STATS)) == 20)
    assert all(m.status[0].level == DiagnosticStatus.ERROR for m in bench.got(STATS))
    assert bench.node.health.processed == 0
    told = bench.diagnostics()
    bench.node.pipeline.run = run
    bench.stamp_s = 20
    bench.pass_frame()
    assert told['perception'].level == DiagnosticStatus.ERROR
    assert 'a defect' in told['perception'].message
    assert values(told['input'])['dropped.internal_error'] == '20'
    assert bench.got(DETECTIONS)
    assert capfd.readouterr().err.count('Traceback') == 1, 'not one for each frame'


def test_an_absent_provider_is_replaced_with_a_warning(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, STATS, **{'runtime.providers': ['CUDA', 'CPU']})
    bench.pass_frame()
    told = bench.diagnostics()['perception']
    assert told.level == DiagnosticStatus.WARN
    assert 'CUDA' in told.message
    assert values(told)['providers'] == 'CPUExecutionProvider'


# Parameters


def test_parameters_apply_to_the_next_frame(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny, DETECTIONS, DEPTH, STATS)
    bench.pass_frame()
    set_to = bench.node.set_parameters
    for name, value in (
        ('detection.classes', ['blue']),
        ('detection.classes', ['all']),
        ('detection.max_detections', 1),
        ('tasks.depth.enabled', False),
        ('input.size', 128),
    ):
        assert set_to([Parameter(name, value=value)])[0].successful, name
        bench.topics = tuple(
            t for t in bench.topics if t != DEPTH or name != 'tasks.depth.enabled'
        )
        bench.pass_frame()
    counts = [len(m.detections) for m in bench.got(DETECTIONS)]
    assert counts[0] > 1
    assert counts[1] == 0
    assert counts[2] == counts[0]
    assert counts[3] == 1
    stats = [values(m.status[0]) for m in bench.got(STATS)]
    assert [s['tasks'] for s in stats[-3:]] == ['detection depth', 'detection', 'detection']
    assert stats[-1]['network_width'] == '128'


def test_a_change_in_the_middle_of_a_frame_waits_for_the_next(graph: RosGraph, tiny: Path) -> None:
    points = '/perception/points'
    bench = Bench(graph, tiny, DETECTIONS, points, STATS)
    runner = bench.node.pipeline.runner

    class Meddling:
        def run(self, stage: Any, run: Any) -> None:
            for name, value in (('detection.max_detections', 1), ('points.stride', 4)):
                assert bench.node.set_parameters([Parameter(name, value=value)])[0].successful
            runner.run(stage, run)

    bench.node.pipeline.runner = Meddling()
    for _ in range(2):
        bench.pass_frame()
    assert graph.spin_until(lambda: len(bench.got(points)) == 2)
    assert [len(m.detections) > 1 for m in bench.got(DETECTIONS)] == [True, False]
    assert [m.width for m in bench.got(points)] == [64, 32]


def test_listeners_may_come_and_go_in_the_middle_of_a_frame(graph: RosGraph, split: Path) -> None:
    bench = Bench(graph, split, DETECTIONS, STATS, **OFFLOADING)
    runner = bench.node.pipeline.runner
    publishers = bench.node.processor.publishers
    late: list[Any] = []
    subscription = None
    for n in range(1, 7):
        blocked = Blocked(runner)
        bench.node.pipeline.runner = blocked
        bench.peer.send(patch(RED), n * SECOND)
        assert graph.spin_until(blocked.entered.is_set)
        if subscription is None:
            subscription = bench.peer.create_subscription(Image, DEPTH, late.append, 1)
        else:
            bench.peer.destroy_subscription(subscription)
            subscription = None
        count = 2 if subscription is None else 3
        assert graph.spin_until(lambda count=count: len(publishers.subscribed()) == count)
        blocked.released.set()
        assert graph.spin_until(lambda n=n: bench.has(STATS, n))
    # A listener that appears during one frame is served with the next.
    assert [values(m.status[0])['tasks'] for m in bench.got(STATS)] == [
        'detection',
        'detection depth',
    ] * 3


def test_what_the_model_cannot_do_is_refused(graph: RosGraph, tiny: Path) -> None:
    bench = Bench(graph, tiny)
    for name, value, words in (
        ('input.size', 67, 'multiple of 8'),
        ('input.size', 1024, '512'),
        ('detection.classes', ['unicorn'], 'unicorn'),
        ('model', '/elsewhere', 'clean up'),
        ('runtime.threads', 3, 'clean up'),
        ('runtime.memory_mb', 1.0, 'clean up'),
    ):
        result = bench.node.set_parameters([Parameter(name, value=value)])[0]
        assert not result.successful
        assert words in result.reason
    # The same again is no change.
    assert bench.node.set_parameters([Parameter('model', value=str(tiny))])[0].successful
    assert bench.node.pipeline.options.size == 0
