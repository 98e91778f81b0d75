# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS image topic as a source of frames, for programs that are not ROS nodes themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import CameraInfo

from mt_perception.errors import CameraError, ImageError, SourceError
from mt_perception.geometry.camera import Calibration, is_rectified
from mt_perception.image.compressed import image_from
from mt_perception.nodes import conversions
from mt_perception.nodes.qos_events import QosEvents
from mt_perception.nodes.standalone_node import StandaloneNode
from mt_perception.nodes.subscriptions import ImageSubscription, ImageType
from mt_perception.sources.frame_source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

COMPRESSED = '/compressed'
PATIENCE_S = 10.0
"""Longest time to wait for an image."""


class TopicSource(Source):
    """Iterates over the newest images of a topic, as the perception node receives them.

    Args:
        topic: The image topic; compressed images if it ends in ``/compressed``.
        camera: Replaces the topic's camera_info.
        patience_s: Longest time to wait for an image.

    Raises:
        SourceError: The topic name is invalid.
    """

    def __init__(
        self, topic: str, camera: Intrinsics | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(topic, None, None)
        self._calibration = camera
        self._patience_s = patience_s
        self._newest: tuple[ImageType, CameraInfo | None] | None = None
        transport = 'compressed' if topic.endswith(COMPRESSED) else 'raw'
        remap = f'image:={topic.removesuffix(COMPRESSED)}'
        try:
            self._ros = StandaloneNode('mt_perception_run', ros_arguments=('-r', remap))
        except Exception as error:
            # rclpy has an exception of its own for each kind of invalid name.
            raise SourceError(f'{topic} is not a valid topic name: {error}') from error
        self._images = ImageSubscription(
            self._ros.node,
            transport,
            on_arrival=lambda arrived_s, number: None,
            on_image=self._on_image,
            on_superseded=lambda: None,
            qos_events=QosEvents(self._ros.node, lambda topic, policy: None),
        )

    def __iter__(self) -> Iterator[Frame]:
        while True:
            message, info = self._next()
            try:
                image = image_from(message)
            except ImageError as error:
                self.rejects[error.reason] += 1
                continue
            size = image.shape[0], image.shape[1]
            camera = calibrated(self._calibration, *size)
            if camera is None and info is not None:
                try:
                    rectified = is_rectified(self._images.image_topic)
                    concern = Calibration.from_message(info).concern(rectified)
                    if concern is not None and concern[1] not in self.notes:
                        self.notes.append(concern[1])
                    camera = conversions.intrinsics_from(info, size, rectified)
                except CameraError as error:
                    self.rejects[error.reason] += 1
            header = message.header
            yield Frame(image, conversions.stamp_ns(header.stamp), header.frame_id, camera)

    def close(self) -> None:
        """Leave the ROS graph."""
        self._ros.close()

    def _on_image(self, message: ImageType, info: CameraInfo | None, arrived_s: float) -> None:
        self._newest = message, info

    def _next(self) -> tuple[Any, CameraInfo | None]:
        """Wait for the next image.

        Raises:
            SourceError: None arrived in time; the message contains the likely reason.
        """
        self._newest = None
        try:
            self._ros.spin_until(lambda: self._newest is not None, self._patience_s)
        except ExternalShutdownException as error:
            raise KeyboardInterrupt from error
        if self._newest is None:
            raise SourceError(
                f'no image for {self._patience_s:g} s: {self._images.silence_reason()}'
            )
        return self._newest
