# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who publishes and who listens on a topic, and which of them cannot hear each other."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from mt_perception.nodes.main import use_shared_memory

DISCOVERY_S = 2.0
OURSELVES = 'the perception node'
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


@dataclass(frozen=True)
class Endpoint:
    """One publisher or subscriber.

    Attributes:
        node: Full name of its node.
        type: Type of the messages.
        qos: Reliability, durability, history and depth in words.
        publishes: Whether it is a publisher.
        complaint: With whom it cannot talk and why; empty if it can with all.
    """

    node: str
    type: str
    qos: str
    publishes: bool
    complaint: str


def topic_report(topic: str, patience_s: float = DISCOVERY_S) -> list[Endpoint]:
    """Look at a topic for a while.

    Args:
        topic: Full name of the topic.
        patience_s: How long to wait for the first publisher to be found.

    Returns:
        Publishers first, then subscribers.
    """
    use_shared_memory(os.environ)
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = rclpy.create_node('mt_perception_doctor', context=context)
        deadline = time.monotonic() + patience_s
        while not node.count_publishers(topic) and time.monotonic() < deadline:
            time.sleep(0.05)
        # Whoever was found first is rarely alone.
        time.sleep(0.2)
        report = _report(node, topic)
        node.destroy_node()
    finally:
        context.try_shutdown()
    return report


def _report(node: Node, topic: str) -> list[Endpoint]:
    publishers = node.get_publishers_info_by_topic(topic)
    subscribers = node.get_subscriptions_info_by_topic(topic)
    listeners = [(_name(s), s.topic_type, s.qos_profile) for s in subscribers]
    for kind in {p.topic_type for p in publishers}.intersection(IMAGE_TYPES):
        wanted = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        listeners.append((OURSELVES, kind, wanted))
    report = []
    for publisher in publishers:
        complaints = [
            f'{name} does not receive: {why}'
            for name, kind, wanted in listeners
            if (why := _mismatch(publisher, kind, wanted))
        ]
        report.append(_endpoint(publisher, True, '; '.join(complaints)))
    report += [_endpoint(subscriber, False, '') for subscriber in subscribers]
    return report


def _mismatch(publisher: Any, kind: str, wanted: QoSProfile) -> str:
    if publisher.topic_type != kind:
        return f'it expects {kind}'
    compatible, reason = qos_check_compatible(publisher.qos_profile, wanted)
    return reason.strip() if compatible == QoSCompatibility.ERROR else ''


def _endpoint(info: Any, publishes: bool, complaint: str) -> Endpoint:
    qos = info.qos_profile
    words = (
        f'{qos.reliability.name.lower().replace("_", " ")}, '
        f'{qos.durability.name.lower().replace("_", " ")}'
    )
    return Endpoint(_name(info), info.topic_type, words, publishes, complaint)


def _name(info: Any) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'
