# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground plane of a camera from ``/tf``, or from the gravity that an IMU measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu

from mt_perception.errors import CameraError, OptionError
from mt_perception.execution.options import BY_GROUND
from mt_perception.geometry.plane import GroundPlane
from mt_perception.geometry.transforms import IDENTITY, TransformTree
from mt_perception.nodes.depth_parameters import IMU, PARAMETERS, TF
from mt_perception.nodes.parameters import PerceptionSettings

_TF_QOS = QoSProfile(depth=100)
_STATIC_QOS = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
_IMU_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)

_READINGS = 101
"""Accelerations of which gravity is the median: bumps, turns and bad readings count little."""

MAX_AGE_S = 5.0
"""Transforms on /tf and accelerations older than this are not used; static ones never get old.

Their age is the time since they arrived: it needs no common clock, and works with a slow bag.
"""


class GroundSource:
    """Subscribes to the topics of the ground plane while they are needed.

    Args:
        node: The node.
        now_s: Returns the monotonic time in seconds.
    """

    def __init__(self, node: Node, now_s: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._now_s = now_s
        self._subscriptions: list[Any] = []
        self._source = PARAMETERS
        self._forget()

    def _forget(self) -> None:
        self._tree = TransformTree()
        self._fault = ''
        self._imu = self._other_imu = ''
        self._readings = np.zeros((_READINGS, 3))
        self._read = 0
        self._read_s = -math.inf

    def follow(self, settings: PerceptionSettings) -> None:
        """Subscribe to the topics that the settings need; called in the executor's thread."""
        wanted = settings.depth_ground_source if settings.depth_scale in BY_GROUND else PARAMETERS
        if wanted == self._source:
            return
        self.destroy()
        self._source = wanted
        if wanted == PARAMETERS:
            return
        try:
            message = tf_message()
        except OptionError as error:
            self._fault = str(error)
            return
        self._subscribe(message, '/tf', self._on_tf, _TF_QOS)
        self._subscribe(message, '/tf_static', self._tree.update, _STATIC_QOS)
        if wanted == IMU:
            self._subscribe(Imu, 'imu', self._on_imu, _IMU_QOS)

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._source = PARAMETERS
        self._forget()

    def plane(self, frame_id: str, settings: PerceptionSettings) -> GroundPlane | None:
        """Return the ground below a camera; None where the parameters describe it.

        Raises:
            CameraError: No transform connects the camera and the base or the IMU, there is no
                acceleration, or one of them is too old.
            OptionError: The measurement is not a ground plane.
        """
        if self._fault:
            raise OptionError(self._fault)
        since_s = self._now_s() - MAX_AGE_S
        if self._source == TF:
            pose = self._tree.lookup(settings.depth_base_frame, frame_id, since_s)
            return GroundPlane.from_pose(pose.rotation, float(pose.translation[2]))
        if self._source == IMU:
            if self._read_s < since_s:
                topic = self._node.resolve_topic_name('imu')
                when = f'in the last {MAX_AGE_S:g} s' if self._read else 'yet'
                raise CameraError(
                    'no_imu', f'no message on {topic} {when}; check the IMU, or remap `imu` to it'
                )
            same = self._imu == frame_id.lstrip('/')
            pose = IDENTITY if same else self._tree.lookup(frame_id, self._imu, since_s)
            return GroundPlane.from_gravity(
                pose.rotation @ self._acceleration(), settings.depth_camera_height_m
            )
        return None

    def _subscribe(self, kind: type, topic: str, callback: Any, qos: QoSProfile) -> None:
        self._subscriptions.append(self._node.create_subscription(kind, topic, callback, qos))

    def _acceleration(self) -> NDArray[np.float64]:
        """The median of the latest accelerations, float64 (3,): half of them may be wrong."""
        latest = self._readings[: min(self._read, _READINGS)]
        middle = len(latest) // 2
        return np.asarray(np.partition(latest, middle, axis=0)[middle])

    def _on_tf(self, message: Any) -> None:
        self._tree.update(message, self._now_s())

    def _on_imu(self, message: Imu) -> None:
        now, imu = message.linear_acceleration, message.header.frame_id.lstrip('/')
        new = now.x, now.y, now.z
        if not all(map(math.isfinite, new)):
            return
        if imu != self._imu and self._read and imu != self._other_imu:
            # One message of another IMU costs itself only.
            self._other_imu = imu
            return
        if imu != self._imu:
            self._imu, self._read = imu, 0
        now_s = self._now_s()
        if now_s - self._read_s > MAX_AGE_S:
            # The robot may have been moved meanwhile.
            self._read = 0
        self._read_s = now_s
        self._other_imu = self._imu
        self._readings[self._read % _READINGS] = new
        self._read += 1


def tf_message() -> type:
    """Return ``tf2_msgs/TFMessage``.

    Raises:
        OptionError: It is not installed.
    """
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError as error:
        raise OptionError(
            'the ground plane from tf or imu needs tf2_msgs; install it with apt '
            '(ros-$ROS_DISTRO-tf2-msgs), or with ROS 2 from pip: '
            'python -m mt_perception.interfaces'
        ) from error
    message: type = TFMessage
    return message
