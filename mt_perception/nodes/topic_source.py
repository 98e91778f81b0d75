# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS image topic as a source of frames, for programs that are no node themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo

from mt_perception.errors import CameraError, ImageError, SourceError
from mt_perception.geometry.camera import is_rectified
from mt_perception.nodes import conversions
from mt_perception.nodes.main import use_shared_memory
from mt_perception.nodes.subscriptions import ImageType, Inputs
from mt_perception.sources.source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

COMPRESSED = '/compressed'
PATIENCE_S = 10.0
"""How long a topic may be silent before it counts as dead."""

_SPIN_S = 0.1


class TopicSource(Source):
    """The newest image of a topic whenever one is asked for, as the perception node sees it.

    Args:
        topic: The image topic; one that ends in ``/compressed`` carries compressed images.
        camera: Takes the place of the topic's camera_info.
        patience_s: How long the topic may be silent.

    Raises:
        SourceError: The name is no topic name.
    """

    def __init__(
        self, topic: str, camera: Intrinsics | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(topic, None, None)
        self._calibration = camera
        self._patience_s = patience_s
        self._newest: tuple[ImageType, CameraInfo | None] | None = None
        use_shared_memory(os.environ)
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        transport = 'compressed' if topic.endswith(COMPRESSED) else 'raw'
        remap = f'image:={topic.removesuffix(COMPRESSED)}'
        try:
            self._node = rclpy.create_node(
                'mt_perception_run', context=self._context, cli_args=['--ros-args', '-r', remap]
            )
        except Exception as error:
            # rclpy has one exception for each way in which a name can be wrong.
            self._context.try_shutdown()
            raise SourceError(f'{topic} is no name of a topic: {error}') from error
        self._inputs = Inputs(
            self._node,
            transport,
            on_arrival=lambda arrived_s, number: None,
            on_image=self._on_image,
            on_superseded=lambda: None,
            on_incompatible_qos=lambda name, policy: None,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def __iter__(self) -> Iterator[Frame]:
        while True:
            message, info = self._next()
            try:
                image = conversions.image_from(message)
            except ImageError as error:
                self.rejects[error.reason] += 1
                continue
            size = image.shape[0], image.shape[1]
            camera = calibrated(self._calibration, *size)
            if camera is None and info is not None:
                try:
                    rectified = is_rectified(self._inputs.image_topic)
                    camera = conversions.intrinsics_from(info, size, rectified)
                except CameraError as error:
                    self.rejects[error.reason] += 1
            header = message.header
            yield Frame(image, conversions.stamp_ns(header.stamp), header.frame_id, camera)

    def close(self) -> None:
        """Leave the ROS graph."""
        if self._context.ok():
            self._executor.shutdown()
            self._node.destroy_node()
            self._context.try_shutdown()

    def _on_image(self, message: ImageType, info: CameraInfo | None, arrived_s: float) -> None:
        self._newest = message, info

    def _next(self) -> tuple[Any, CameraInfo | None]:
        """Spin until an image comes.

        Raises:
            SourceError: None came in time; says why that may be.
        """
        self._newest = None
        deadline = time.monotonic() + self._patience_s
        while self._newest is None:
            try:
                self._executor.spin_once(_SPIN_S)
            except ExternalShutdownException as error:
                raise KeyboardInterrupt from error
            if time.monotonic() > deadline:
                raise SourceError(
                    f'no image for {self._patience_s:g} s: {self._inputs.why_silent()}'
                )
        return self._newest
