# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to run the pipeline inside your own ROS node, without a topic between them.

python3 examples/own_node.py --ros-args -r image:=/camera/image_raw
"""

from __future__ import annotations

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Float32

from mt_perception import Frame, ImageError, Pipeline
from mt_perception.image.compressed import image_from
from mt_perception.nodes.conversions import stamp_ns


class FreeGround(Node):
    """Publishes the fraction of the lower half of the image that is ground."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__('free_ground', **kwargs)
        self._pipeline = Pipeline.load('cspnano')
        self._free = self.create_publisher(Float32, 'free_ground', 10)
        self.create_subscription(Image, 'image', self._on_image, qos_profile_sensor_data)

    def _on_image(self, message: Image) -> None:
        try:
            image = image_from(message)
        except ImageError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return
        frame = Frame(image, stamp_ns(message.header.stamp), message.header.frame_id)
        result = self._pipeline.run(frame, tasks=['segmentation'])
        ground = result.segmentation.mask('ground')
        lower = ground[ground.shape[0] // 2 :]
        self._free.publish(Float32(data=float(np.mean(lower))))


def main() -> None:
    """Run the node until it is stopped."""
    rclpy.init()
    rclpy.spin(FreeGround())


if __name__ == '__main__':
    main()
