# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes frames as a camera driver does: ``camera_info`` and ``image`` with one stamp."""

from __future__ import annotations

import time

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mt_perception.nodes import conversions
from mt_perception.types import Frame

# A reliable publisher also serves best-effort subscribers.
_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class FramePublisher:
    """Publishes frames on ``image`` and, if the camera is known, on ``camera_info``.

    Args:
        node: The node of the publishers.
    """

    def __init__(self, node: Node) -> None:
        self._images = node.create_publisher(Image, 'image', _QOS)
        self._infos = node.create_publisher(CameraInfo, 'camera_info', _QOS)
        self._message = conversions.ImageMessage('bgr8', np.uint8)

    @property
    def listeners(self) -> int:
        """The number of subscribers of the images."""
        count: int = self._images.get_subscription_count()
        return count

    def publish(self, frame: Frame, stamp_ns: int | None = None, frame_id: str = '') -> int:
        """Publish one frame.

        Args:
            frame: The frame.
            stamp_ns: Replaces the frame's stamp.
            frame_id: Replaces the frame's frame_id unless empty.

        Returns:
            System time in nanoseconds at which the image was published.
        """
        stamp = conversions.ros_time(frame.stamp_ns if stamp_ns is None else stamp_ns)
        header = Header(stamp=stamp, frame_id=frame_id or frame.frame_id)
        if frame.intrinsics is not None:
            self._infos.publish(conversions.camera_info_of(header, frame.intrinsics))
        message = self._message.fill(header, frame.image)
        published_ns = time.time_ns()
        self._images.publish(message)
        return published_ns
