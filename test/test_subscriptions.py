# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images and their camera infos, remapped topics, and why no image arrives."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')
from fake_node import FakeNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from ros_graph import camera_info, image_message, patch
from sensor_msgs.msg import CameraInfo

from mt_perception.nodes import subscriptions
from mt_perception.nodes.qos_events import QosEvents
from mt_perception.nodes.subscriptions import ImageSubscription


class Images:
    """An image subscription and what it delivered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, transport: str = 'raw') -> None:
        times = SimpleNamespace(monotonic=lambda: 100.0, time_ns=lambda: 10**18)
        monkeypatch.setattr(subscriptions, 'time', times)
        self.node, self.arrived, self.superseded = FakeNode(), [], 0
        self.delivered: list[tuple[int, int | None, float]] = []
        self.events = QosEvents(self.node, lambda topic, policy: None)  # type: ignore[arg-type]
        self.made = ImageSubscription(
            self.node,  # type: ignore[arg-type]
            transport,
            lambda *seen: self.arrived.append(seen),
            self._on_image,
            self._on_superseded,
            self.events,
        )
        self.infos, self.images = self.node.subscriptions

    def _on_image(self, message: Any, info: CameraInfo | None, arrived_s: float) -> None:
        width = None if info is None else info.width
        self.delivered.append((message.header.stamp.nanosec, width, arrived_s))

    def _on_superseded(self) -> None:
        self.superseded += 1

    def image(self, nanosec: int, **info: Any) -> None:
        self.images.callback(image_message(patch((0, 0, 0), 40, 40), nanosec), info)

    def publishers(self, images: int, infos: int) -> None:
        self.node.publishers = {'/cam/image': [0] * images, '/cam/camera_info': [0] * infos}


def test_images_are_held_for_their_camera_info(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Images(monkeypatch)
    found.publishers(1, 1)
    assert not found.made.is_flowing(0.0)
    found.image(1, publication_sequence_number=7, received_timestamp=10**18 - 20_000_000)
    assert found.arrived == [(pytest.approx(99.98), 7)]
    assert found.delivered == []
    assert [timer.period_s for timer in found.node.timers] == [0.05]
    assert not found.made.is_flowing(99.0), 'one waits'
    assert not found.events.due
    # A newer image comes first; then nothing is waited for.
    found.image(2)
    assert (found.superseded, found.node.timers) == (1, [])
    assert found.delivered == [(2, None, 100.0)]
    assert found.made.is_flowing(99.9)
    assert not found.made.is_flowing(100.0)
    # Infos that have arrived are taken with the image.
    info = serialize_message(camera_info(64, 48, 3))
    found.infos.handle.queue = [info, b'\x00\x01\x00\x00broken', info]
    found.image(3)
    assert found.delivered[-1] == (3, 64, 100.0)
    found.image(4)
    assert len(found.delivered) == 2
    (timer,) = found.node.timers
    timer.callback()
    assert found.delivered[-1] == (4, 64, 100.0)
    assert found.node.timers == []
    # The next info of this camera, written by a machine of the other byte order.
    other = b'\x00\x00\x00\x00' + struct.pack('>iI', 5, 6) + info[12:]
    found.infos.callback(other)
    message = image_message(patch((0, 0, 0), 40, 40), 5_000_000_006)
    found.images.handle.queue = [message]
    found.made.take()
    found.made.take()
    assert found.delivered[3:] == [(6, 64, 100.0)]
    assert found.superseded == 1
    found.publishers(2, 1)
    found.image(7, publication_sequence_number=8)
    assert found.arrived[-1] == (100.0, None), 'of two publishers each counts for itself'
    assert len(found.node.timers) == 1
    awaited = found.infos.options['callback_group']
    for entity, expected in ((found.images, True), (found.infos, True)):
        subscription = SimpleNamespace(msg_type=entity.msg_type)
        monkeypatch.setattr(subscriptions, 'Subscription', SimpleNamespace)
        assert awaited._is_wanted(subscription) == expected
    found.made.destroy()
    assert (found.node.timers, found.node.subscriptions) == ([], [])


def test_topics_follow_remappings(monkeypatch: pytest.MonkeyPatch) -> None:
    for transport, remapped, expected in (
        ('raw', {}, ('/cam/image', '/cam/camera_info')),
        ('compressed', {}, ('/cam/image/compressed', '/cam/camera_info')),
        ('raw', {'image': '/a/raw'}, ('/a/raw', '/a/camera_info')),
        ('compressed', {'image': '/a/raw'}, ('/a/raw/compressed', '/a/camera_info')),
        ('compressed', {'image': '/a/b/compressed'}, ('/a/b/compressed', '/a/camera_info')),
        ('compressed', {'image/compressed': '/c/jpeg'}, ('/c/jpeg', '/c/camera_info')),
        ('raw', {'image/compressed': '/c/jpeg'}, ('/cam/image', '/cam/camera_info')),
        ('raw', {'camera_info': '/d/info'}, ('/cam/image', '/d/info')),
    ):
        node: Any = FakeNode()
        node.remapped = remapped
        assert subscriptions.topics(node, transport) == expected


def test_silence_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Images(monkeypatch)
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

    def reason(*kinds: str) -> str:
        found.node.publishers['/cam/image'] = [
            SimpleNamespace(topic_type=f'sensor_msgs/msg/{kind}', qos_profile=profile)
            for kind in kinds
        ]
        return found.made.silence_reason()

    assert reason() == (
        'no publisher on /cam/image; start the camera, or correct the topic (of a node: remap '
        '`image`)'
    )
    assert reason('PointCloud2', 'CompressedImage') == (
        '/cam/image carries sensor_msgs/msg/CompressedImage, sensor_msgs/msg/PointCloud2, '
        'expected sensor_msgs/msg/Image; check the remapping of `image` and input.transport'
    )
    silent = '/cam/image has a publisher that sends no images; check the camera'
    assert reason('Image') == silent
    found.images.qos_profile.reliability = ReliabilityPolicy.RELIABLE
    assert reason('Image') == (
        'the publisher of /cam/image is best effort, but qos_overrides request reliable; remove '
        'that override'
    )
    profile.reliability = ReliabilityPolicy.RELIABLE
    assert reason('Image') == silent
