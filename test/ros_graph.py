# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small ROS graph of its own for one test: nodes, cameras and listeners in one executor."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

import mt_perception
from mt_perception.nodes.shared_memory import use_shared_memory
from mt_perception.resources import share_folder

# Tests of one machine must not meet those of another.
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
PATIENCE_S = 30.0
PACKAGE = str(Path(mt_perception.__file__).resolve().parent.parent)
_HIGHEST_DOMAIN = 101
"""Higher domains use ports that Linux also hands out to other programs."""


def _own_domain() -> tuple[int, TextIO]:
    """A ROS domain that no other process of this machine's tests uses, and what reserves it."""
    for offset in range(_HIGHEST_DOMAIN):
        domain_id = 1 + (os.getpid() + offset) % _HIGHEST_DOMAIN
        file = (Path(tempfile.gettempdir()) / f'mt_perception_domain_{domain_id}').open('a')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            return domain_id, file
    raise RuntimeError(f'all {_HIGHEST_DOMAIN} ROS domains are used by tests')


# The lock ends with the process, however it ends.
DOMAIN_ID, _RESERVED = _own_domain()


class RosGraph:
    """Nodes of one test in a context of their own."""

    def __init__(self) -> None:
        use_shared_memory(os.environ)
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=DOMAIN_ID)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Node] = []

    def add(self, make: Callable[..., Node], **settings: Any) -> Any:
        """Make a node with these parameters, spin it from now on."""
        overrides = [Parameter(name, value=value) for name, value in settings.items()]
        node = make(context=self.context, parameter_overrides=overrides)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def spin_until(self, condition: Callable[[], Any], seconds: float = PATIENCE_S) -> bool:
        """Spin until a condition holds; False if it does not in time."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)
        return bool(condition())

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def close(self) -> None:
        self.executor.shutdown()
        for node in self.nodes:
            node.destroy_node()
        self.context.try_shutdown()


@contextmanager
def ros_graph() -> Iterator[RosGraph]:
    graph = RosGraph()
    try:
        yield graph
    finally:
        graph.close()


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Python with these arguments in this domain; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN_ID), 'PYTHONPATH': PACKAGE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def node_process(name: str, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A node as `ros2 run` starts it."""
    file = share_folder() / 'lib' / 'mt_perception' / name
    return program(str(file), '--ros-args', *arguments)


class Peer(Node):
    """The other side: it publishes images and collects what comes back."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('peer', **kwargs)
        self.images = self.create_publisher(Image, '/image', 1)
        self.infos = self.create_publisher(CameraInfo, '/camera_info', 10)
        self.got: dict[str, list[Any]] = {}

    def listen(self, topic: str, kind: type, qos: QoSProfile | int = 10) -> list[Any]:
        """Subscribe; the returned list grows."""
        messages = self.got.setdefault(topic, [])
        self.create_subscription(kind, topic, messages.append, qos)
        return messages

    def send(self, pixels: NDArray[np.uint8], stamp_ns: int, info: bool = True) -> None:
        """Publish an image, and before it its camera info."""
        height, width = pixels.shape[:2]
        if info:
            self.infos.publish(camera_info(width, height, stamp_ns))
        self.images.publish(image_message(pixels, stamp_ns))


def answer_of(node: Any, sent: Any, topic: str, kind: type, answers: str) -> Any:
    """Publish a message to a node until it answers; return the answer."""
    answer: list[Any] = []
    with ros_graph() as graph:
        graph.add(node)
        peer = graph.add(lambda **settings: Node('peer_of_answers', **settings))
        peer.create_subscription(kind, answers, answer.append, 10)
        publisher = peer.create_publisher(type(sent), topic, 10)
        end = time.monotonic() + PATIENCE_S
        while not answer and time.monotonic() < end:
            publisher.publish(sent)
            graph.spin_for(0.1)
    return answer[0]


def image_message(pixels: NDArray[np.uint8], stamp_ns: int = 1, encoding: str = 'bgr8') -> Image:
    """An image message of uint8 pixels."""
    message = Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        step=pixels.nbytes // pixels.shape[0],
    )
    message.header.frame_id = 'camera_optical'
    message.header.stamp = ros_time(stamp_ns)
    message.data = array('B', pixels.tobytes())
    return message


def camera_info(width: int, height: int, stamp_ns: int = 1, focal: float = 100.0) -> CameraInfo:
    """A pinhole camera that looks along the middle of the image."""
    message = CameraInfo(width=width, height=height)
    message.header.frame_id = 'camera_optical'
    message.header.stamp = ros_time(stamp_ns)
    message.k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
    return message


def ros_time(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def patch(colour: tuple[int, int, int], height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """A grey image with a coloured square in its middle, for the model that sees colours."""
    image = np.full((height, width, 3), 128, np.uint8)
    image[height // 2 - 16 : height // 2 + 16, width // 2 - 16 : width // 2 + 16] = colour
    return image
