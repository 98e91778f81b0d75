# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A steady timer that exists only while it runs."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer


class OnDemandTimer:
    """A timer that can be stopped while another thread of an executor is about to run it.

    A timer that is cancelled then stops rclpy's MultiThreadedExecutor with an error ("timer is
    canceled"); one that is destroyed is skipped.

    Args:
        node: The node.
        period_s: Its period, on the steady clock.
        callback: Called at each period while the timer runs.
    """

    def __init__(self, node: Node, period_s: float, callback: Callable[[], None]) -> None:
        self._node = node
        self._period_s = period_s
        self._callback = callback
        self._timer: Timer | None = None

    def start(self) -> None:
        """Start, unless it runs."""
        if self._timer is None:
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(self._period_s, self._callback, clock=clock)

    def stop(self) -> None:
        """Stop, if it runs."""
        if self._timer is not None:
            timer, self._timer = self._timer, None
            self._node.destroy_timer(timer)
