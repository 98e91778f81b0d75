# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model with more tasks than three: each has its own topics, and runs when they are heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_model import SEGMENTS, with_confidence, write_tiny_model

rclpy = pytest.importorskip('rclpy')

from rclpy.parameter import Parameter
from ros_graph import Peer, RosGraph, patch
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import Detection2DArray, LabelInfo

from mt_perception.geometry.points import POINT
from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.perception import PerceptionNode
from mt_perception.nodes.publishers import LATCHED
from mt_perception.types import UNLABELLED

RED = (0, 0, 255)
SECOND = 10**9
EXTRA = {'doors': 'detection', 'free_space': 'segmentation', 'range': 'depth'}


@pytest.fixture
def six_tasks(tmp_path: Path) -> Path:
    """The tiny model with a second task of each kind, on the same blocks."""
    folder = write_tiny_model(tmp_path)
    manifest = yaml.safe_load((folder / 'manifest.yaml').read_text())
    for name, kind in EXTRA.items():
        manifest['tasks'][name] = dict(manifest['tasks'][kind])
    (folder / 'manifest.yaml').write_text(yaml.safe_dump(manifest, sort_keys=False))
    return folder


def test_every_task_of_a_model_has_its_topics(graph: RosGraph, six_tasks: Path) -> None:
    node: PerceptionNode = graph.add(PerceptionNode, model=str(six_tasks))
    peer: Peer = graph.add(Peer)
    doors = peer.listen('/perception/doors/detections', Detection2DArray)
    mask = peer.listen('/perception/free_space/image', Image)
    distance = peer.listen('/perception/range/image', Image)
    labels = peer.listen('/perception/free_space/label_info', LabelInfo, LATCHED)
    assert graph.spin_until(
        lambda: (
            node.state == ACTIVE
            and peer.images.get_subscription_count()
            and node.processor is not None
            and len(node.processor.publishers.subscribed()) == len(EXTRA)
        )
    )
    peer.send(patch(RED), SECOND, True)
    assert graph.spin_until(lambda: doors and mask and distance and labels)
    assert {d.results[0].hypothesis.class_id for d in doors[0].detections} == {'red'}
    assert mask[0].encoding == 'mono8'
    assert distance[0].encoding == '32FC1'
    assert [entry.class_name for entry in labels[0].class_map] == list(SEGMENTS)
    headers = [message.header for message in (doors[0], mask[0], distance[0])]
    assert all((h.stamp.sec, h.frame_id) == (1, 'camera_optical') for h in headers)


def test_relative_depth_has_a_topic_of_its_own_and_no_metres(
    graph: RosGraph, tmp_path: Path
) -> None:
    def relative(manifest: dict[str, Any]) -> None:
        manifest['tasks']['depth']['outputs'] = {'inverse_depth': 'depth/depth_per_focal'}

    model = write_tiny_model(tmp_path, edit=relative)
    node: PerceptionNode = graph.add(PerceptionNode, model=str(model))
    peer: Peer = graph.add(Peer)
    found = peer.listen('/perception/depth/relative', Image)
    metric = peer.listen('/perception/depth/image', Image)
    assert graph.spin_until(
        lambda: (
            node.state == ACTIVE
            and peer.images.get_subscription_count()
            and node.processor is not None
            and len(node.processor.publishers.subscribed()) == 2
        )
    )
    peer.send(patch(RED), SECOND, True)
    assert graph.spin_until(lambda: found)
    depth = np.frombuffer(bytes(found[0].data), np.float32)
    assert np.median(depth) == pytest.approx(1)
    # Messages of the first frame have arrived when those of the second arrive.
    peer.send(patch(RED), 2 * SECOND, True)
    assert graph.spin_until(lambda: len(found) == 2)
    assert not metric


BLUE = (255, 0, 0)
ROOM_LABELS = ('sky', 'plant', 'object', 'ground')
"""Names of blue, green, red and grey."""
HORIZON, FOCAL_PX, CAMERA_M = 191.5, 100.0, 0.3


def room() -> np.ndarray:
    """A red board of 0.2 m on flat grey ground under a blue sky, for the model that sees colours.

    The network's depth is 2 m where the image is white, and 2/3 m where it is red or blue.
    """
    image = np.full((384, 512, 3), BLUE, np.uint8)
    rows = np.arange(208, 384)
    depth_m = CAMERA_M * FOCAL_PX / (rows - HORIZON)
    image[208:] = np.rint(255 * depth_m / 2).clip(0, 255).astype(np.uint8)[:, None, None]
    image[208:236, 240:272] = RED
    return image


@pytest.fixture
def sighted(tmp_path: Path) -> Path:
    """The tiny model with a confidence and the names of a room."""
    folder = with_confidence(tmp_path)
    manifest = yaml.safe_load((folder / 'manifest.yaml').read_text())
    manifest['tasks']['segmentation']['labels'] = list(ROOM_LABELS)
    (folder / 'manifest.yaml').write_text(yaml.safe_dump(manifest, sort_keys=False))
    return folder


class Room:
    """A perception node that sees the room, and listeners to some of its topics."""

    def __init__(
        self, graph: RosGraph, model: Path, topics: dict[str, type], **settings: Any
    ) -> None:
        self.graph = graph
        self.node: PerceptionNode = graph.add(
            PerceptionNode, model=str(model), **{'input.size': 512, **settings}
        )
        self.peer: Peer = graph.add(Peer)
        self.got = {t: self.peer.listen(f'/perception/{t}', kind) for t, kind in topics.items()}
        self.stamp_ns = 0
        assert graph.spin_until(
            lambda: (
                self.node.state == ACTIVE
                and self.peer.images.get_subscription_count()
                and self.peer.infos.get_subscription_count()
                and self.node.processor is not None
                and len(self.node.processor.publishers.subscribed()) == len(topics)
            )
        )

    def see(self, image: np.ndarray) -> None:
        """Send an image and wait until it was processed."""
        before = self.node.health.processed
        self.stamp_ns += SECOND
        self.peer.send(image, self.stamp_ns)
        assert self.graph.spin_until(lambda: self.node.health.processed > before)


def cloud(message: PointCloud2) -> np.ndarray:
    fields = {field.name: (field.offset, field.datatype) for field in message.fields}
    assert fields['label'] == (POINT.fields['label'][1], 2)  # PointField.UINT8
    return np.frombuffer(bytes(message.data), POINT)


def test_obstacles_stand_above_the_ground(graph: RosGraph, sighted: Path) -> None:
    settings = {'obstacles.stride': 4, 'obstacles.voxel_m': 0.0, 'obstacles.min_height_m': 0.08}
    seen = Room(graph, sighted, {'obstacles': PointCloud2}, **settings)
    seen.see(room())
    assert graph.spin_until(lambda: seen.got['obstacles'])
    message = seen.got['obstacles'][0]
    assert (message.header.frame_id, message.header.stamp.sec) == ('camera_optical', 1)
    points = cloud(message)
    assert (message.height, message.width) == (1, len(points))
    assert len(points) > 10
    assert set(points['label']) == {ROOM_LABELS.index('object')}
    assert points['z'] == pytest.approx(2 / 3, abs=0.05)
    # The camera is 0.3 m above the ground and y points down: 0.08 m to 0.2 m above it.
    assert points['y'].min() > 0.3 - 0.22
    assert points['y'].max() < 0.3 - 0.06
    # No board: an empty cloud, which says that the way is free.
    empty = room()
    empty[208:236, 240:272] = empty[208:236, :32]
    seen.see(empty)
    assert graph.spin_until(lambda: len(seen.got['obstacles']) == 2)
    assert seen.got['obstacles'][1].width == 0


def test_without_any_ground_the_last_plane_holds(graph: RosGraph, sighted: Path) -> None:
    seen = Room(graph, sighted, {'obstacles': PointCloud2})
    wall = np.full((384, 512, 3), RED, np.uint8)
    seen.see(wall)
    assert not seen.got['obstacles']
    assert graph.spin_until(lambda: 'ground_unknown' in seen.node.health._warnings)
    seen.see(room())
    assert graph.spin_until(lambda: len(seen.got['obstacles']) == 1)
    seen.see(wall)
    assert graph.spin_until(lambda: len(seen.got['obstacles']) == 2)
    assert seen.got['obstacles'][1].width > 50


def test_points_have_labels_where_they_are_wanted(graph: RosGraph, sighted: Path) -> None:
    seen = Room(graph, sighted, {'points': PointCloud2})
    seen.see(room())
    assert graph.spin_until(lambda: seen.got['points'])
    assert set(cloud(seen.got['points'][0])['label']) == {UNLABELLED}
    assert seen.node.processor.pipeline.state.last.blocks == ('trunk', 'depth')
    (set_to,) = seen.node.set_parameters([Parameter('points.labels', value=True)])
    assert set_to.successful
    seen.see(room())
    assert graph.spin_until(lambda: len(seen.got['points']) == 2)
    found = cloud(seen.got['points'][1])['label'].reshape(192, 256)
    assert found[110, 128] == ROOM_LABELS.index('object')
    assert found[180, 128] == ROOM_LABELS.index('ground')


def test_instances_have_the_ids_of_the_detections(graph: RosGraph, sighted: Path) -> None:
    topics = {'instances/image': Image, 'detections': Detection2DArray}
    seen = Room(graph, sighted, topics, **{'detection.classes': ['red']})
    seen.see(room())
    assert graph.spin_until(lambda: all(seen.got.values()))
    message, boxes = seen.got['instances/image'][0], seen.got['detections'][0]
    assert (message.encoding, message.step) == ('mono16', 1024)
    assert message.header == boxes.header
    image = np.frombuffer(bytes(message.data), np.uint16).reshape(384, 512)
    ids = {int(found.id) for found in boxes.detections}
    assert ids
    assert set(np.unique(image[212:232, 244:268])) <= ids
    assert (image[300:] == 0).all()


def test_confidence_costs_nothing_unseen(graph: RosGraph, sighted: Path) -> None:
    seen = Room(graph, sighted, {'segmentation/confidence': Image})
    seen.see(room())
    assert graph.spin_until(lambda: seen.got['segmentation/confidence'])
    message = seen.got['segmentation/confidence'][0]
    assert message.encoding == 'mono8'
    found = np.frombuffer(bytes(message.data), np.uint8).reshape(384, 512)
    # Logits: red 2/3 against -1/3, -1/3 and 0.15.
    red = np.exp(2 / 3) / (np.exp(2 / 3) + 2 * np.exp(-1 / 3) + np.exp(0.15))
    assert found[220, 256] == pytest.approx(255 * red, abs=2)


def test_a_model_without_logits_has_no_confidence(graph: RosGraph, tmp_path: Path) -> None:
    node: PerceptionNode = graph.add(PerceptionNode, model=str(write_tiny_model(tmp_path)))
    assert graph.spin_until(lambda: node.state == ACTIVE)
    topics = {name for name, _ in node.get_topic_names_and_types()}
    assert '/perception/segmentation/image' in topics
    assert '/perception/segmentation/confidence' not in topics
