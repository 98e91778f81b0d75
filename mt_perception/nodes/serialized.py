# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages: rclpy publishes bytes in a third of the time of a message object.

A message object costs one call for every field of every part. Of an image or a camera info only
the stamp and the pixels change, so the rest is serialized once. Detections are written here. Each
class compares its bytes with rclpy first, and returns message objects where they differ.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from mt_perception.nodes import conversions
from mt_perception.types import Detections

_LITTLE_ENDIAN = b'\x00\x01'
"""Start of a message in CDR, OMG's Common Data Representation, in little endian."""

_HEAD = 4
"""Bytes before the message; alignment counts from here."""

_STAMP = struct.Struct('<iI')
_UINT32 = struct.Struct('<I')
_SCORE = struct.Struct('<d')
_BOX = struct.Struct('<5d')
# Position, orientation and covariance of a hypothesis, which is never known.
_NO_POSE = struct.pack('<43d', *([0.0] * 6 + [1.0] + [0.0] * 36))


class SerializedImage:
    """An image as a serialized message.

    Args:
        encoding: As in sensor_msgs.
        dtype: Type of one channel.
    """

    def __init__(self, encoding: str, dtype: type[np.generic]) -> None:
        self._message = conversions.ImageMessage(encoding, dtype)
        self._key: tuple[str, tuple[int, ...]] | None = None
        self._start: bytearray | None = None

    def fill(self, header: Header, pixels: NDArray[Any]) -> bytes | Image:
        """Return the message of pixels, (H, W) or (H, W, channels) of the dtype above."""
        if (header.frame_id, pixels.shape) != self._key:
            self._key = header.frame_id, pixels.shape
            self._start = _without_end(self._message.fill(header, pixels), pixels)
        if self._start is None:
            return self._message.fill(header, pixels)
        _STAMP.pack_into(self._start, _HEAD, header.stamp.sec, header.stamp.nanosec)
        return b''.join((self._start, np.ascontiguousarray(pixels).data))


class SerializedCameraInfo:
    """The camera info of a camera that seldom changes as a serialized message."""

    def __init__(self) -> None:
        self._info: CameraInfo | None = None
        self._frame_id = ''
        self._whole: bytearray | None = None

    def fill(self, header: Header, info: CameraInfo) -> bytes | CameraInfo:
        """Return a camera info with another header."""
        if info is not self._info or header.frame_id != self._frame_id:
            self._info, self._frame_id = info, header.frame_id
            self._whole = _without_end(conversions.camera_info_with(header, info))
        if self._whole is None:
            return conversions.camera_info_with(header, info)
        _STAMP.pack_into(self._whole, _HEAD, header.stamp.sec, header.stamp.nanosec)
        return bytes(self._whole)


def _without_end(
    message: Image | CameraInfo, pixels: NDArray[Any] | None = None
) -> bytearray | None:
    """Serialize a message up to its pixels; None if its bytes are not as expected."""
    whole = serialize_message(message)
    stamp = message.header.stamp
    end = b'' if pixels is None else pixels.tobytes()
    expected = whole.startswith(_LITTLE_ENDIAN) and whole.endswith(end)
    if not expected or _STAMP.unpack_from(whole, _HEAD) != (stamp.sec, stamp.nanosec):
        return None
    return bytearray(whole[: len(whole) - len(end)])


class SerializedDetections:
    """Detections as a serialized message."""

    def __init__(self) -> None:
        self._message = conversions.DetectionsMessage()
        self._is_readable = self._check()

    def fill(self, header: Header, detections: Detections) -> bytes | Detection2DArray:
        """Return the message of detections; see ``conversions.DetectionsMessage``."""
        if not self._is_readable:
            return self._message.fill(header, detections)
        return serialized_detections(header, detections)

    def _check(self) -> bool:
        """Return whether rclpy reads an example, with strings of odd lengths, as it was."""
        header = Header(stamp=conversions.ros_time(7_000_000_009), frame_id='optical')
        example = Detections(
            boxes=np.array([[1, 2, 4, 8], [3, 5, 9, 11], [0, 1, 2, 3]], np.float32),
            scores=np.array([0.9, 0.5, 0.25], np.float32),
            class_ids=np.array([0, 1, 2]),
            labels=('person', 'a', 'traffic light'),
            track_ids=np.array([1, 23, 456]),
        )
        message = self._message.fill(header, example)
        written = serialized_detections(header, example)
        # Bytes between fields are arbitrary, so only the length is compared.
        return len(written) == len(serialize_message(message)) and bool(
            deserialize_message(written, Detection2DArray) == message
        )


def serialized_detections(header: Header, detections: Detections) -> bytes:
    """Return a ``vision_msgs/Detection2DArray`` in CDR, in little endian."""
    head = _STAMP.pack(header.stamp.sec, header.stamp.nanosec) + _string(header.frame_id)
    # One result for each detection.
    head_and_count = head + bytes(-len(head) % 4) + _UINT32.pack(1)
    body = bytearray(head + bytes(-len(head) % 4) + _UINT32.pack(len(detections)))
    for track_id, (x0, y0, x1, y1), score, label in conversions.rows_of(detections):
        body += bytes(-len(body) % 4) + head_and_count + _string(label)
        body += bytes(-len(body) % 8) + _SCORE.pack(score) + _NO_POSE
        body += _BOX.pack((x0 + x1) / 2, (y0 + y1) / 2, 0.0, x1 - x0, y1 - y0) + _string(track_id)
    return _LITTLE_ENDIAN + bytes(2) + body


def _string(text: str) -> bytes:
    """Return a string in CDR: its length with the final zero, and its bytes."""
    encoded = text.encode() + b'\x00'
    return _UINT32.pack(len(encoded)) + encoded
