# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The source node plays frames at their pace, once or for ever, and says what it cannot play."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_graph import RosGraph, patch
from sensor_msgs.msg import CameraInfo, Image

from mt_perception.errors import BagError, OptionError, SourceError
from mt_perception.nodes import conversions
from mt_perception.nodes import source as source_module
from mt_perception.nodes.source import LONGEST_GAP_S, SourceNode, bounded_gap_s
from mt_perception.sources.frame_source import Source
from mt_perception.types import Frame, Intrinsics

CAMERA = Intrinsics(fx=100.0, fy=100.0, cx=63.5, cy=47.5, width=128, height=96)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((24, 32, 3), 10 * i, np.uint8))
    return tmp_path


class Bursts(Source):
    """Three frames of irregular stamps; fails at the end if it is told to."""

    def __init__(self, fault: bool = False) -> None:
        super().__init__('bursts', 3, None)
        self._fault = fault
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        for stamp_ns in (5_000_000_000, 5_050_000_000, 5_300_000_000):
            yield Frame(patch((255, 0, 0)), stamp_ns, 'optical', CAMERA)
        if self._fault:
            raise BagError('the bag ends in the middle of a message')

    def close(self) -> None:
        self.closed = True


class Listener(Node):
    """Collects images and camera infos with the time of their arrival."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('listener', **kwargs)
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.times_s: list[float] = []
        self.create_subscription(CameraInfo, '/camera_info', self.infos.append, 50)
        self.create_subscription(Image, '/image', self.on_image, 50)

    def on_image(self, message: Image) -> None:
        self.images.append(message)
        self.times_s.append(time.monotonic())

    @property
    def stamps_ns(self) -> list[int]:
        return [conversions.stamp_ns(m.header.stamp) for m in self.images]


def test_a_folder_is_played_once(graph: RosGraph, folder: Path) -> None:
    listener = graph.add(Listener)
    node = graph.add(SourceNode, source=str(folder), rate_hz=100.0)
    assert graph.spin_until(lambda: node.finished)
    assert node.published == len(listener.images) == 3
    assert [m.data[0] for m in listener.images] == [0, 10, 20]
    assert not listener.infos, 'nobody knows the camera'
    assert all(abs(ns - time.time_ns()) < 60e9 for ns in listener.stamps_ns)


def test_a_recording_keeps_its_pace_stamps_and_camera(graph: RosGraph) -> None:
    listener = graph.add(Listener)
    start_s = time.monotonic()
    node = graph.add(lambda **kwargs: SourceNode(Bursts, **kwargs), restamp=False)
    assert graph.spin_until(lambda: node.finished)
    assert listener.stamps_ns == [5_000_000_000, 5_050_000_000, 5_300_000_000]
    # Never earlier than recorded; how much later is up to this computer.
    assert listener.times_s[-1] - start_s >= 0.3
    assert [conversions.stamp_ns(m.header.stamp) for m in listener.infos] == listener.stamps_ns
    assert conversions.intrinsics_from(listener.infos[0], (96, 128)) == CAMERA
    assert {m.header.frame_id for m in listener.images} == {'optical'}


def test_it_waits_for_a_listener(graph: RosGraph) -> None:
    node = graph.add(lambda **kwargs: SourceNode(Bursts, **kwargs))
    graph.spin_for(0.3)
    assert node.published == 0
    listener = graph.add(Listener)
    assert graph.spin_until(lambda: node.finished)
    assert len(listener.images) == 3


def test_it_waits_for_several_listeners(graph: RosGraph) -> None:
    node = graph.add(lambda **kwargs: SourceNode(Bursts, **kwargs), min_subscribers=2)
    first = graph.add(Listener)
    graph.spin_for(0.5)
    assert node.published == 0
    second = graph.add(Listener)
    assert graph.spin_until(lambda: node.finished)
    assert len(first.images) == len(second.images) == 3


def test_it_need_not_wait(graph: RosGraph) -> None:
    settings = {'wait_for_subscribers': False, 'rate_hz': 200.0}
    node = graph.add(lambda **kwargs: SourceNode(Bursts, **kwargs), **settings)
    assert graph.spin_until(lambda: node.finished)
    assert node.published == 3


def test_a_loop_opens_the_source_again(graph: RosGraph) -> None:
    listener = graph.add(Listener)
    opened: list[Bursts] = []

    def open_frames() -> Bursts:
        opened.append(Bursts())
        return opened[-1]

    settings = {'loop': True, 'rate_hz': 200.0, 'restamp': False, 'frame_id': 'other'}
    graph.add(lambda **kwargs: SourceNode(open_frames, **kwargs), **settings)
    assert graph.spin_until(lambda: len(listener.images) >= 8)
    assert len(opened) >= 3
    assert all(source.closed for source in opened[:-1])
    assert listener.stamps_ns[:3] == listener.stamps_ns[3:6]
    assert listener.images[0].header.frame_id == 'other'


def test_a_source_that_breaks_ends_the_node_with_the_reason(graph: RosGraph) -> None:
    graph.add(Listener)
    graph.add(lambda **kwargs: SourceNode(lambda: Bursts(fault=True), **kwargs), rate_hz=100.0)
    with pytest.raises(BagError, match='in the middle'):
        graph.spin_until(lambda: False)


@pytest.mark.parametrize(
    ('settings', 'error', 'words'),
    [
        ({}, SourceError, 'parameter `source` is empty'),
        ({'source': '/nowhere/at/all'}, SourceError, 'does not exist'),
        ({'source': '/nowhere/at/all', 'rate_hz': -1.0}, OptionError, 'rate_hz'),
    ],
)
def test_what_cannot_be_played_is_said_at_once(
    graph: RosGraph, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        graph.add(SourceNode, **settings)


def test_a_jump_of_the_clock_does_not_stop_a_replay() -> None:
    assert bounded_gap_s(0, 100_000_000) == 0.1
    assert bounded_gap_s(0, 3_600_000_000_000) == LONGEST_GAP_S
    assert bounded_gap_s(1_700_000_000_000_000_000, 0) == 0.0


class Played:
    """A source node that is not spun, with a clock and a listener of our own."""

    def __init__(
        self, graph: RosGraph, monkeypatch: pytest.MonkeyPatch, **settings: object
    ) -> None:
        self.now_s, self.opened = 100.0, 0
        self.sent: list[tuple[float, int, object, str]] = []
        self.publisher = SimpleNamespace(listeners=1, publish=self._publish)
        clock = SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr(source_module, 'time', clock)
        monkeypatch.setattr(source_module, 'FramePublisher', lambda node: self.publisher)
        overrides = [Parameter(name, value=value) for name, value in settings.items()]
        self.node = SourceNode(self._open, context=graph.context, parameter_overrides=overrides)
        graph.nodes.append(self.node)

    def _open(self) -> Bursts:
        self.opened += 1
        return Bursts()

    def _publish(self, frame: Frame, stamp_ns: object, frame_id: str) -> None:
        self.sent.append((round(self.now_s - 100, 3), frame.stamp_ns, stamp_ns, frame_id))

    def tick(self, seconds: float = 0.0) -> int:
        """Pass time and call the timer; return its new period in ns."""
        self.now_s += seconds
        self.node._timer.callback()
        period_ns: int = self.node._timer.timer_period_ns
        return period_ns

    def play(self, seconds: float) -> None:
        """Call the timer as often as it asks to be called."""
        end_s, wait_ns = self.now_s + seconds, 0
        while self.now_s < end_s and not self.node.finished:
            wait_ns = self.tick(max(wait_ns, 1000) * 1e-9)


STAMPS = (5_000_000_000, 5_050_000_000, 5_300_000_000)


def test_frames_are_due_at_their_stamps(graph: RosGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(graph, monkeypatch, restamp=False, min_subscribers=2)
    played.tick()
    assert played.node._timer.timer_period_ns == 50_000_000
    assert (played.sent, played.opened) == ([], 1)
    played.publisher.listeners = 2
    assert played.tick() == 0
    assert played.tick() == 50_000_000
    assert played.sent == [(0.0, STAMPS[0], None, '')]
    assert played.tick(0.049) == 1_000_000
    assert len(played.sent) == 1
    assert played.tick(0.0011) == 50_000_000
    played.play(0.248)
    assert len(played.sent) == 2
    played.play(0.01)
    assert [when for when, *_ in played.sent] == [0.0, 0.05, 0.3]
    assert [stamp for _, stamp, *_ in played.sent] == list(STAMPS)
    assert (played.node.published, played.node.finished) == (3, False)
    played.now_s = played.node._ends_s - 0.001
    played.tick()
    assert not played.node.finished
    played.tick(0.001)
    assert played.node.finished
    assert played.now_s == pytest.approx(100.8, abs=0.002), 'half a second after the last one'


def test_frames_at_a_rate_again_and_again(
    graph: RosGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(graph, monkeypatch, rate_hz=8.0, loop=True, frame_id='x')
    played.play(0.7)
    times = [when for when, *_ in played.sent]
    assert times == pytest.approx([0, 0.125, 0.25, 0.25, 0.375, 0.5, 0.5, 0.625], abs=0.002)
    assert played.opened == 3
    assert {frame_id for *_, frame_id in played.sent} == {'x'}
    now_ns = time.time_ns()
    assert all(abs(now_ns - stamp) < 60e9 for _, _, stamp, _ in played.sent)  # type: ignore[operator]
    waits = Played(graph, monkeypatch, wait_for_subscribers=False)
    waits.publisher.listeners = 0
    waits.play(0.01)
    assert waits.sent, 'also without a listener'
