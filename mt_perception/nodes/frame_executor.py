# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An executor that waits for images alone while images arrive.

rclpy's executors build a wait set of every entity in Python for each wake-up, and a second one
after each callback. Of the perception node's 50 entities only the image has to be served at once.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from rclpy.executors import ShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.impl.implementation_singleton import rclpy_implementation

from mt_perception.nodes.subscriptions import ImageSubscription

SERVICE_S = 0.05
"""Longest time that everything else (services, timers, events) waits while images arrive."""

_FLOWING_S = 0.5
"""Time since the last image after which images do not arrive any more."""


class FrameExecutor(SingleThreadedExecutor):
    """Runs the callbacks of perception nodes and of any other nodes in the calling thread.

    While images arrive, ``spin_once`` waits for an image, and every ``SERVICE_S`` seconds it runs
    the callbacks of all other entities that are ready. Without images, or while one waits for its
    camera info, it is rclpy's ``spin_once``.
    """

    _service_due_s = 0.0

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for an event and run its callback; without a timeout, maybe for nothing."""
        now_s = time.monotonic()
        inputs = [
            inputs
            for node in self.get_nodes()
            if isinstance(inputs := getattr(node, 'inputs', None), ImageSubscription)
            and inputs.is_flowing(now_s - _FLOWING_S)
        ]
        if not inputs:
            super().spin_once(timeout_sec)
        elif now_s >= self._service_due_s:
            self._serve()
        else:
            wait_s = self._service_due_s - now_s
            if timeout_sec is not None and timeout_sec >= 0:
                wait_s = min(wait_s, timeout_sec)
            self._wait(inputs, wait_s)
            for ready in inputs:
                ready.take()

    def _serve(self) -> None:
        """Run one callback that is ready; if there is none, wait for images again."""
        try:
            handler, _, _ = self.wait_for_ready_callbacks(timeout_sec=0)
        except ShutdownException:
            return
        except TimeoutException:
            self._service_due_s = time.monotonic() + SERVICE_S
            return
        handler()
        error = handler.exception()
        if error is not None:
            raise error

    def _wait(self, inputs: list[ImageSubscription], seconds: float) -> None:
        """Wait until an image has arrived."""
        with ExitStack() as in_use:
            context = self.context.handle
            for used in (context, *(one.image_handle for one in inputs)):
                in_use.enter_context(used)
            wait_set = rclpy_implementation.WaitSet(len(inputs), 0, 0, 0, 0, 0, context)
            wait_set.clear_entities()
            for one in inputs:
                wait_set.add_subscription(one.image_handle)
            wait_set.wait(int(seconds * 1e9))
