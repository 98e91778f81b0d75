# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The subscriber of ``mt_perception demo``: images, and the perception node's results for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from mt_perception.image.compressed import image_from
from mt_perception.nodes import conversions
from mt_perception.nodes.result_collector import CollectedFrame, ResultCollector
from mt_perception.nodes.standalone_node import StandaloneNode

_IMAGE = '/image'
_QUEUE = 50
_KEPT_IMAGES = 50


@dataclass(frozen=True, eq=False)
class AnsweredImage:
    """An image and the results that the perception node published for it.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        results: The published results.
        latency_ms: From the image's stamp to the arrival of the last result.
    """

    image: NDArray[np.uint8]
    results: CollectedFrame
    latency_ms: float


class DemoSubscriber(StandaloneNode):
    """Pairs images with the perception node's results by stamp.

    Args:
        labels: Class names of the model's detections.
        domain_id: ROS domain.

    Attributes:
        images: Number of images received.
        input: Values of the perception node's latest input diagnostics.
        perception: Values of its latest perception diagnostics.
    """

    def __init__(self, labels: Sequence[str], domain_id: int) -> None:
        super().__init__('mt_perception_demo', domain_id)
        self.images = 0
        self.input: dict[str, str] = {}
        self.perception: dict[str, str] = {}
        self._images: OrderedDict[int, Image] = OrderedDict()
        self.node.create_subscription(Image, _IMAGE, self._on_image, _QUEUE)
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, _QUEUE
        )
        self._collector = ResultCollector(self.node, labels=labels, capacity=_KEPT_IMAGES)

    @property
    def connected(self) -> bool:
        """Whether the perception node is active: it has publishers and an image subscription."""
        return self._collector.connected and self.node.count_subscribers(_IMAGE) > 1

    def spin(self, seconds: float) -> None:
        """Process one event, or wait this long."""
        self.executor.spin_once(seconds)

    def answered(self) -> list[AnsweredImage]:
        """The images whose results have all arrived since the last call."""
        done = []
        for stamp_ns in self._collector.complete:
            results = self._collector.take(stamp_ns)
            message = self._images.pop(stamp_ns, None)
            if results is None or message is None:
                continue
            image = image_from(message)
            latency_ms = (results.complete_ns - stamp_ns) * 1e-6
            done.append(AnsweredImage(image, results, latency_ms))
        return done

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
