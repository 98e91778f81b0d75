# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Listens to a camera and a perception node at once, for programs that are no node themselves."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from mt_perception.nodes import conversions
from mt_perception.nodes.main import use_shared_memory
from mt_perception.nodes.result_collector import Record, Recorder

_IMAGE = '/image'
_QUEUE = 50
_KEPT_IMAGES = 50


@dataclass(frozen=True, eq=False)
class Answered:
    """An image and everything that the perception node said about it.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        record: What was published.
        latency_ms: From the image's stamp to the arrival of the last of it.
    """

    image: NDArray[np.uint8]
    record: Record
    latency_ms: float


class Listener:
    """Pairs images with the perception node's answers.

    Args:
        labels: Class names of the model's detections.
        domain_id: ROS domain.

    Attributes:
        images: Images seen so far.
        input: The perception node's latest diagnostics of its input.
        perception: The same of its work.
    """

    def __init__(self, labels: Sequence[str], domain_id: int) -> None:
        use_shared_memory(os.environ)
        self.images = 0
        self.input: dict[str, str] = {}
        self.perception: dict[str, str] = {}
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        self._node = rclpy.create_node('mt_perception_demo', context=self._context)
        self._node.create_subscription(Image, _IMAGE, self._on_image, _QUEUE)
        self._node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, _QUEUE
        )
        self._recorder = Recorder(self._node, labels=labels, capacity=_KEPT_IMAGES)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    @property
    def connected(self) -> bool:
        """Whether the perception node is active: it offers its results and takes images."""
        return self._recorder.connected and self._node.count_subscribers(_IMAGE) > 1

    def spin(self, seconds: float) -> None:
        """Take in one event, or wait for so long."""
        self._executor.spin_once(seconds)

    def answered(self) -> list[Answered]:
        """The frames of which everything has arrived since the last call."""
        done = []
        for stamp_ns in self._recorder.complete:
            record = self._recorder.take(stamp_ns)
            message = self._images.pop(stamp_ns, None)
            if record is None or message is None:
                continue
            image = conversions.image_from(message)
            done.append(Answered(image, record, (record.complete_ns - stamp_ns) * 1e-6))
        return done

    def close(self) -> None:
        """Leave the ROS graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _on_image(self, message: Image) -> None:
        self.images += 1
        self._images[conversions.stamp_ns(message.header.stamp)] = message
        if len(self._images) > _KEPT_IMAGES:
            self._images.popitem(last=False)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if status.name == '/perception: input':
                self.input = values
            elif status.name == '/perception: perception':
                self.perception = values

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
