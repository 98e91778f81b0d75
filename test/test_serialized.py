# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages are read by rclpy as the message objects that they replace."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from mt_perception.geometry.camera import typical
from mt_perception.nodes import conversions, serialized
from mt_perception.types import Detections


def header(stamp_ns: int, frame_id: str = 'camera') -> Header:
    return Header(stamp=conversions.ros_time(stamp_ns), frame_id=frame_id)


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'channels'),
    [('32FC1', np.float32, ()), ('mono8', np.uint8, ()), ('bgr8', np.uint8, (3,))],
)
def test_images_of_changing_size_and_frame(
    encoding: str, dtype: type[np.generic], channels: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    image = serialized.SerializedImage(encoding, dtype)
    frames = ((1, (4, 6), 'a'), (2, (4, 6), 'a'), (3, (5, 7), 'a'), (4, (5, 7), 'left_optical'))
    for stamp_ns, size, frame_id in frames:
        pixels = random.integers(0, 255, (*size, *channels)).astype(dtype)
        sent = image.fill(header(stamp_ns, frame_id), pixels[:, ::-1])
        assert isinstance(sent, bytes)
        expected = conversions.ImageMessage(encoding, dtype).fill(
            header(stamp_ns, frame_id), pixels[:, ::-1]
        )
        assert deserialize_message(sent, Image) == expected


def test_camera_infos_of_changing_stamp_frame_and_content() -> None:
    camera_info = serialized.SerializedCameraInfo()
    first, other = (
        conversions.camera_info_of(header(1), typical(*size)) for size in ((4, 6), (8, 9))
    )
    for stamp_ns, frame_id, info in (
        (5, 'a', first),
        (6, 'a', first),
        (7, 'b', first),
        (8, 'b', other),
    ):
        own = header(stamp_ns, frame_id)
        sent = camera_info.fill(own, info)
        assert isinstance(sent, bytes)
        assert deserialize_message(sent, CameraInfo) == conversions.camera_info_with(own, info)


@pytest.mark.parametrize('tracked', [False, True])
def test_detections_with_strings_of_every_length(tracked: bool) -> None:
    random = np.random.default_rng(1)
    labels = tuple('x' * length for length in range(1, 12))
    made = serialized.SerializedDetections()
    for count in (0, 1, 2, 30):
        found = Detections(
            boxes=random.uniform(0, 640, (count, 4)).astype(np.float32),
            scores=random.uniform(0, 1, count).astype(np.float32),
            class_ids=random.integers(0, len(labels), count),
            labels=labels,
            track_ids=10 ** random.integers(0, 9, count) if tracked else None,
        )
        for frame_id in ('', 'a', 'ab', 'abc', 'optical_frame'):
            own = header(2_000_000_003 + count, frame_id)
            sent = made.fill(own, found)
            assert isinstance(sent, bytes)
            expected = conversions.DetectionsMessage().fill(own, found)
            assert deserialize_message(sent, Detection2DArray) == expected


def test_another_layout_of_detections_is_published_as_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serialized, '_NO_POSE', serialized._NO_POSE[8:])
    none = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ('person',)
    )
    assert isinstance(serialized.SerializedDetections().fill(header(1), none), Detection2DArray)


def test_another_byte_order_is_published_as_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialized, '_LITTLE_ENDIAN', b'\x00\x00')
    image = serialized.SerializedImage('mono8', np.uint8)
    assert isinstance(image.fill(header(1), np.zeros((2, 3), np.uint8)), Image)
