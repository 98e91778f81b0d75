# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sends frames through a running perception node over DDS, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor

from mt_perception.errors import NodeError
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.publishers import facts_of
from mt_perception.nodes.result_collector import Record, Recorder
from mt_perception.types import Execution, Frame, Result

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
