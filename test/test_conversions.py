# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is filled into messages comes out of them again, also after serialisation."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from ros_graph import camera_info, image_message, patch
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mt_perception.errors import CameraError, ImageError
from mt_perception.geometry.points import POINT
from mt_perception.image.compressed import image_from
from mt_perception.nodes import conversions
from mt_perception.types import FISHEYE, Detections, Intrinsics

HEADER = Header(frame_id='camera_optical', stamp=conversions.ros_time(1_700_000_000_123_456_789))


@given(st.integers(-(2**31) * 10**9, (2**31 - 1) * 10**9))
def test_times_survive(stamp_ns: int) -> None:
    assert conversions.stamp_ns(conversions.ros_time(stamp_ns)) == stamp_ns


def test_a_bgr8_message_is_viewed_and_not_copied() -> None:
    message = image_message(patch((255, 0, 0)))
    image = image_from(message)
    assert np.shares_memory(image, np.frombuffer(message.data, np.uint8))
    assert (image == patch((255, 0, 0))).all()


def test_rgb8_and_compressed_messages_become_bgr() -> None:
    blue = patch((255, 0, 0))
    rgb = image_message(blue[:, :, ::-1], encoding='rgb8')
    assert (image_from(rgb) == blue).all()
    png = CompressedImage(format='png', data=cv2.imencode('.png', blue)[1].tobytes())
    assert (image_from(png) == blue).all()


def test_a_message_that_contradicts_itself_is_refused_by_name() -> None:
    message = image_message(patch((255, 0, 0)))
    message.step += 1
    with pytest.raises(ImageError) as error:
        image_from(message)
    assert error.value.reason == 'short_data'


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'shape'),
    [
        ('32FC1', np.float32, (4, 6)),
        ('mono8', np.uint8, (5, 3)),
        ('bgr8', np.uint8, (2, 7, 3)),
    ],
)
def test_image_messages_carry_pixels_of_any_size(
    encoding: str, dtype: type, shape: tuple[int, ...]
) -> None:
    kept = conversions.ImageMessage(encoding, dtype)
    rng = np.random.default_rng(0)
    for grow in (1, 3, 1):
        pixels = rng.integers(0, 255, (shape[0] * grow, *shape[1:])).astype(dtype)
        message = kept.fill(HEADER, pixels)
        wire = deserialize_message(serialize_message(message), Image)
        assert wire == message
        assert (wire.height, wire.width, wire.encoding) == (*pixels.shape[:2], encoding)
        assert wire.step * wire.height == len(wire.data) == pixels.nbytes
        assert wire.header == HEADER
        assert (np.frombuffer(wire.data, dtype).reshape(pixels.shape) == pixels).all()


def test_depth_keeps_nan() -> None:
    depth = np.array([[1.5, np.nan], [0.25, 7.0]], np.float32)
    message = conversions.ImageMessage('32FC1', np.float32).fill(HEADER, depth)
    assert np.array_equal(conversions.depth_from(message), depth, equal_nan=True)


def test_points_lie_as_point_cloud_readers_expect() -> None:
    points = np.zeros((2, 3), POINT)
    points['x'], points['y'], points['z'] = 1.0, 2.0, np.nan
    points['bgr'] = (1, 2, 3)
    message = conversions.PointsMessage().fill(HEADER, points)
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        *((name, 4 * i, 7, 1) for i, name in enumerate(('x', 'y', 'z', 'rgb'))),
        ('label', 15, 2, 1),
    ]
    assert message.row_step == 3 * message.point_step
    assert len(message.data) == message.height * message.row_step
    words = np.frombuffer(message.data, '<u4').reshape(2, 3, 4)
    assert (words[..., 3] == 0x030201).all()
    assert np.isnan(words.view('<f4')[..., 2]).all()
    assert not message.is_dense


def some_detections(count: int) -> Detections:
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 50, (count, 2))
    return Detections(
        boxes=np.hstack((corner, corner + rng.uniform(1, 50, (count, 2)))).astype(np.float32),
        scores=np.sort(rng.uniform(0, 1, count).astype(np.float32))[::-1],
        class_ids=rng.integers(0, 3, count),
        labels=('cat', 'dog', 'bird'),
    )


def test_detections_come_back_also_when_the_message_is_used_again() -> None:
    kept = conversions.DetectionsMessage()
    for count in (3, 0, 7, 2):
        detections = some_detections(count)
        message = kept.fill(HEADER, detections)
        back = conversions.detections_from(message, detections.labels)
        assert len(message.detections) == count
        assert np.allclose(back.boxes, detections.boxes, atol=1e-4)
        assert np.allclose(back.scores, detections.scores)
        assert (back.class_ids == detections.class_ids).all()
        assert all(found.header == HEADER for found in message.detections)


def test_identities_are_the_ids_of_the_message() -> None:
    kept = conversions.DetectionsMessage()
    tracked = replace(some_detections(3), track_ids=np.array([7, 2, 12]))
    message = kept.fill(HEADER, tracked)
    assert [found.id for found in message.detections] == ['7', '2', '12']
    assert conversions.detections_from(message, tracked.labels).track_ids.tolist() == [7, 2, 12]
    # The message is used again for detections without tracks.
    message = kept.fill(HEADER, some_detections(3))
    assert [found.id for found in message.detections] == [''] * 3
    assert conversions.detections_from(message, tracked.labels).track_ids is None


def test_segmentation_comes_back_with_its_labels() -> None:
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    image = conversions.ImageMessage('mono8', np.uint8).fill(HEADER, ids)
    back = conversions.segmentation_from(
        image, conversions.label_info(('floor', 'wall', 'door'), HEADER.stamp)
    )
    assert (back.class_ids == ids).all()
    assert back.labels == ('floor', 'wall', 'door')


def test_camera_of_a_cropped_and_binned_image() -> None:
    info = camera_info(640, 480, focal=500.0)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 400, 200
    info.binning_x = info.binning_y = 2
    camera = conversions.intrinsics_from(info, (100, 200))
    assert (camera.fx, camera.cx) == (250.0, (319.5 - 100) / 2)


def test_camera_of_another_image_is_refused() -> None:
    with pytest.raises(CameraError):
        conversions.intrinsics_from(camera_info(640, 480), (240, 320))


def test_camera_info_round_trip() -> None:
    camera = Intrinsics(fx=100.0, fy=101.0, cx=31.5, cy=23.5, width=64, height=48)
    info = conversions.camera_info_of(HEADER, camera)
    assert conversions.intrinsics_from(info, (48, 64)) == camera
    assert list(info.p) == [100.0, 0, 31.5, 0, 0, 101.0, 23.5, 0, 0, 0, 1, 0]


def test_a_fisheye_stays_one_in_its_camera_info() -> None:
    camera = Intrinsics(100.0, 101.0, 31.5, 23.5, 64, 48, FISHEYE)
    info = conversions.camera_info_of(HEADER, camera)
    assert conversions.intrinsics_from(info, (48, 64)) == camera


def test_the_camera_of_a_rectified_image_is_p() -> None:
    info = camera_info(64, 48, focal=50.0)
    info.p = [40.0, 0.0, 30.0, 0.0, 0.0, 41.0, 20.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert conversions.intrinsics_from(info, (48, 64)).fx == 50.0
    assert conversions.intrinsics_from(info, (48, 64), rectified=True).fx == 40.0


def test_another_header_leaves_the_camera_info_alone() -> None:
    info = camera_info(64, 48, stamp_ns=5)
    copied = conversions.camera_info_with(HEADER, info)
    assert copied.header == HEADER
    assert conversions.stamp_ns(info.header.stamp) == 5
    assert list(copied.k) == list(info.k)
