# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scale of depth in the node, over DDS: TF, an IMU, a calibration, and what is wrong."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('tf2_msgs', reason='needs tf2_msgs')

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from rclpy.parameter import Parameter
from ros_graph import Peer, RosGraph, image_message, ros_time
from sensor_msgs.msg import Image, Imu
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tiny_model import DEPTH_OF_WHITE, write_tiny_model

from mt_perception.errors import CameraError, OptionError
from mt_perception.geometry.depth_calibration import read_calibration
from mt_perception.geometry.ground import ground_depth
from mt_perception.geometry.plane import GroundPlane
from mt_perception.geometry.rays import pixel_rays
from mt_perception.nodes.ground_source import MAX_AGE_S, GroundSource
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.perception import PerceptionNode
from mt_perception.nodes.publishers import LATCHED
from mt_perception.types import Intrinsics

SIZE = 64
# Nearly as in ros_graph.camera_info: a focal length of 100 pixels.
CAMERA = Intrinsics(100.0, 100.0, 31.5, 31.5, SIZE, SIZE)
HEIGHT_M, PITCH_DEG, WRONG = 0.3, 40.0, 0.5
FLOOR = ground_depth(
    GroundPlane.from_angles(HEIGHT_M, PITCH_DEG),
    *pixel_rays(CAMERA),
)


def picture() -> np.ndarray:
    """A grey floor whose brightness is half of the true depth for the tiny model."""
    white = DEPTH_OF_WHITE * CAMERA.fx
    grey = np.clip(WRONG * FLOOR / white * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def floor_message(stamp_ns: int) -> Image:
    """The true depth of the floor, as a depth camera publishes it."""
    message = image_message(np.zeros((SIZE, SIZE), np.uint8), stamp_ns)
    message.encoding, message.step = '32FC1', 4 * SIZE
    message.header.stamp = ros_time(stamp_ns)
    message.data = FLOOR.astype(np.float32).tobytes()
    return message


def all_ground(manifest: dict[str, Any]) -> None:
    """The tiny model segments grey; here that is the ground."""
    manifest['tasks']['segmentation']['labels'][-1] = 'ground'


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny_model(tmp_path / 'model', edit=all_ground))


class Robot:
    """A peer that sends a floor and reads ~/stats."""

    def __init__(self, graph: RosGraph, model: str, **parameters: Any) -> None:
        self.graph = graph
        self.node = graph.add(PerceptionNode, model=model, **parameters)
        self.peer: Peer = graph.add(Peer)
        self.depth = self.peer.listen('/perception/depth/image', Image)
        self.stats = self.peer.listen('/perception/stats', DiagnosticArray)
        self.tf = self.peer.create_publisher(TFMessage, '/tf_static', LATCHED)
        self.stamp_ns = 10**9

    def frame(self) -> dict[str, str]:
        """Send one image; return its statistics."""
        self.stamp_ns += 100_000_000
        before = len(self.stats)

        def arrived() -> bool:
            if len(self.stats) == before:
                self.peer.send(picture(), self.stamp_ns)
            return len(self.stats) > before

        assert self.graph.spin_until(arrived)
        return {v.key: v.value for v in self.stats[-1].status[0].values}

    def until(self, key: str, value: str) -> dict[str, str]:
        """Send images until a value of the statistics is as wanted."""
        for _ in range(40):
            found = self.frame()
            if value in found.get(key, ''):
                return found
        raise AssertionError(f'{key} is {found.get(key)}, wanted {value}')

    def place_camera(self, height_m: float, parent: str = 'base_footprint') -> None:
        """Publish the mounting: x forward in the base is z forward, pitched down."""
        half = np.radians(90 + PITCH_DEG) / 2
        # Pitched about y of the base, then the optical axes: (x, y, z) = (-y, -z, x).
        about_y = np.array([0, np.sin(half - np.pi / 4), 0, np.cos(half - np.pi / 4)])
        optical = np.array([-0.5, 0.5, -0.5, 0.5])
        x, y, z, w = _product(about_y, optical)
        one = TransformStamped(child_frame_id='camera_optical')
        one.header.frame_id = parent
        one.transform.translation.z = height_m
        rotation = one.transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = x, y, z, w
        self.tf.publish(TFMessage(transforms=[one]))


def _product(a: np.ndarray, b: np.ndarray) -> list[float]:
    u, v, p, q = a[:3], b[:3], a[3], b[3]
    return [*(p * v + q * u + np.cross(u, v)).tolist(), float(p * q - u @ v)]


def test_the_scale_comes_from_tf_and_a_jump_is_ignored(graph: RosGraph, model: str) -> None:
    robot = Robot(graph, model, **{'depth.scale': 'ground', 'depth.ground_source': 'tf'})
    found = robot.frame()
    assert found['depth_scale.source'] == 'network', 'there is no transform yet'
    assert 'there is no transform from' in found['depth_scale.refused']
    robot.place_camera(HEIGHT_M)
    found = robot.until('depth_scale.source', 'ground')
    factor = float(found['depth_scale.factor'])
    assert factor == pytest.approx(1 / WRONG, rel=0.1)
    depth = np.frombuffer(bytes(robot.depth[-1].data), np.float32).reshape(SIZE, SIZE)
    middle = slice(16, 48)
    np.testing.assert_allclose(depth[middle, middle], FLOOR[middle, middle], rtol=0.1)
    robot.place_camera(3.0)
    found = robot.until('depth_scale.refused', 'jumped from 0.30 m')
    assert float(found['depth_scale.factor']) == pytest.approx(factor, rel=0.02)


def test_the_height_and_the_source_are_live_parameters(graph: RosGraph, model: str) -> None:
    robot = Robot(graph, model)
    assert robot.frame()['depth_scale.source'] == 'network'
    parameters = {
        'depth.scale': 'ground',
        'depth.camera_height_m': HEIGHT_M,
        'depth.camera_pitch_deg': PITCH_DEG,
    }
    for name, value in parameters.items():
        (result,) = robot.node.set_parameters([Parameter(name, value=value)])
        assert result.successful, result.reason
    robot.until('depth_scale.source', 'ground')
    imu = robot.peer.create_publisher(Imu, '/imu', 5)
    robot.node.set_parameters([Parameter('depth.ground_source', value='imu')])
    found = robot.until('depth_scale.source', 'network')
    assert 'no message on /imu yet' in found['depth_scale.refused']

    up = Imu()
    up.header.frame_id = 'camera_optical'
    plane = GroundPlane.from_angles(HEIGHT_M, PITCH_DEG)
    acceleration = up.linear_acceleration
    acceleration.x, acceleration.y, acceleration.z = (-9.81 * v for v in plane.normal)
    imu.publish(up)
    robot.graph.spin_for(0.1)
    for _ in range(20):
        imu.publish(up)
        if robot.frame()['depth_scale.source'] == 'ground':
            break
    else:
        raise AssertionError('the IMU gives no ground')
    (result,) = robot.node.set_parameters([Parameter('depth.scale', value='calibration')])
    assert not result.successful
    assert 'no calibration file' in result.reason


def test_a_live_calibration_file_exists_or_can_be_written(
    graph: RosGraph, model: str, tmp_path: Path
) -> None:
    """With depth.scale none, too."""
    robot = Robot(graph, model)
    robot.frame()

    def refusal(**changes: str) -> str:
        result = robot.node.set_parameters_atomically(
            [
                Parameter(f'depth.calibration_{name}', value=value)
                for name, value in changes.items()
            ]
        )
        assert result.successful == (not result.reason)
        return str(result.reason)

    missing = str(tmp_path / 'none.yaml')
    assert f'{missing} does not exist' in refusal(file=missing)
    other = tmp_path / 'other.yaml'
    other.write_text('a: 1\n')
    assert 'not a depth calibration' in refusal(file=str(other), topic='/depth_camera')
    # No user of this name, and a name that no file system takes: neither ends the node.
    for never in ('~nobody-of-this-name/x', 'x' * 300):
        assert 'does not exist' in refusal(file=never)
    assert not refusal(file=missing, topic='/depth_camera')
    assert f'{missing} does not exist' in refusal(topic='')


def test_calibrate_checks_its_file_before_it_collects(
    graph: RosGraph, model: str, tmp_path: Path
) -> None:
    file = tmp_path / 'notes.yaml'
    parameters = {'depth.calibration_file': str(file), 'depth.calibration_topic': '/depth_camera'}
    robot = Robot(graph, model, **parameters)
    client = robot.peer.create_client(Trigger, '/perception/calibrate')
    robot.frame()
    file.write_text('of somebody else\n')
    robot.node.processor.calibration.duration_s = 3600.0
    assert graph.spin_until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    assert graph.spin_until(future.done)
    assert not future.result().success
    assert 'did not write it' in future.result().message
    assert not robot.node.processor.calibration.is_collecting


def test_calibrate_subscribes_a_lazy_input(graph: RosGraph, model: str, tmp_path: Path) -> None:
    parameters = {
        'input.lazy': True,
        'depth.calibration_file': str(tmp_path / 'depth.yaml'),
        'depth.calibration_topic': '/depth_camera',
    }
    node = graph.add(PerceptionNode, model=model, **parameters)
    peer = graph.add(Peer)
    client = peer.create_client(Trigger, '/perception/calibrate')
    assert graph.spin_until(lambda: client.service_is_ready() and node.processor)
    assert graph.spin_until(lambda: node.inputs is None)
    node.processor.calibration.duration_s = 1.0
    future = client.call_async(Trigger.Request())
    assert graph.spin_until(lambda: node.inputs is not None)
    assert graph.spin_until(future.done)
    assert 'no depth image arrived on /depth_camera in 1 s' in future.result().message
    assert graph.spin_until(lambda: node.inputs is None)
    sensor = peer.create_publisher(Image, '/depth_camera', 5)
    future = client.call_async(Trigger.Request())
    while not future.done():
        sensor.publish(floor_message(10**9))
        graph.spin_for(0.05)
    assert 'no image was processed in 1 s' in future.result().message


@pytest.mark.parametrize(('scale', 'after'), [('none', 'calibration'), ('ground', 'both')])
def test_a_depth_camera_calibrates_the_node(
    graph: RosGraph, model: str, tmp_path: Path, scale: str, after: str
) -> None:
    """Also while the ground scales depth: the calibration is of the network."""
    file = tmp_path / 'depth.yaml'
    parameters = {
        'depth.scale': scale,
        'depth.camera_height_m': HEIGHT_M,
        'depth.camera_pitch_deg': PITCH_DEG,
        'depth.calibration_file': str(file),
        'depth.calibration_topic': '/depth_camera',
    }
    robot = Robot(graph, model, **parameters)
    client = robot.peer.create_client(Trigger, '/perception/calibrate')
    sensor = robot.peer.create_publisher(Image, '/depth_camera', 5)
    robot.frame()
    robot.node.processor.calibration.duration_s = 2.0
    assert graph.spin_until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    assert graph.spin_until(lambda: robot.node.processor.calibration.is_collecting)
    while not future.done():
        sensor.publish(floor_message(robot.stamp_ns + 100_000_000))
        robot.frame()
    response = future.result()
    assert response.success, response.message
    assert read_calibration(file).fit.factor == pytest.approx(1 / WRONG, rel=0.1)
    found = robot.until('depth_scale.source', after)
    assert float(found['depth_scale.factor']) == pytest.approx(1 / WRONG, rel=0.1)


class Subscriptions:
    """Stands for a node that only subscribes."""

    def __init__(self) -> None:
        self.topics: dict[str, Any] = {}

    def create_subscription(self, kind: type, topic: str, callback: Any, qos: Any) -> str:
        self.topics[topic] = callback, qos.depth, qos.reliability.name, qos.durability.name
        return topic

    def destroy_subscription(self, topic: str) -> None:
        del self.topics[topic]

    def resolve_topic_name(self, topic: str) -> str:
        return f'/{topic}'


def test_ground_topics_are_subscribed_while_they_are_needed() -> None:
    node = Subscriptions()
    source = GroundSource(node)  # type: ignore[arg-type]
    settings = PerceptionSettings(depth_scale='ground', depth_ground_source='imu')
    source.follow(settings)
    assert {topic: qos for topic, (_, *qos) in node.topics.items()} == {
        '/tf': [100, 'RELIABLE', 'VOLATILE'],
        '/tf_static': [100, 'RELIABLE', 'TRANSIENT_LOCAL'],
        'imu': [5, 'BEST_EFFORT', 'VOLATILE'],
    }
    source.follow(replace(settings, depth_ground_source='tf'))
    assert set(node.topics) == {'/tf', '/tf_static'}
    for other in ({'depth_scale': 'none'}, {'depth_ground_source': 'parameters'}):
        source.follow(replace(settings, **other))
        assert not node.topics
        assert source.plane('camera', settings) is None
        source.follow(settings)


class Gravity:
    """A ground source that reads an IMU, without a node."""

    def __init__(self) -> None:
        self.node = Subscriptions()
        self.now_s = 1000.0
        self.source = GroundSource(self.node, lambda: self.now_s)  # type: ignore[arg-type]
        self.settings = PerceptionSettings(
            depth_scale='ground', depth_ground_source='imu', depth_camera_height_m=0.5
        )
        self.source.follow(self.settings)

    def measure(self, *acceleration: float, frame_id: str = 'camera') -> tuple[float, ...]:
        """Send an acceleration; return the direction down."""
        message = Imu()
        message.header.frame_id = frame_id
        to = message.linear_acceleration
        to.x, to.y, to.z = acceleration
        self.node.topics['imu'][0](message)
        plane = self.source.plane('camera', self.settings)
        assert plane is not None
        assert plane.height_m == 0.5
        return plane.normal


def test_gravity_is_the_median_of_about_a_hundred_accelerations() -> None:
    imu, rng = Gravity(), np.random.default_rng(0)
    # Gravity is felt upwards, and y of a camera points down.
    assert imu.measure(0, -10, 0) == pytest.approx((0, 1, 0))
    for _ in range(101):
        normal = imu.measure(*(np.array([0, -10, 0]) + rng.normal(0, 1, 3)))
    assert normal == pytest.approx((0, 1, 0), abs=0.05)
    turned = pytest.approx((1, 0, 0), abs=0.05)
    count = next(count for count in range(101) if imu.measure(-10, 0, 0) == turned)
    assert 40 < count < 100, 'a turn is followed'


def test_an_imu_that_stopped_is_not_used_and_begins_anew() -> None:
    imu = Gravity()
    for _ in range(9):
        imu.measure(0, -10, 0)
    imu.now_s += MAX_AGE_S
    assert imu.source.plane('camera', imu.settings) is not None
    imu.now_s += 0.1
    with pytest.raises(CameraError, match='no message on /imu in the last 5 s'):
        imu.source.plane('camera', imu.settings)
    assert imu.measure(-10, 0, 0) == (1, 0, 0), 'what was measured before is not used'


@pytest.mark.parametrize('topic', ['/tf', '/tf_static'])
def test_a_transform_that_stopped_is_not_used_unless_it_is_static(topic: str) -> None:
    node, now_s = Subscriptions(), [1000.0]
    source = GroundSource(node, lambda: now_s[0])  # type: ignore[arg-type]
    settings = PerceptionSettings(depth_scale='ground', depth_ground_source='tf')
    source.follow(settings)
    pose = TransformStamped(child_frame_id='camera')
    pose.header.frame_id = 'base_footprint'
    pose.transform.translation.z = HEIGHT_M
    node.topics[topic][0](TFMessage(transforms=[pose]))
    now_s[0] += MAX_AGE_S
    plane = source.plane('camera', settings)
    assert plane is not None
    now_s[0] += 0.1
    if topic == '/tf_static':
        assert source.plane('camera', settings) == plane
        return
    with pytest.raises(CameraError, match='stopped arriving'):
        source.plane('camera', settings)
    node.topics[topic][0](TFMessage(transforms=[pose]))
    assert source.plane('camera', settings) == plane


@pytest.mark.parametrize('bad', [1e6, -1e300, 1e12, np.nan, np.inf, 0.0])
@pytest.mark.parametrize('at', [1, 5, 50])
def test_a_bad_reading_costs_itself_only(bad: float, at: int) -> None:
    imu = Gravity()
    for step in range(60):
        if step in (at, at + 3):
            with suppress(OptionError):
                # The second of all readings is as likely as the first.
                imu.measure(bad, bad, bad)
            continue
        normal = imu.measure(0, -10, 0)
        assert normal == pytest.approx((0, 1, 0)) or step <= 2
    assert normal == pytest.approx((0, 1, 0))


def test_another_imu_begins_anew_with_its_second_message() -> None:
    imu = Gravity()
    imu.measure(0, -10, 0)
    assert imu.measure(0, -10, 0, frame_id='/camera') == (0, 1, 0)
    before = imu.measure(0.1, -10, 0)
    assert imu.measure(-10, 0, 0, frame_id='other') == before
    assert imu.measure(0, -10, 0) == before
    assert imu.measure(-10, 0, 0, frame_id='other') == before
    with pytest.raises(CameraError, match="transform from 'other' to 'camera'"):
        imu.measure(-10, 0, 0, frame_id='other')
