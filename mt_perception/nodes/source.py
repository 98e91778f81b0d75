# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The source node: publishes images, a video, a bag or a camera as a camera driver does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType

from mt_perception.errors import PerceptionError, SourceError
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.node_parameters import NodeParameters, ParameterNode
from mt_perception.nodes.parameters import SourceSettings
from mt_perception.nodes.run_node import run_node
from mt_perception.sources.frame_source import Source
from mt_perception.sources.open import open_source
from mt_perception.types import Frame

NAME = 'source'

LONGEST_GAP_S = 5.0
"""Longest pause between two frames of a recording, in seconds."""

_POLL_S = 0.05
_LINGER_S = 0.5
"""Time between the last frame and the end, so that slow subscribers receive it."""


class SourceNode(ParameterNode):
    """Publishes frames at the rate of the recording or at a configured rate.

    Args:
        open_frames: Opens the source, once for every round of a loop; by default the source of
            the parameters.
        kwargs: Arguments of rclpy's Node.

    Attributes:
        published: Frames published so far.
        finished: Whether all frames have been published.

    Raises:
        OptionError: A parameter given at start is refused.
        SourceError: The source cannot be opened.
    """

    def __init__(self, open_frames: Callable[[], Source] | None = None, **kwargs: Any) -> None:
        super().__init__(NAME, **kwargs)
        self.published = 0
        self.finished = False
        try:
            self._live = NodeParameters(self, SourceSettings())
            self._settings = self._live.settings
            self._open = open_frames or self._open_named
            self._source = self._open()
        except PerceptionError:
            self.destroy_node()
            raise
        for sentence in self._live.unknown:
            self.get_logger().warning(sentence)
        self._publisher = FramePublisher(self)
        self._frames: Iterator[Frame] = iter(self._source)
        self._next: Frame | None = None
        self._last_ns = 0
        self._due_s = 0.0
        self._start_s = 0.0
        self._in_round = 0
        self._ends_s: float | None = None
        self._timer = self.create_timer(
            _POLL_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.get_logger().info(f'publishing {self._source.name}')

    def destroy_node(self) -> None:
        """Close the source and leave the graph."""
        if hasattr(self, '_source'):
            self._source.close()
        super().destroy_node()

    def _open_named(self) -> Source:
        if not self._settings.source:
            raise SourceError(
                'the parameter `source` is empty; set it to a folder of images, a video, a bag or '
                'a camera'
            )
        return open_source(self._settings.source, self._settings.topic or None)

    def _on_timer(self) -> None:
        now_s = time.monotonic()
        if self._ends_s is not None:
            self.finished = now_s >= self._ends_s
            return
        wanted = self._settings.min_subscribers if self._settings.wait_for_subscribers else 0
        if self._publisher.listeners < wanted:
            return
        if self._next is None:
            self._advance(now_s)
        elif now_s >= self._due():
            stamp_ns = self.get_clock().now().nanoseconds if self._settings.restamp else None
            self._publisher.publish(self._next, stamp_ns, self._settings.frame_id)
            self.published += 1
            self._in_round += 1
            self._advance(now_s)
        self._sleep_until_due()

    def _advance(self, now_s: float) -> None:
        """Read the next frame; at the end start again or finish."""
        self._next = next(self._frames, None)
        if self._next is None and self._settings.loop and self._in_round:
            self._source.close()
            self._source = self._open()
            self._frames = iter(self._source)
            self._next = next(self._frames, None)
            self._in_round = 0
        if self._next is None:
            self._ends_s = now_s + _LINGER_S
            rejects = sum(self._source.rejects.values())
            self.get_logger().info(f'published {self.published} images, {rejects} were unreadable')
            return
        if self._in_round:
            self._due_s += bounded_gap_s(self._last_ns, self._next.stamp_ns)
        else:
            self._start_s = self._due_s = now_s
        self._last_ns = self._next.stamp_ns

    def _due(self) -> float:
        """Monotonic time at which to publish the next frame."""
        if self._settings.rate_hz:
            return self._start_s + self._in_round / self._settings.rate_hz
        return self._due_s

    def _sleep_until_due(self) -> None:
        wait_s = _POLL_S
        if self._next is not None:
            wait_s = self._due() - time.monotonic()
        self._timer.timer_period_ns = max(0, round(min(wait_s, _POLL_S) * 1e9))


def bounded_gap_s(earlier_ns: int, later_ns: int) -> float:
    """The pause between two frames in seconds; a jump of the clock must not stop the replay."""
    return min(max(0.0, (later_ns - earlier_ns) * 1e-9), LONGEST_GAP_S)


def main(args: Sequence[str] | None = None) -> int:
    """Run the source node until all frames are published or a signal arrives.

    Returns:
        The exit status of the process.
    """
    return run_node(SourceNode, args, done=lambda node: bool(node.finished))
