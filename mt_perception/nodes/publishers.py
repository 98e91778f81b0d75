# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's publishers; messages without a subscriber are not created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from mt_perception.geometry.boxes3d import boxes3d
from mt_perception.geometry.instances import instance_image
from mt_perception.geometry.obstacles import fit_ground, obstacle_points
from mt_perception.geometry.plane import GroundPlane
from mt_perception.geometry.points import point_cloud
from mt_perception.geometry.rays import has_rays
from mt_perception.image.overlay import draw
from mt_perception.model.manifest import Manifest
from mt_perception.nodes import conversions
from mt_perception.nodes.diagnostics import status
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.qos_events import QosEvents
from mt_perception.nodes.serialized import (
    SerializedCameraInfo,
    SerializedDetections,
    SerializedImage,
)
from mt_perception.nodes.topics import (
    CONFIDENCE_TOPIC,
    DEPTH_CAMERA_TOPIC,
    DEPTH_PNG_TOPIC,
    DEPTH_TOPIC,
    DETECTIONS_3D_TOPIC,
    DETECTIONS_TOPIC,
    INSTANCES_TOPIC,
    OBSTACLES_TOPIC,
    OVERLAY_JPEG_TOPIC,
    OVERLAY_TOPIC,
    POINTS_TOPIC,
    RELATIVE_DEPTH_TOPIC,
    SEGMENTATION_TOPIC,
    STATS_TOPIC,
    model_topics,
)
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    DepthMap,
    Frame,
    Result,
)

# For other tasks of a model: kind of the task → last part of its topic, and its message type.
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


@dataclass(frozen=True)
class Request:
    """The results that subscribers and settings request for one frame.

    Attributes:
        topics: Topics with a subscriber.
        tasks: The tasks that they need, in the model's order; empty if nothing has to run.
        settings: The settings of the frame.
    """

    topics: frozenset[str]
    tasks: tuple[str, ...]
    settings: PerceptionSettings


@dataclass(frozen=True)
class Content:
    """The source of the messages of one frame."""

    header: Header
    frame: Frame
    result: Result
    camera_info: CameraInfo | None
    settings: PerceptionSettings

    @property
    def metric_depth(self) -> DepthMap | None:
        """Depth in metres (REP-118); None if there is none or it has no unit."""
        depth = self.result.depth
        return None if depth is None or depth.relative else depth


_Fill = Callable[[Content], Any]
"""Creates a message, maybe serialized; None if the frame has no content for it."""


class Publishers:
    """The publishers of one configured node.

    Args:
        node: The node.
        manifest: The model; tasks that it lacks have no topics.
        qos_events: Receives the QoS events.
    """

    def __init__(
        self,
        node: Node,
        manifest: Manifest,
        qos_events: QosEvents,
    ) -> None:
        self._node = node
        self._manifest = manifest
        self._qos_events = qos_events
        topics = dict(model_topics(manifest))
        self._fills = Messages().fills()
        for task in manifest.tasks.values():
            if task.name not in _EXTRA:
                name, kind = _EXTRA[task.kind]
                name = 'relative' if task.relative_depth else name
                topic = f'~/{task.name}/{name}'
                topics[topic] = (kind, (task.name,))
                self._fills[topic] = _extra_fill(task.name, task.kind)
        self._last_request: tuple[tuple[frozenset[str], bool], Request] | None = None
        self._tasks = {topic: tasks for topic, (_, tasks) in topics.items()}
        self._publishers = {
            topic: self._publisher(topic, kind, QOS) for topic, (kind, _) in topics.items()
        }
        self._latched = [
            self._label_publisher(task.name, task.labels)
            for task in manifest.tasks.values()
            if task.kind == SEGMENTATION
        ]

    def _publisher(self, topic: str, kind: type, qos: QoSProfile) -> Publisher:
        # A copy, because parameters override it in place.
        own = QoSProfile(depth=qos.depth, reliability=qos.reliability, durability=qos.durability)
        return self._node.create_publisher(
            kind,
            topic,
            own,
            event_callbacks=self._qos_events.of_publisher(topic),
            callback_group=self._qos_events.group,
            qos_overriding_options=OVERRIDABLE,
        )

    def _label_publisher(self, task: str, labels: tuple[str, ...]) -> Publisher:
        publisher = self._publisher(f'~/{task}/label_info', LabelInfo, LATCHED)
        publisher.publish(conversions.label_info(labels, self._node.get_clock().now().to_msg()))
        return publisher

    def destroy(self) -> None:
        """Remove the topics."""
        for publisher in (*self._publishers.values(), *self._latched):
            self._node.destroy_publisher(publisher)

    def subscribed(self) -> frozenset[str]:
        """The topics that have a subscriber now."""
        return frozenset(
            topic
            for topic, publisher in self._publishers.items()
            if publisher.get_subscription_count() > 0
        )

    def request(self, settings: PerceptionSettings, with_depth: bool = False) -> Request:
        """The topics that have a subscriber now, and the enabled tasks that they need.

        Args:
            settings: The settings of the frame.
            with_depth: Whether depth is needed without a subscriber.
        """
        topics = self.subscribed()
        if self._last_request is not None:
            known, last = self._last_request
            if known == (topics, with_depth) and last.settings is settings:
                return last
        needed = {task for topic in topics for task in self._tasks[topic]}
        if settings.points_labels and POINTS_TOPIC in topics:
            needed.add(SEGMENTATION)
        needed |= {DEPTH} if with_depth else set()
        tasks = tuple(t for t in self._manifest.tasks if t in needed and settings.enabled(t))
        request = Request(topics, tasks, settings)
        self._last_request = (topics, with_depth), request
        return request

    def publish(
        self,
        request: Request,
        header: Header,
        frame: Frame,
        result: Result,
        camera_info: CameraInfo | None,
    ) -> list[str]:
        """Publish the requested results with the header of the input.

        Args:
            request: From ``request()`` before the frame was run.
            header: The input's header.
            frame: The input.
            result: The results of the pipeline.
            camera_info: The input's camera info; None if its intrinsics are unknown.

        Returns:
            The topics that were published.
        """
        content = Content(header, frame, result, camera_info, request.settings)
        published = []
        for topic, fill in self._fills.items():
            if topic in request.topics and (message := fill(content)) is not None:
                self._publishers[topic].publish(message)
                published.append(topic)
        return published

    def publish_stats(
        self, header: Header, level: bytes, message: str, values: Mapping[str, object]
    ) -> None:
        """Publish the execution of one frame, and its cost.

        A DiagnosticArray has a header that pairs it with the frame, plotting tools show its
        values over time, and it is installed everywhere.
        """
        name = f'{self._node.get_fully_qualified_name()}: frame'
        found = status(name, '', level, message, values)
        self._publishers[STATS_TOPIC].publish(DiagnosticArray(header=header, status=[found]))


class Messages:
    """Reused messages, and their content for each topic."""

    def __init__(self) -> None:
        self._detections = SerializedDetections()
        self._camera = SerializedCameraInfo()
        self._depth = SerializedImage('32FC1', np.float32)
        self._classes = SerializedImage('mono8', np.uint8)
        self._overlay = SerializedImage('bgr8', np.uint8)
        self._confidence = SerializedImage('mono8', np.uint8)
        self._instances = SerializedImage('mono16', np.uint16)
        self._points = conversions.PointsMessage()
        self._drawn: tuple[Content, NDArray[np.uint8]] | None = None
        self._obstacles = conversions.PointsMessage()
        # A camera is fixed to its robot: the last plane is used while no ground is visible.
        self._ground: GroundPlane | None = None

    def fills(self) -> dict[str, _Fill]:
        """Topic → its fill function, in the order of publication: cheap messages first."""
        return {
            DETECTIONS_TOPIC: self._fill_detections,
            DEPTH_CAMERA_TOPIC: self._fill_camera,
            SEGMENTATION_TOPIC: self._fill_classes,
            OBSTACLES_TOPIC: self._fill_obstacles,
            INSTANCES_TOPIC: self._fill_instances,
            CONFIDENCE_TOPIC: self._fill_confidence,
            DETECTIONS_3D_TOPIC: self._fill_detections_3d,
            DEPTH_TOPIC: self._fill_depth,
            RELATIVE_DEPTH_TOPIC: self._fill_relative,
            POINTS_TOPIC: self._fill_points,
            DEPTH_PNG_TOPIC: self._fill_depth_png,
            OVERLAY_TOPIC: self._fill_overlay,
            OVERLAY_JPEG_TOPIC: self._fill_overlay_jpeg,
        }

    def _fill_detections(self, content: Content) -> bytes | Detection2DArray | None:
        found = content.result.detections
        return None if found is None else self._detections.fill(content.header, found)

    def _fill_camera(self, content: Content) -> bytes | CameraInfo | None:
        if content.metric_depth is None or content.camera_info is None:
            return None
        return self._camera.fill(content.header, content.camera_info)

    def _fill_classes(self, content: Content) -> bytes | Image | None:
        found = content.result.segmentation
        return None if found is None else self._classes.fill(content.header, found.class_ids)

    def _fill_confidence(self, content: Content) -> bytes | Image | None:
        found = content.result.segmentation
        if found is None or found.confidence is None:
            return None
        return self._confidence.fill(content.header, found.confidence)

    def _fill_instances(self, content: Content) -> bytes | Image | None:
        result = content.result
        if result.detections is None or result.segmentation is None:
            return None
        pixels = instance_image(result.detections, result.segmentation, result.depth)
        return self._instances.fill(content.header, pixels)

    def _fill_detections_3d(self, content: Content) -> Detection3DArray | None:
        result = content.result
        depth = content.metric_depth
        if result.detections is None or depth is None or content.camera_info is None:
            return None
        boxes = boxes3d(result.detections, depth, result.segmentation)
        return conversions.detections_3d_message(content.header, result.detections, boxes)

    def _fill_depth(self, content: Content) -> bytes | Image | None:
        found = content.metric_depth
        return None if found is None else self._depth.fill(content.header, found.depth)

    def _fill_relative(self, content: Content) -> bytes | Image | None:
        found = content.result.depth
        if found is None or not found.relative:
            return None
        return self._depth.fill(content.header, found.depth)

    def _fill_depth_png(self, content: Content) -> CompressedImage | None:
        found = content.metric_depth
        if found is None:
            return None
        max_depth_m = content.settings.depth_max_range_m
        return conversions.compressed_depth_message(content.header, found.depth, max_depth_m)

    def _fill_points(self, content: Content) -> PointCloud2 | None:
        depth = content.metric_depth
        # Without a camera the scale of a cloud is unknown; without its lens model the shape
        # is wrong.
        if depth is None or content.camera_info is None or not has_rays(depth.intrinsics):
            return None
        labels = content.result.segmentation
        stride = content.settings.points_stride
        points = point_cloud(depth, content.frame.image, stride, labels)
        return self._points.fill(content.header, points)

    def _fill_obstacles(self, content: Content) -> PointCloud2 | None:
        depth, classes = content.metric_depth, content.result.segmentation
        if depth is None or content.camera_info is None or not has_rays(depth.intrinsics):
            return None
        fitted = None if classes is None else fit_ground(depth, classes)
        self._ground = fitted or content.frame.ground or self._ground
        if self._ground is None:
            return None
        options = content.settings.obstacle_options()
        image = content.frame.image
        points = obstacle_points(depth, image, self._ground, classes, options)
        return self._obstacles.fill(content.header, points)

    def _fill_overlay(self, content: Content) -> bytes | Image:
        return self._overlay.fill(content.header, self._picture(content))

    def _fill_overlay_jpeg(self, content: Content) -> CompressedImage:
        return conversions.jpeg_message(content.header, self._picture(content))

    def _picture(self, content: Content) -> NDArray[np.uint8]:
        """The overlay of a frame; drawn once for both topics."""
        if self._drawn is None or self._drawn[0] is not content:
            self._drawn = content, draw(content.frame.image, content.result)
        return self._drawn[1]


def _extra_fill(task: str, kind: str) -> _Fill:
    """The fill function of a task beyond the three, which depends on its kind."""
    if kind == DETECTION:
        detections = SerializedDetections()
        return _if_found(task, detections.fill)
    if kind == SEGMENTATION:
        classes = SerializedImage('mono8', np.uint8)
        return _if_found(task, lambda header, found: classes.fill(header, found.class_ids))
    distances = SerializedImage('32FC1', np.float32)
    return _if_found(task, lambda header, found: distances.fill(header, found.depth))


def _if_found(task: str, fill: Callable[[Header, Any], Any]) -> _Fill:
    def fill_if_found(content: Content) -> Any:
        found = content.result.extra.get(task)
        return None if found is None else fill(content.header, found)

    return fill_if_found
