# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS topic as a source of frames: real images over DDS, silence, and wrong names."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')

import rclpy
from builtin_interfaces.msg import Time
from ros_graph import DOMAIN_ID, ros_graph
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mt_perception.cli.main import main
from mt_perception.errors import SourceError
from mt_perception.nodes.topic_source import TopicSource

HEIGHT, WIDTH = 48, 64
RED = np.full((HEIGHT, WIDTH, 3), (20, 20, 230), np.uint8)


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN_ID))


@contextmanager
def camera(topic: str, broken: bool = False) -> Iterator[None]:
    """Publishes red images and their camera info at 20 Hz, as a driver in another thread would."""
    compressed = topic.endswith('/compressed')
    base = topic.removesuffix('/compressed')
    ended = threading.Event()
    with ros_graph() as graph:
        node = rclpy.create_node('driver', context=graph.context)
        graph.nodes.append(node)
        images = node.create_publisher(CompressedImage if compressed else Image, topic, 5)
        infos = node.create_publisher(CameraInfo, f'{base.rsplit("/", 1)[0]}/camera_info', 5)

        def publish() -> None:
            sec = 100
            while not ended.wait(0.05):
                sec += 1
                header = Header(stamp=Time(sec=sec), frame_id='optical')
                k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
                infos.publish(CameraInfo(header=header, height=HEIGHT, width=WIDTH, k=k))
                if compressed:
                    data = array('B', cv2.imencode('.png', RED)[1].tobytes())
                    images.publish(CompressedImage(header=header, format='png', data=data))
                    continue
                message = Image(header=header, height=HEIGHT, width=WIDTH, encoding='bgr8')
                message.step = 3 * WIDTH
                message.data = array('B', RED.tobytes()[: 100 if broken and sec % 2 else None])
                images.publish(message)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize('topic', ['/cam/image_raw', '/cam/image_raw/compressed'])
def test_images_come_with_their_camera(topic: str) -> None:
    with camera(topic), TopicSource(topic) as source:
        frames = [frame for frame, _ in zip(source, range(3), strict=False)]
    assert len(frames) == 3
    assert all(np.array_equal(frame.image, RED) for frame in frames)
    assert all(frame.frame_id == 'optical' for frame in frames)
    assert frames[-1].intrinsics is not None
    assert frames[-1].intrinsics.fx == 60.0
    assert frames[0].stamp_ns < frames[1].stamp_ns < frames[2].stamp_ns


def test_a_broken_image_is_counted_and_the_next_is_taken() -> None:
    with camera('/cam/image_raw', broken=True), TopicSource('/cam/image_raw') as source:
        frames = [frame for frame, _ in zip(source, range(3), strict=False)]
        rejects = dict(source.rejects)
    assert len(frames) == 3
    assert rejects.get('short_data', 0) >= 1


def test_silence_is_an_error_that_names_the_likely_reason() -> None:
    with (
        TopicSource('/nobody/image', patience_s=0.5) as source,
        pytest.raises(SourceError, match='no publisher on /nobody/image'),
    ):
        next(iter(source))


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(SourceError, match='is not a valid topic name'):
        TopicSource('/not a name')


def test_run_takes_a_topic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    out = tmp_path / 'out'
    with camera('/cam/image_raw'):
        arguments = ['--model', str(model), '--limit', '4', '--out', str(out)]
        assert main(['run', '/cam/image_raw', *arguments]) == 0
    assert 'frames out │ 4' in ' '.join(capsys.readouterr().out.split())
    assert list(out.glob('frame_*.png'))
