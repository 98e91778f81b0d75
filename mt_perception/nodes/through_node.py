# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results of frames that really went through a perception node over DDS, as our own types."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from types import TracebackType

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from mt_perception.errors import NodeError
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.lock_step import LockStep
from mt_perception.nodes.outputs import facts_of
from mt_perception.nodes.recorder import Record, Recorder
from mt_perception.types import Execution, Frame, Result


class ThroughNode:
    """The other side of a perception node: frames go in one by one, and their results come back.

    Args:
        tasks: The tasks to listen to, which are those that the node runs.
        labels: Class names of the model's detections.
        domain_id: ROS domain of the node.
        deadline_s: How long to wait for the results of one frame.

    Raises:
        NodeError: By ``connect``, if there is no such node.
    """

    def __init__(
        self,
        tasks: Collection[str],
        labels: Sequence[str],
        domain_id: int,
        deadline_s: float = 10.0,
    ) -> None:
        self._tasks = tuple(tasks)
        self._deadline_s = deadline_s
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        self._node = rclpy.create_node('replay', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        publisher = FramePublisher(self._node)
        recorder = Recorder(self._node, self._tasks, labels=labels)
        self._lock_step = LockStep(self._executor, publisher, recorder)

    def connect(self, seconds: float) -> bool:
        """Wait for the node; False if it is not there yet."""
        return self._lock_step.connect(seconds)

    def run(self, frame: Frame) -> Result:
        """Send a frame and wait for its results.

        The times of its stages are those of the pipeline in the node, and two more: ``messages``,
        in which the node makes a frame of the message and messages of the results, and
        ``transport``, the way there and back with all queues. ``total`` is all of it, from
        sending the image to the arrival of the last result.

        Raises:
            NodeError: Nothing came back in time.
        """
        start_ns, start_s = time.time_ns(), time.perf_counter()
        record = self._lock_step.step(frame, self._deadline_s)
        seconds = time.perf_counter() - start_s
        if record is None or not record.stats:
            raise NodeError(f'the node gave no answer within {self._deadline_s:g} s')
        if 'rejected' in record.stats:
            raise NodeError(f'the node refused the image: {record.stats["rejected"]}')
        return self._result(record, min(seconds, (record.complete_ns - start_ns) * 1e-9) * 1e3)

    def __enter__(self) -> ThroughNode:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _result(self, record: Record, round_trip_ms: float) -> Result:
        stats = record.stats
        latency_ms = {
            key.removeprefix('latency_ms.'): float(value)
            for key, value in stats.items()
            if key.startswith('latency_ms.')
        }
        in_node_ms = latency_ms.pop('node')
        latency_ms['messages'] = in_node_ms - latency_ms['total']
        latency_ms['transport'] = max(0.0, round_trip_ms - in_node_ms)
        latency_ms['total'] = round_trip_ms
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
                latency_ms=latency_ms,
                loaded_bytes=int(stats['loaded_bytes']),
                facts=facts_of(stats),
            ),
            failures={
                key.removeprefix('failed.'): reason
                for key, reason in stats.items()
                if key.startswith('failed.')
            },
        )
