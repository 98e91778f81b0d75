# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames through a running perception node one after the other, so that none is dropped."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.executors import Executor

from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.recorder import Record, Recorder
from mt_perception.types import Frame

# Both ends of a connection learn of each other within milliseconds of one another.
_SETTLE_S = 0.3


class LockStep:
    """Publishes a frame and waits for all that comes back before the next one.

    Args:
        executor: Spins the node of publisher and recorder, and no other that computes.
        publisher: Publishes the frames.
        recorder: Listens to the perception node.
    """

    def __init__(self, executor: Executor, publisher: FramePublisher, recorder: Recorder) -> None:
        self._executor = executor
        self._publisher = publisher
        self._recorder = recorder

    def connect(self, deadline_s: float = 10.0) -> bool:
        """Wait until the perception node listens and is heard.

        Returns:
            Whether it does, before the deadline.
        """
        ready = self._spin(
            lambda: self._publisher.listeners > 0 and self._recorder.connected, deadline_s
        )
        self._spin(lambda: False, _SETTLE_S)
        return ready

    def step(self, frame: Frame, deadline_s: float = 5.0) -> Record | None:
        """Send one frame through.

        Args:
            frame: The frame; its stamp must differ from those still on their way.
            deadline_s: When to go on without (all of) the answer.

        Returns:
            What came back; None if nothing did.
        """
        self._recorder.take(frame.stamp_ns)
        self._publisher.publish(frame)
        self._spin(lambda: self._recorder.is_complete(frame.stamp_ns), deadline_s)
        return self._recorder.take(frame.stamp_ns)

    def _spin(self, condition: Callable[[], bool], seconds: float) -> bool:
        end_s = time.monotonic() + seconds
        while not condition():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left_s, 0.05))
        return True
