# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model with more tasks than three: each has its own topics, and runs when they are heard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_model import SEGMENTS, write_tiny_model

rclpy = pytest.importorskip('rclpy')

from ros_graph import Peer, RosGraph, patch, ros_graph
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.perception import PerceptionNode
from mt_perception.nodes.publishers import LATCHED

RED = (0, 0, 255)
SECOND = 10**9
EXTRA = {'doors': 'detection', 'free_space': 'segmentation', 'range': 'depth'}


@pytest.fixture
def graph() -> Iterator[RosGraph]:
    with ros_graph() as made:
        yield made


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


def test_relative_depth_has_a_topic_of_its_own_and_no_points(
    graph: RosGraph, tmp_path: Path
) -> None:
    def relative(manifest: dict[str, Any]) -> None:
        manifest['tasks']['depth']['outputs'] = {'inverse_depth': 'depth/depth_per_focal'}

    model = write_tiny_model(tmp_path, edit=relative)
    node: PerceptionNode = graph.add(PerceptionNode, model=str(model))
    peer: Peer = graph.add(Peer)
    found = peer.listen('/perception/depth/relative', Image)
    assert graph.spin_until(
        lambda: (
            node.state == ACTIVE
            and peer.images.get_subscription_count()
            and node.processor is not None
            and len(node.processor.publishers.subscribed()) == 1
        )
    )
    peer.send(patch(RED), SECOND, True)
    assert graph.spin_until(lambda: found)
    depth = np.frombuffer(bytes(found[0].data), np.float32)
    assert np.median(depth) == pytest.approx(1)
    topics = {name for name, _ in node.get_topic_names_and_types()}
    assert '/perception/depth/relative' in topics
    assert not topics & {'/perception/depth/image', '/perception/points'}
