# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to subscribe to the results of the perception node in your own ROS node.

ros2 launch mt_perception perception.launch.py image:=/camera/image_raw
python3 examples/listener_node.py
"""

from __future__ import annotations

import rclpy
from rclpy.node import Node
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray


class Listener(Node):
    """Publishes the names of what the camera sees, for example for a speech node."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__('listener', **kwargs)
        self._names = self.create_publisher(String, 'names', 10)
        # Only what is subscribed to is computed: here detection, not depth or segmentation.
        self.create_subscription(Detection2DArray, 'perception/detections', self._on_detections, 1)

    def _on_detections(self, message: Detection2DArray) -> None:
        # class_id is the class name; detections are sorted, highest score first.
        names = [one.results[0].hypothesis.class_id for one in message.detections]
        self._names.publish(String(data=' '.join(names) or 'nothing'))


def main() -> None:
    """Run the node until it is stopped."""
    rclpy.init()
    rclpy.spin(Listener())


if __name__ == '__main__':
    main()
