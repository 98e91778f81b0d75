# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sends frames through a running perception node over DDS, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from rclpy.executors import Executor

from mt_perception.errors import NodeError
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.result_collector import CollectedFrame, ResultCollector
from mt_perception.nodes.standalone_node import StandaloneNode, spin_until
from mt_perception.nodes.stats import report_values
from mt_perception.reports import Execution
from mt_perception.types import Frame, Result

# Both ends of a connection discover each other within milliseconds of one another.
_SETTLE_S = 0.3
_PATIENCE_S = 10.0
"""Longest time to wait for the results of one frame."""


class SynchronousPlayer:
    """Publishes a frame and waits for all of its results before the next one.

    Args:
        executor: Spins the node of publisher and collector.
        publisher: Publishes the frames.
        collector: Collects the results of the perception node.
    """

    def __init__(
        self, executor: Executor, publisher: FramePublisher, collector: ResultCollector
    ) -> None:
        self._executor = executor
        self._publisher = publisher
        self._collector = collector

    def connect(self, deadline_s: float) -> bool:
        """Wait until publisher and collector are connected to the perception node.

        Returns:
            Whether they are, before the deadline.
        """
        ready = self._spin_until(
            lambda: self._publisher.listeners > 0 and self._collector.connected, deadline_s
        )
        self._spin_until(lambda: False, _SETTLE_S)
        return ready

    def step(self, frame: Frame, deadline_s: float = 5.0) -> CollectedFrame | None:
        """Send one frame and wait for its results.

        Args:
            frame: The frame; its stamp must differ from those of frames without results so far.
            deadline_s: Longest time to wait.

        Returns:
            The results that arrived in time; None if there are none.
        """
        self._collector.take(frame.stamp_ns)
        self._publisher.publish(frame)
        self._spin_until(lambda: self._collector.is_complete(frame.stamp_ns), deadline_s)
        return self._collector.take(frame.stamp_ns)

    def _spin_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        return spin_until(self._executor, condition, seconds)


class RoundTripPredictor(StandaloneNode):
    """Runs frames on a perception node: sends each as a message and returns its results.

    Args:
        tasks: The tasks to subscribe to, which are those that the node runs.
        labels: Class names of the model's detections.
        domain_id: ROS domain of the node.
    """

    def __init__(self, tasks: Collection[str], labels: Sequence[str], domain_id: int) -> None:
        super().__init__('replay', domain_id)
        collector = ResultCollector(self.node, tuple(tasks), labels=labels)
        self._player = SynchronousPlayer(self.executor, FramePublisher(self.node), collector)

    def connect(self, seconds: float) -> bool:
        """Wait for the perception node; False if it is not there in time."""
        return self._player.connect(seconds)

    def run(self, frame: Frame) -> Result:
        """Send a frame and wait for its results.

        Stage times are those of the pipeline in the node, plus ``messages`` (conversion from and
        to ROS messages in the node) and ``transport`` (both ways, with all queues). ``total`` is
        the time from sending the image to the arrival of the last result.

        Raises:
            NodeError: No results arrived in time, or the node rejected the image.
        """
        start_ns, start_s = time.time_ns(), time.perf_counter()
        record = self._player.step(frame, _PATIENCE_S)
        seconds = time.perf_counter() - start_s
        if record is None or not record.stats:
            raise NodeError(f'the node returned no results within {_PATIENCE_S:g} s')
        if 'rejected' in record.stats:
            raise NodeError(f'the node rejected the image: {record.stats["rejected"]}')
        return self._result(record, min(seconds, (record.complete_ns - start_ns) * 1e-9) * 1e3)

    def _result(self, record: CollectedFrame, round_trip_ms: float) -> Result:
        stats = record.stats
        stage_ms = _times(stats, 'latency_ms.')
        in_node_ms = stage_ms.pop('node')
        stage_ms['messages'] = in_node_ms - stage_ms['total']
        stage_ms['transport'] = max(0.0, round_trip_ms - in_node_ms)
        stage_ms['total'] = round_trip_ms
        return Result(
            stamp_ns=record.stamp_ns,
            frame_id=record.frame_id,
            detections=record.detections,
            depth=record.depth,
            segmentation=record.segmentation,
            execution=Execution(
                tasks=tuple(stats['tasks'].split()),
                blocks=tuple(stats['blocks'].split()),
                path=stats['path'],
                reason=stats['reason'],
                macs=int(stats['macs']),
                network_size=(int(stats['network_height']), int(stats['network_width'])),
                stage_ms=stage_ms,
                block_ms=_times(stats, 'block_ms.'),
                loaded_bytes=int(stats['loaded_bytes']),
            ).with_values(report_values(stats)),
            failures={
                key.removeprefix('failed.'): reason
                for key, reason in stats.items()
                if key.startswith('failed.')
            },
        )


def _times(stats: Mapping[str, str], prefix: str) -> dict[str, float]:
    """Return name → milliseconds of the values with a prefix."""
    return {
        key.removeprefix(prefix): float(value)
        for key, value in stats.items()
        if key.startswith(prefix)
    }
