# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The publishers and subscribers of a topic, and which of them are incompatible."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from mt_perception.nodes.standalone_node import StandaloneNode

DISCOVERY_S = 2.0
OURSELVES = 'the perception node'
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


@dataclass(frozen=True)
class Endpoint:
    """One publisher or subscriber.

    Attributes:
        node: Full name of its node.
        type: Type of the messages.
        qos: Reliability and durability in words.
        publishes: Whether it is a publisher.
        mismatch: The incompatible subscribers and the reasons; empty if there are none.
    """

    node: str
    type: str
    qos: str
    publishes: bool
    mismatch: str


def topic_report(topic: str) -> list[Endpoint]:
    """Discover the endpoints of a topic.

    Args:
        topic: Full name of the topic.

    Returns:
        Publishers first, then subscribers.
    """
    with StandaloneNode('mt_perception_doctor') as ros:
        ros.spin_until(lambda: ros.node.count_publishers(topic) > 0, DISCOVERY_S)
        # Other endpoints are discovered soon after the first.
        time.sleep(0.2)
        return _report(ros.node, topic)


def _report(node: Node, topic: str) -> list[Endpoint]:
    publishers = node.get_publishers_info_by_topic(topic)
    subscribers = node.get_subscriptions_info_by_topic(topic)
    listeners = [(_name(s), s.topic_type, s.qos_profile) for s in subscribers]
    for kind in {p.topic_type for p in publishers}.intersection(IMAGE_TYPES):
        wanted = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        listeners.append((OURSELVES, kind, wanted))
    report = []
    for publisher in publishers:
        mismatches = [
            f'{name} does not receive: {why}'
            for name, kind, wanted in listeners
            if (why := _mismatch(publisher, kind, wanted))
        ]
        report.append(_endpoint(publisher, True, '; '.join(mismatches)))
    report += [_endpoint(subscriber, False, '') for subscriber in subscribers]
    return report


def _mismatch(publisher: Any, kind: str, wanted: QoSProfile) -> str:
    if publisher.topic_type != kind:
        return f'it expects {kind}'
    compatible, reason = qos_check_compatible(publisher.qos_profile, wanted)
    return reason.strip() if compatible == QoSCompatibility.ERROR else ''


def _endpoint(info: Any, publishes: bool, mismatch: str) -> Endpoint:
    qos = info.qos_profile
    words = (
        f'{qos.reliability.name.lower().replace("_", " ")}, '
        f'{qos.durability.name.lower().replace("_", " ")}'
    )
    return Endpoint(_name(info), info.topic_type, words, publishes, mismatch)


def _name(info: Any) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'
