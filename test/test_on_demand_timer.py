# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A lazy node in an executor of several threads; timers that stop while they are ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from ros_graph import PATIENCE_S, Peer, RosGraph, ros_graph
from vision_msgs.msg import Detection2DArray

from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.on_demand_timer import OnDemandTimer
from mt_perception.nodes.perception import PerceptionNode


@pytest.fixture
def graph() -> Iterator[RosGraph]:
    with ros_graph() as graph:
        yield graph


def test_it_runs_only_between_start_and_stop(graph: RosGraph) -> None:
    node = graph.add(lambda **settings: Node('one', **settings))
    calls: list[float] = []
    timer = OnDemandTimer(node, 0.01, lambda: calls.append(time.monotonic()))
    graph.spin_for(0.05)
    assert not calls
    for _ in range(2):
        timer.start()
        timer.start()
        assert graph.spin_until(lambda: len(calls) >= 3)
        timer.stop()
        timer.stop()
        calls.clear()
        graph.spin_for(0.05)
        assert not calls


def test_it_may_stop_while_another_thread_is_about_to_run_it(graph: RosGraph) -> None:
    executor = MultiThreadedExecutor(4, context=graph.context)
    node = Node('several_threads', context=graph.context)
    graph.nodes.append(node)
    executor.add_node(node)
    stops: list[float] = []
    timer = OnDemandTimer(node, 0.002, lambda: None)

    def stop() -> None:
        timer.stop()
        stops.append(time.monotonic())

    node.create_timer(0.002, stop)
    node.create_timer(0.02, timer.start)
    end = time.monotonic() + PATIENCE_S
    # A cancelled timer raises an error here, or lets the executor hang.
    while len(stops) < 200 and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)
    executor.shutdown()
    assert len(stops) >= 200


def test_a_lazy_node_in_an_executor_of_several_threads(graph: RosGraph, tiny: Path) -> None:
    peer = graph.add(Peer)
    ended: list[BaseException] = []
    executor = MultiThreadedExecutor(4, context=graph.context)

    def spin() -> None:
        try:
            executor.spin()
        except BaseException as error:
            ended.append(error)

    node = graph.add(PerceptionNode, model=str(tiny), **{'input.lazy': True})
    graph.executor.remove_node(node)
    executor.add_node(node)
    thread = threading.Thread(target=spin)
    thread.start()
    try:
        assert graph.spin_until(lambda: ended or (node.state == ACTIVE and node.inputs is None))
        for _ in range(5):
            got: list[Detection2DArray] = []
            listener = peer.create_subscription(
                Detection2DArray, '/perception/detections', got.append, 10
            )
            # Without a camera info the first image is held, and a timer gives up on it.
            assert graph.spin_until(
                lambda got=got: (
                    (peer.send(np.zeros((96, 128, 3), np.uint8), 1), graph.spin_for(0.01))
                    and (got or ended)
                )
            )
            peer.destroy_subscription(listener)
            assert graph.spin_until(lambda: ended or node.inputs is None)
        assert not ended
    finally:
        executor.shutdown()
        thread.join()
