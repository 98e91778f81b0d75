# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conversions between ROS messages and the types of this package.

Messages with pixels are reused: a copy into the view of an existing buffer
takes 0.04 ms for a VGA image, a new ``array('B')`` 0.11 ms or more, ``bytes`` up to 180 ms.
"""

from __future__ import annotations

import copy
import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)

from mt_perception.geometry.boxes3d import Boxes3D
from mt_perception.geometry.camera import Calibration
from mt_perception.geometry.points import LABEL_OFFSET, POINT
from mt_perception.types import Detections, Intrinsics, Segmentation

LITTLE_ENDIAN = 0


def stamp_ns(stamp: Time) -> int:
    """A ROS time in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def ros_time(nanoseconds: int) -> Time:
    """Nanoseconds as a ROS time."""
    sec, nanosec = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def intrinsics_from(
    message: CameraInfo, image_size: tuple[int, int], rectified: bool = False
) -> Intrinsics:
    """The camera of an image of (height, width) pixels.

    Args:
        message: The camera info.
        image_size: (height, width) of the image.
        rectified: Whether the image is rectified; see ``Calibration.intrinsics``.

    Raises:
        CameraError: The message is not a calibration, or is for another image size.
    """
    return Calibration.from_message(message).intrinsics(image_size, rectified)


def camera_info_with(header: Header, message: CameraInfo) -> CameraInfo:
    """A copy of a camera info with another header."""
    info = copy.copy(message)
    info.header = header
    return info


def camera_info_of(header: Header, camera: Intrinsics) -> CameraInfo:
    """The camera info of an image as it is, rectified or not."""
    calibration = Calibration.of(camera)
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model=calibration.distortion_model,
        d=calibration.d,
        k=calibration.k,
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=calibration.p,
    )


class ImageMessage:
    """A reused image message.

    Args:
        encoding: As in sensor_msgs.
        dtype: Type of one channel.
    """

    def __init__(self, encoding: str, dtype: type[np.generic]) -> None:
        self._message = Image(encoding=encoding, is_bigendian=LITTLE_ENDIAN)
        self._dtype = dtype
        self._pixels: NDArray[Any] = np.empty(0, dtype)

    def fill(self, header: Header, pixels: NDArray[Any]) -> Image:
        """Fill the message; it is valid until the next call.

        Args:
            header: Its header.
            pixels: (H, W) or (H, W, channels) of the dtype above.
        """
        message = self._message
        if pixels.shape != self._pixels.shape:
            message.height, message.width = pixels.shape[:2]
            message.step = pixels.nbytes // pixels.shape[0]
            message.data = array('B', bytes(pixels.nbytes))
            # With rclpy's field checks off, the message holds a copy of the array.
            self._pixels = np.frombuffer(message.data, self._dtype).reshape(pixels.shape)
        np.copyto(self._pixels, pixels, casting='no')
        message.header = header
        return message


def jpeg_message(header: Header, image: NDArray[np.uint8]) -> CompressedImage:
    """A uint8 (H, W, 3) BGR image as JPEG of OpenCV's default quality, 95."""
    encoded = cv2.imencode('.jpg', image)[1]
    message = CompressedImage(header=header, format='bgr8; jpeg compressed bgr8')
    message.data = array('B', encoded.tobytes())
    return message


# The default of compressed_depth_image_transport.
_QUANTIZATION = 100.0
_LARGEST_CODE = 65_535


def compressed_depth_message(
    header: Header, depth: NDArray[np.float32], max_depth_m: float
) -> CompressedImage:
    """A float32 (H, W) depth image in metres in the format of image_transport's compressedDepth.

    Inverse depth has 16 bits, q = a / z + b, behind a header with a and b; 0 is unknown. Depth
    below about 0.15 m does not fit and becomes unknown.
    """
    a = _QUANTIZATION * (_QUANTIZATION + 1)
    b = 1 - a / max_depth_m
    with np.errstate(divide='ignore', invalid='ignore'):
        codes = a / depth + b
        known = (depth > 0) & (codes >= 1) & (codes <= _LARGEST_CODE)
    png = cv2.imencode('.png', np.where(known, codes, 0).astype(np.uint16))[1].tobytes()
    message = CompressedImage(header=header, format='32FC1; compressedDepth png')
    message.data = array('B', struct.pack('<iff', 0, a, b) + png)
    return message


class PointsMessage:
    """A reused message of a point cloud with colours and labels."""

    def __init__(self) -> None:
        fields = [
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate(('x', 'y', 'z', 'rgb'))
        ]
        fields.append(
            PointField(name='label', offset=LABEL_OFFSET, datatype=PointField.UINT8, count=1)
        )
        self._message = PointCloud2(fields=fields, point_step=POINT.itemsize, is_dense=False)
        self._points: NDArray[Any] = np.empty((0, 0), POINT)

    def fill(self, header: Header, points: NDArray[Any]) -> PointCloud2:
        """Fill the message; it is valid until the next call.

        Args:
            header: Its header.
            points: POINT (H, W), an organised cloud, or (N,) without order.
        """
        message = self._message
        points = np.atleast_2d(points)
        if points.shape != self._points.shape:
            message.height, message.width = points.shape
            message.row_step = message.width * POINT.itemsize
            message.data = array('B', bytes(points.nbytes))
            # As in ImageMessage, the message may hold a copy.
            self._points = np.frombuffer(message.data, POINT, points.size).reshape(points.shape)
        np.copyto(self._points, points)
        message.header = header
        return message


def rows_of(detections: Detections) -> Iterator[tuple[str, list[float], float, str]]:
    """Of each detection its track id (empty without tracking), box, score and class name."""
    ids = [''] * len(detections)
    if detections.track_ids is not None:
        ids = list(map(str, detections.track_ids.tolist()))
    labels = [detections.labels[class_id] for class_id in detections.class_ids.tolist()]
    boxes, scores = detections.boxes.tolist(), detections.scores.tolist()
    return zip(ids, boxes, scores, labels, strict=True)


class DetectionsMessage:
    """A reused detections message."""

    def __init__(self) -> None:
        self._message = Detection2DArray()
        self._made: list[Detection2D] = []

    def fill(self, header: Header, detections: Detections) -> Detection2DArray:
        """Fill the message; it is valid until the next call.

        Boxes are in pixels of the input image, best score first; ``class_id`` is the class's name.
        """
        while len(self._made) < len(detections):
            self._made.append(Detection2D(results=[ObjectHypothesisWithPose()]))
        used = self._made[: len(detections)]
        for found, row in zip(used, rows_of(detections), strict=True):
            found.header, (found.id, (x0, y0, x1, y1), score, label) = header, row
            box, hypothesis = found.bbox, found.results[0].hypothesis
            box.center.position.x, box.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
            box.size_x, box.size_y = x1 - x0, y1 - y0
            hypothesis.class_id, hypothesis.score = label, score
        self._message.header = header
        self._message.detections = used
        return self._message


def detections_3d_message(
    header: Header, detections: Detections, boxes: Boxes3D
) -> Detection3DArray:
    """Boxes in 3-D as a message; class names and scores are those of the detections.

    Positions have no covariance (zeros), and the orientation is that of the optical frame.
    """
    message = Detection3DArray(header=header)
    for index, center, size in zip(
        boxes.indices.tolist(), boxes.centers.tolist(), boxes.sizes.tolist(), strict=True
    ):
        found = Detection3D(header=header, results=[ObjectHypothesisWithPose()])
        pose, box = found.results[0].pose.pose, found.bbox
        for point in (pose.position, box.center.position):
            point.x, point.y, point.z = center
        box.size.x, box.size.y, box.size.z = size
        hypothesis = found.results[0].hypothesis
        hypothesis.class_id = detections.labels[int(detections.class_ids[index])]
        hypothesis.score = float(detections.scores[index])
        message.detections.append(found)
    return message


def detections_from(message: Detection2DArray, labels: Sequence[str]) -> Detections:
    """The detections of a message of DetectionsMessage, for the model's class names."""
    class_of = {label: i for i, label in enumerate(labels)}
    boxes = np.empty((len(message.detections), 4), np.float32)
    for row, found in zip(boxes, message.detections, strict=True):
        x, y = found.bbox.center.position.x, found.bbox.center.position.y
        half_x, half_y = found.bbox.size_x / 2, found.bbox.size_y / 2
        row[:] = x - half_x, y - half_y, x + half_x, y + half_y
    best = [found.results[0].hypothesis for found in message.detections]
    return Detections(
        boxes=boxes,
        scores=np.array([h.score for h in best], np.float32),
        class_ids=np.array([class_of[h.class_id] for h in best], np.int64),
        labels=tuple(labels),
        track_ids=_track_ids(message),
    )


def _track_ids(message: Detection2DArray) -> NDArray[np.int64] | None:
    """Return the identities of detections; None without tracking."""
    ids = [found.id for found in message.detections]
    return np.array(ids, np.int64) if ids and all(ids) else None


def label_info(labels: Sequence[str], stamp: Time) -> LabelInfo:
    """The class names of the ids in a segmentation image."""
    return LabelInfo(
        header=Header(stamp=stamp),
        class_map=[VisionClass(class_id=i, class_name=label) for i, label in enumerate(labels)],
    )


def depth_from(message: Image) -> NDArray[np.float32]:
    """The depth of a 32FC1 image of the perception node, float32 (H, W), metres."""
    metres = np.frombuffer(message.data, np.float32)
    return metres.reshape(message.height, message.width)


def segmentation_from(message: Image, labels: LabelInfo) -> Segmentation:
    """The segmentation of a mono8 image of the perception node."""
    class_ids = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
    names = {entry.class_id: entry.class_name for entry in labels.class_map}
    return Segmentation(class_ids, tuple(names[i] for i in range(len(names))))
