# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which messages a frame's results make, and which lack what they need."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from mt_perception.geometry.camera import typical
from mt_perception.geometry.plane import GroundPlane
from mt_perception.nodes import publishers, topics
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.publishers import Content, Messages
from mt_perception.reports import Execution
from mt_perception.types import DepthMap, Detections, Frame, Result, Segmentation

SIZE = (24, 32)
ALL_TOPICS = {
    topics.DETECTIONS_TOPIC, topics.DEPTH_CAMERA_TOPIC, topics.SEGMENTATION_TOPIC,
    topics.OBSTACLES_TOPIC, topics.INSTANCES_TOPIC, topics.CONFIDENCE_TOPIC,
    topics.DETECTIONS_3D_TOPIC, topics.DEPTH_TOPIC, topics.RELATIVE_DEPTH_TOPIC,
    topics.POINTS_TOPIC, topics.DEPTH_PNG_TOPIC, topics.OVERLAY_TOPIC, topics.OVERLAY_JPEG_TOPIC,
}  # fmt: skip
PICTURES = {topics.OVERLAY_TOPIC, topics.OVERLAY_JPEG_TOPIC}
METRES = {topics.DEPTH_TOPIC, topics.DEPTH_PNG_TOPIC}


def content(camera: bool = True, **changes: Any) -> Content:
    """All results of a frame, or others."""
    ids = np.zeros(SIZE, np.uint8)
    found = Detections(
        np.array([[2, 2, 12, 12]], np.float32), np.ones(1, np.float32), np.array([0]), ('a',)
    )
    result = Result(
        1, 'c', found,
        DepthMap(np.full(SIZE, 2, np.float32), typical(*SIZE)),
        Segmentation(ids, ('a',), confidence=ids),
        Execution((), (), 'full', '', 0, (0, 0), {}),
    )  # fmt: skip
    plane = GroundPlane.from_angles(0.5, pitch_deg=20)
    frame = Frame(np.zeros((*SIZE, 3), np.uint8), 1, 'c', ground=plane)
    info = CameraInfo(width=SIZE[1], height=SIZE[0]) if camera else None
    return Content(Header(), frame, replace(result, **changes), info, PerceptionSettings())


def made(of: Content) -> set[str]:
    return {topic for topic, fill in Messages().fills().items() if fill(of) is not None}


RELATIVE = DepthMap(np.full(SIZE, 2, np.float32), typical(*SIZE), relative=True)


@pytest.mark.parametrize(
    ('of', 'expected'),
    [
        (content(), ALL_TOPICS - {topics.RELATIVE_DEPTH_TOPIC}),
        (content(detections=None, depth=None, segmentation=None), PICTURES),
        (
            content(detections=None, segmentation=None, camera=False),
            PICTURES | METRES,
        ),
        (
            content(detections=None, segmentation=None),
            PICTURES | METRES
            | {topics.DEPTH_CAMERA_TOPIC, topics.POINTS_TOPIC, topics.OBSTACLES_TOPIC},
        ),
        (content(segmentation=None, depth=None), PICTURES | {topics.DETECTIONS_TOPIC}),
        (
            content(detections=None, depth=None),
            PICTURES | {topics.SEGMENTATION_TOPIC, topics.CONFIDENCE_TOPIC},
        ),
        (
            content(detections=None, depth=RELATIVE, segmentation=Segmentation(
                np.zeros(SIZE, np.uint8), ('a',))),
            PICTURES | {topics.SEGMENTATION_TOPIC, topics.RELATIVE_DEPTH_TOPIC},
        ),
        (
            content(depth=None),
            PICTURES | {topics.DETECTIONS_TOPIC, topics.SEGMENTATION_TOPIC,
                        topics.CONFIDENCE_TOPIC, topics.INSTANCES_TOPIC},
        ),
    ],
    ids=[
        *('everything', 'nothing', 'no camera', 'depth', 'detections', 'classes', 'relative'),
        'no depth',
    ],
)  # fmt: skip
def test_messages_have_what_they_need(of: Content, expected: set[str]) -> None:
    assert made(of) == expected


def test_the_overlay_is_drawn_once_for_both_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Result] = []
    monkeypatch.setattr(
        publishers, 'draw', lambda image, result: drawn.append(result) or np.full_like(image, 9)
    )
    fills = Messages().fills()
    for number in (1, 2):
        one = content()
        image, jpeg = (
            made if isinstance(made, bytes) else serialize_message(made)
            for made in (fills[topics.OVERLAY_TOPIC](one), fills[topics.OVERLAY_JPEG_TOPIC](one))
        )
        assert b'\x09' * (3 * SIZE[0] * SIZE[1]) in image
        assert b'bgr8; jpeg compressed bgr8' in jpeg
        assert len(drawn) == number
