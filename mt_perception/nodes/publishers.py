# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the perception node publishes: who wants it is asked first, and only that is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from mt_perception.geometry.points import point_cloud
from mt_perception.image.overlay import draw
from mt_perception.model.manifest import Manifest
from mt_perception.nodes import conversions, health
from mt_perception.reports import Execution, Value
from mt_perception.types import DEPTH, DETECTION, PINHOLE, SEGMENTATION, Frame, Result

DETECTIONS_TOPIC = '~/detections'
DEPTH_TOPIC = '~/depth/image'
DEPTH_CAMERA_TOPIC = '~/depth/camera_info'
SEGMENTATION_TOPIC = '~/segmentation/image'
LABELS_TOPIC = '~/segmentation/label_info'
POINTS_TOPIC = '~/points'
OVERLAY_TOPIC = '~/overlay/image'
STATS_TOPIC = '~/stats'

# Topic → its message type and the tasks that a subscriber of it needs. Statistics make nothing
# run: they tell about what runs anyway.
_TOPICS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    DETECTIONS_TOPIC: (Detection2DArray, (DETECTION,)),
    DEPTH_TOPIC: (Image, (DEPTH,)),
    DEPTH_CAMERA_TOPIC: (CameraInfo, (DEPTH,)),
    SEGMENTATION_TOPIC: (Image, (SEGMENTATION,)),
    POINTS_TOPIC: (PointCloud2, (DEPTH,)),
    OVERLAY_TOPIC: (Image, (DETECTION, SEGMENTATION)),
    STATS_TOPIC: (DiagnosticArray, ()),
}

# Kind of a task → the last part of its topic and the message on it, for the tasks of a model
# beyond the three.
_EXTRA: Mapping[str, tuple[str, type]] = {
    DETECTION: ('detections', Detection2DArray),
    SEGMENTATION: ('image', Image),
    DEPTH: ('image', Image),
}

QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
OVERRIDABLE = QoSOverridingOptions(
    (
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    )
)


class Outputs:
    """The publishers of one configured node.

    Args:
        node: The node.
        manifest: The model: a task that it does not serve has no topics.
        on_incompatible_qos: Called with (topic, policy kind) when a subscriber wants what its
            publisher does not offer.
    """

    def __init__(
        self,
        node: Node,
        manifest: Manifest,
        on_incompatible_qos: Callable[[str, Any], None],
    ) -> None:
        self._node = node
        served = set(manifest.tasks)

        def publisher(topic: str, kind: type, qos: QoSProfile) -> Publisher:
            def on_event(event: Any) -> None:
                on_incompatible_qos(topic, event.last_policy_kind)

            return node.create_publisher(
                kind,
                topic,
                qos,
                event_callbacks=PublisherEventCallbacks(
                    incompatible_qos=on_event, use_default_callbacks=False
                ),
                qos_overriding_options=OVERRIDABLE,
            )

        extra = {task.name: task for task in manifest.tasks.values() if task.name not in _EXTRA}
        self._extra = {
            name: (f'~/{name}/{_EXTRA[task.kind][0]}', _filler(task.kind))
            for name, task in extra.items()
        }
        self._topics = {
            **{t: row for t, row in _TOPICS.items() if not row[1] or served.intersection(row[1])},
            **{self._extra[n][0]: (_EXTRA[t.kind][1], (n,)) for n, t in extra.items()},
        }
        self._publishers = {
            topic: publisher(topic, kind, _copy(QOS)) for topic, (kind, _) in self._topics.items()
        }
        self._latched: list[Publisher] = []
        for task in manifest.tasks.values():
            if task.kind == SEGMENTATION:
                labels = publisher(f'~/{task.name}/label_info', LabelInfo, _copy(LATCHED))
                now = node.get_clock().now().to_msg()
                labels.publish(conversions.label_info(task.labels, now))
                self._latched.append(labels)
        self._detections = conversions.DetectionsMessage()
        self._depth = conversions.ImageMessage('32FC1', np.float32)
        self._classes = conversions.ImageMessage('mono8', np.uint8)
        self._overlay = conversions.ImageMessage('bgr8', np.uint8)
        self._points = conversions.PointsMessage()

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in (*self._publishers.values(), *self._latched):
            self._node.destroy_publisher(publisher)

    def demand(self) -> frozenset[str]:
        """The topics that somebody listens to right now."""
        return frozenset(
            topic
            for topic, publisher in self._publishers.items()
            if publisher.get_subscription_count() > 0
        )

    def tasks_for(self, demand: Collection[str]) -> frozenset[str]:
        """The tasks that the listeners of these topics need."""
        return frozenset(task for topic in demand for task in self._topics[topic][1])

    def publish(
        self,
        demand: Collection[str],
        header: Header,
        frame: Frame,
        result: Result,
        camera_info: CameraInfo | None,
        stride: int,
    ) -> list[str]:
        """Publish what is demanded and was made, under the header of the input.

        Args:
            demand: Topics, from ``demand()`` before the frame was run.
            header: The input's header.
            frame: The input.
            result: What the pipeline made of it.
            camera_info: The input's, if its intrinsics were usable.
            stride: Of the points.

        Returns:
            The topics that were published.
        """
        made = self._make(header, frame, result, camera_info, stride)
        sent = []
        for topic, make in made.items():
            if topic in demand:
                self._publishers[topic].publish(make())
                sent.append(topic)
        return sent

    def _make(
        self,
        header: Header,
        frame: Frame,
        result: Result,
        camera_info: CameraInfo | None,
        stride: int,
    ) -> dict[str, Callable[[], Any]]:
        """Topic → what makes its message, in the order in which listeners get them."""
        made: dict[str, Callable[[], Any]] = {}
        if (detections := result.detections) is not None:
            made[DETECTIONS_TOPIC] = lambda: self._detections.fill(header, detections)
        if (depth := result.depth) is not None and camera_info is not None:
            made[DEPTH_CAMERA_TOPIC] = lambda: conversions.camera_info_with(header, camera_info)
        if (segmentation := result.segmentation) is not None:
            made[SEGMENTATION_TOPIC] = lambda: self._classes.fill(header, segmentation.class_ids)
        if depth is not None:
            made[DEPTH_TOPIC] = lambda: self._depth.fill(header, depth.depth)
        # Without a camera the cloud would have the right shape at a guessed scale, and with a
        # fisheye a wrong shape.
        pinhole = depth is not None and depth.intrinsics.projection == PINHOLE
        if depth is not None and camera_info is not None and pinhole:
            made[POINTS_TOPIC] = lambda: self._points.fill(
                header, point_cloud(depth, frame.image, stride)
            )
        for task, found in result.extra.items():
            topic, fill = self._extra[task]
            made[topic] = partial(fill, header, found)
        made[OVERLAY_TOPIC] = lambda: self._overlay.fill(header, draw(frame.image, result))
        return made

    def publish_stats(
        self, header: Header, level: bytes, message: str, values: Mapping[str, object]
    ) -> None:
        """Publish what was run for one frame and what it cost.

        A DiagnosticArray carries a header, so it pairs with the frame; plotting tools draw its
        numbers over time; and no message type of our own has to be installed anywhere.
        """
        name = f'{self._node.get_fully_qualified_name()}: frame'
        status = health.status(name, '', level, message, values)
        self._publishers[STATS_TOPIC].publish(DiagnosticArray(header=header, status=[status]))


def _filler(kind: str) -> Callable[[Header, Any], Any]:
    """What turns a result of this kind into its message."""
    if kind == DETECTION:
        return conversions.DetectionsMessage().fill
    if kind == SEGMENTATION:
        classes = conversions.ImageMessage('mono8', np.uint8)
        return lambda header, found: classes.fill(header, found.class_ids)
    distances = conversions.ImageMessage('32FC1', np.float32)
    return lambda header, found: distances.fill(header, found.depth)


def _copy(qos: QoSProfile) -> QoSProfile:
    """A profile of its own: overriding by parameters changes it in place."""
    return QoSProfile(depth=qos.depth, reliability=qos.reliability, durability=qos.durability)


REPORTS = ('budget.', 'reuse.', 'policy.', 'offload.', 'conditions.')
"""Prefixes of the values of ``Execution.values()`` in statistics."""


def report_values(values: Mapping[str, str]) -> dict[str, Value]:
    """Return the values of ``Execution.values()`` from a ``~/stats`` message."""
    return {key: _value(text) for key, text in values.items() if key.startswith(REPORTS)}


def _value(text: str) -> Value:
    if text in ('True', 'False'):
        return text == 'True'
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def stats(execution: Execution, failures: Mapping[str, str]) -> dict[str, object]:
    """What was run for a frame and what it cost, as keys and values."""
    return {
        **{f'latency_ms.{stage}': ms for stage, ms in execution.stage_ms.items()},
        **{f'block_ms.{block}': ms for block, ms in execution.block_ms.items()},
        'macs': execution.macs,
        'loaded_bytes': execution.loaded_bytes,
        'network_height': execution.network_size[0],
        'network_width': execution.network_size[1],
        'tasks': ' '.join(execution.tasks),
        'blocks': ' '.join(execution.blocks),
        'path': execution.path,
        'reason': execution.reason,
        **execution.values(),
        **{f'failed.{task}': reason for task, reason in failures.items()},
    }
