# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Collects the results that a perception node publishes, by stamp, as types of this package."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from mt_perception.geometry.camera import typical
from mt_perception.nodes import conversions
from mt_perception.nodes.publishers import LATCHED
from mt_perception.nodes.topics import (
    DEPTH_CAMERA_TOPIC,
    DEPTH_TOPIC,
    DETECTIONS_TOPIC,
    LABELS_TOPIC,
    SEGMENTATION_TOPIC,
    STATS_TOPIC,
)
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    DepthMap,
    Detections,
    Segmentation,
)

_TOPICS: Mapping[str, tuple[tuple[str, type], ...]] = {
    DETECTION: ((DETECTIONS_TOPIC, Detection2DArray),),
    DEPTH: ((DEPTH_TOPIC, Image), (DEPTH_CAMERA_TOPIC, CameraInfo)),
    SEGMENTATION: ((SEGMENTATION_TOPIC, Image),),
}

_QUEUE = 20


@dataclass(frozen=True, eq=False)
class CollectedFrame:
    """All messages that were received for one frame.

    Attributes:
        stamp_ns: The frame's stamp.
        frame_id: The frame's optical frame.
        detections: None if they were not requested or not received.
        depth: The same.
        segmentation: The same.
        stats: Keys and values of ``~/stats``.
        received_ns: Topic → system time of arrival.
    """

    stamp_ns: int
    frame_id: str
    detections: Detections | None
    depth: DepthMap | None
    segmentation: Segmentation | None
    stats: Mapping[str, str]
    received_ns: Mapping[str, int]

    @property
    def complete_ns(self) -> int:
        """System time at which the last message arrived."""
        return max(self.received_ns.values())


class ResultCollector:
    """Subscribes to the results of a perception node.

    Args:
        node: The node that subscribes.
        tasks: The tasks to collect; the subscriptions make the perception node run them.
        perception: Full name of the perception node.
        labels: Class names of the model's detections, in the order of their ids; if empty, ids
            count the sorted names within one message.
        capacity: Frames kept until they are taken; the oldest are discarded first.
    """

    def __init__(
        self,
        node: Node,
        tasks: Collection[str] = (DETECTION, DEPTH, SEGMENTATION),
        perception: str = '/perception',
        labels: Sequence[str] = (),
        capacity: int = 32,
    ) -> None:
        self.tasks = tuple(tasks)
        self._labels = tuple(labels)
        self._capacity = capacity
        self._label_info: LabelInfo | None = None
        self._frames: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._received_ns: dict[int, dict[str, int]] = {}
        topics = [(STATS_TOPIC, DiagnosticArray)]
        topics += [topic for task in self.tasks for topic in _TOPICS[task]]
        self._subscriptions = [
            node.create_subscription(
                kind, topic.replace('~', perception), partial(self._on_message, topic), _QUEUE
            )
            for topic, kind in topics
        ]
        if SEGMENTATION in self.tasks:
            node.create_subscription(
                LabelInfo,
                LABELS_TOPIC.replace('~', perception),
                self._on_labels,
                LATCHED,
            )

    @property
    def connected(self) -> bool:
        """Whether every topic has a publisher."""
        return all(s.get_publisher_count() > 0 for s in self._subscriptions) and (
            SEGMENTATION not in self.tasks or self._label_info is not None
        )

    @property
    def complete(self) -> list[int]:
        """Stamps of the complete frames, in order of arrival."""
        return [stamp_ns for stamp_ns in self._frames if self.is_complete(stamp_ns)]

    def is_complete(self, stamp_ns: int) -> bool:
        """Whether all messages that the node published for a frame have arrived."""
        found = self._frames.get(stamp_ns, {})
        if STATS_TOPIC not in found:
            return False
        stats = _values(found[STATS_TOPIC])
        made = stats.get('made', '').split()
        return all(topic in found for topic in made if topic in self._expected())

    def take(self, stamp_ns: int) -> CollectedFrame | None:
        """Remove and return the messages of a frame; None if there are none."""
        found = self._frames.pop(stamp_ns, None)
        if found is None:
            return None
        received_ns = self._received_ns.pop(stamp_ns)
        header = next(iter(found.values())).header
        stats = found.get(STATS_TOPIC)
        return CollectedFrame(
            stamp_ns=stamp_ns,
            frame_id=header.frame_id,
            detections=self._detections(found.get(DETECTIONS_TOPIC)),
            depth=_depth(found.get(DEPTH_TOPIC), found.get(DEPTH_CAMERA_TOPIC)),
            segmentation=self._segmentation(found.get(SEGMENTATION_TOPIC)),
            stats={} if stats is None else _values(stats),
            received_ns=received_ns,
        )

    def _expected(self) -> set[str]:
        return {topic for task in self.tasks for topic, _ in _TOPICS[task]}

    def _on_message(self, topic: str, message: Any, info: Mapping[str, Any]) -> None:
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        if stamp_ns not in self._frames:
            self._frames[stamp_ns] = {}
            self._received_ns[stamp_ns] = {}
            if len(self._frames) > self._capacity:
                oldest, _ = self._frames.popitem(last=False)
                del self._received_ns[oldest]
        self._frames[stamp_ns][topic] = message
        # The middleware's time of arrival; this callback may run later.
        self._received_ns[stamp_ns][topic] = info['received_timestamp'] or time.time_ns()

    def _on_labels(self, message: LabelInfo) -> None:
        self._label_info = message

    def _detections(self, message: Detection2DArray | None) -> Detections | None:
        if message is None:
            return None
        names = {d.results[0].hypothesis.class_id for d in message.detections}
        return conversions.detections_from(message, self._labels or sorted(names))

    def _segmentation(self, message: Image | None) -> Segmentation | None:
        if message is None or self._label_info is None:
            return None
        return conversions.segmentation_from(message, self._label_info)


def _depth(message: Image | None, info: CameraInfo | None) -> DepthMap | None:
    if message is None:
        return None
    size = (message.height, message.width)
    if info is None:
        return DepthMap(conversions.depth_from(message), typical(*size), assumed_intrinsics=True)
    return DepthMap(conversions.depth_from(message), conversions.intrinsics_from(info, size))


def _values(stats: DiagnosticArray) -> dict[str, str]:
    return {value.key: value.value for status in stats.status for value in status.values}
