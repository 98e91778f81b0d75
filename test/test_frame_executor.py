# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The executor that waits for images alone: nothing else is lost, and images come first."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

pytest.importorskip('rclpy')

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from ros_graph import Peer, RosGraph, ros_graph
from sensor_msgs.msg import Image

from mt_perception.nodes.frame_executor import SERVICE_S, FrameExecutor
from mt_perception.nodes.qos_events import QosEvents
from mt_perception.nodes.subscriptions import ImageSubscription


class Viewer(Node):
    """A node with an image subscription, a timer and its parameter services."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__('viewer', **kwargs)
        self.stamps: list[int] = []
        self.ticks: list[float] = []
        self.create_timer(0.1, lambda: self.ticks.append(time.monotonic()))
        self.fails = False
        self.inputs: ImageSubscription | None = ImageSubscription(
            self,
            'raw',
            lambda arrived_s, sequence: None,
            self._on_image,
            lambda: None,
            QosEvents(self, lambda topic, policy: None),
        )

    def _on_image(self, message: Image, info: object, arrived_s: float) -> None:
        self.stamps.append(message.header.stamp.sec)
        if self.fails:
            raise ValueError('a defect')


@pytest.fixture
def graph() -> Iterator[RosGraph]:
    with ros_graph() as graph:
        graph.executor.shutdown()
        graph.executor = FrameExecutor(context=graph.context)
        yield graph


def connected(graph: RosGraph) -> tuple[Viewer, Peer]:
    viewer, peer = graph.add(Viewer), graph.add(Peer)
    assert graph.spin_until(peer.images.get_subscription_count)
    return viewer, peer


def stream(graph: RosGraph, peer: Peer, seconds: float, period_s: float = 0.02) -> int:
    """Publish images for some time; return their number."""
    end, sent = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        sent += 1
        message = Image(height=1, width=1, encoding='mono8', step=1, data=[0])
        message.header.stamp.sec = sent
        peer.images.publish(message)
        graph.spin_for(period_s)
    return sent


def test_services_and_timers_are_served_between_images(graph: RosGraph) -> None:
    viewer, peer = connected(graph)
    client = peer.create_client(GetParameters, '/viewer/get_parameters')
    assert graph.spin_until(client.service_is_ready)
    stream(graph, peer, 0.2)
    viewer.ticks.clear()
    future = client.call_async(GetParameters.Request(names=['use_sim_time']))
    stream(graph, peer, 1.0)
    assert future.done()
    assert len(viewer.ticks) >= 5
    assert graph.spin_until(lambda: len(viewer.stamps) >= 20)


def test_an_image_interrupts_the_wait(graph: RosGraph) -> None:
    viewer, peer = connected(graph)
    stream(graph, peer, 0.2)
    executor = graph.executor
    # Nothing else is ready now.
    assert graph.spin_until(lambda: executor._service_due_s > time.monotonic() + SERVICE_S / 2)
    before = len(viewer.stamps)
    peer.images.publish(Image(height=1, width=1, encoding='mono8', step=1, data=[0]))
    executor.spin_once(timeout_sec=-1.0)
    assert len(viewer.stamps) == before + 1


def test_without_images_the_executor_waits_for_everything(graph: RosGraph) -> None:
    viewer, peer = connected(graph)
    stream(graph, peer, 0.1)
    assert viewer.inputs is not None
    assert viewer.inputs.is_flowing(time.monotonic() - 0.5)
    viewer.inputs.destroy()
    viewer.inputs = None
    viewer.ticks.clear()
    graph.spin_for(0.5)
    assert viewer.ticks


def test_an_error_in_a_callback_is_raised(graph: RosGraph) -> None:
    viewer, peer = connected(graph)
    stream(graph, peer, 0.1)
    viewer.fails = True
    with pytest.raises(ValueError, match='a defect'):
        stream(graph, peer, 5.0)
    viewer.fails = False

    def fail() -> None:
        raise ValueError('a timer')

    stream(graph, peer, 0.1)
    viewer.create_timer(0.01, fail)
    with pytest.raises(ValueError, match='a timer'):
        stream(graph, peer, 5.0)
