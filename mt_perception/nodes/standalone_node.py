# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node in a context of its own, for programs that are not ROS nodes themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor

_T = TypeVar('_T', bound='StandaloneNode')


class StandaloneNode:
    """A node, its context and its executor; leaving ``with`` removes it from the ROS graph.

    Call ``use_shared_memory`` before, so that large images arrive.

    Args:
        name: Name of the node.
        domain_id: ROS domain; None uses that of the environment.
        ros_arguments: For example ``('-r', 'image:=/camera/image_raw')``.

    Attributes:
        node: The node.
        executor: Its executor.
    """

    def __init__(
        self, name: str, domain_id: int | None = None, ros_arguments: Sequence[str] = ()
    ) -> None:
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        try:
            self.node = rclpy.create_node(
                name, context=self._context, cli_args=['--ros-args', *ros_arguments]
            )
        except Exception:
            self._context.try_shutdown()
            raise
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)

    def spin_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Spin until a condition holds; False if it does not hold in time."""
        return spin_until(self.executor, condition, seconds)

    def close(self) -> None:
        """Leave the ROS graph; a second call has no effect."""
        if self._context.ok():
            self.executor.shutdown()
            self.node.destroy_node()
            self._context.try_shutdown()

    def __enter__(self: _T) -> _T:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def spin_until(executor: Executor, condition: Callable[[], bool], seconds: float) -> bool:
    """Spin an executor until a condition holds; False if it does not hold in time."""
    end_s = time.monotonic() + seconds
    while not condition():
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return False
        executor.spin_once(timeout_sec=min(left_s, 0.05))
    return True
