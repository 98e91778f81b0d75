# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS 1 or ROS 2 bag as a source of frames, read without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from mt_perception.errors import BagError, CameraError, ImageError
from mt_perception.geometry.camera import Calibration, is_rectified
from mt_perception.image.compressed import decode
from mt_perception.image.encodings import to_bgr
from mt_perception.sources.source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'

SUFFIXES = frozenset({'.bag', '.db3', '.mcap'})


class Bag(Source):
    """The images of one topic, each with the camera_info of the same stamp.

    Args:
        path: A ROS 1 ``.bag``, a rosbag2 folder, or a single ``.mcap`` or ``.db3`` file.
        topic: The image topic, raw or compressed; may be left out where only one fits.
        camera: Takes the place of the bag's camera_info, which is wrong in many bags.

    Raises:
        BagError: The bag cannot be read, or it is not clear which topic is meant.
    """

    def __init__(
        self, path: Path, topic: str | None = None, camera: Intrinsics | None = None
    ) -> None:
        self._path = path
        self._calibration = camera
        with bag_errors(path):
            self._reader = open_reader(path)
            self._reader.open()
        try:
            connections = self._reader.connections
            self._topic = _image_topic(connections, topic, path)
            self._info_topic = _info_topic(connections, self._topic)
            length = sum(c.msgcount for c in connections if c.topic == self._topic)
            super().__init__(self._topic, length, self._rate_hz(length))
        except BagError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        pending: Any = None
        info: Any = None
        for connection, message in self._messages():
            if connection.topic == self._topic:
                if pending is not None:
                    yield from self._frames(pending, info)
                pending = message
            else:
                info = message
            # A camera sends both with one stamp, in either order.
            complete = self._info_topic is None or (
                info is not None and pending is not None and stamp_ns(info) == stamp_ns(pending)
            )
            if pending is not None and complete:
                yield from self._frames(pending, info)
                pending = None
        if pending is not None:
            yield from self._frames(pending, info)

    def close(self) -> None:
        """Close the bag."""
        if self._reader.stack is not None:
            self._reader.close()

    def _rate_hz(self, length: int) -> float | None:
        seconds = self._reader.duration * 1e-9
        return (length - 1) / seconds if seconds > 0 and length > 1 else None

    def _messages(self) -> Iterator[tuple[Connection, Any]]:
        # One topic may have several connections: one for each publisher.
        topics = (self._topic, self._info_topic)
        wanted = [c for c in self._reader.connections if c.topic in topics]
        with bag_errors(self._path):
            for connection, _, data in self._reader.messages(wanted):
                yield connection, self._reader.deserialize(data, connection.msgtype)

    def _frames(self, message: Any, info: Any) -> Iterator[Frame]:
        """One frame, or none if the image is faulty."""
        try:
            image = _image(message)
        except ImageError as error:
            self.rejects[error.reason] += 1
            return
        size = image.shape[0], image.shape[1]
        camera = calibrated(self._calibration, *size)
        if camera is None and info is not None:
            try:
                camera = _camera(info, size, is_rectified(self._topic))
            except CameraError as error:
                self.rejects[error.reason] += 1
        yield Frame(image, stamp_ns(message), message.header.frame_id, camera)


def open_reader(path: Path) -> AnyReader:
    """A reader for a bag of any format, still to be opened, inside ``bag_errors``."""
    # Bags written before ROS 2 Iron do not carry their message definitions.
    return AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))


@contextmanager
def bag_errors(path: Path) -> Iterator[None]:
    """Turn whatever a damaged bag makes its reader raise into one sentence.

    The formats' readers are written for sound files: on a truncated or foreign one they raise
    assertion, struct, SQLite, Unicode and index errors beside their own.
    """
    try:
        yield
    except (BagError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:
        what = str(error) or type(error).__name__
        raise BagError(
            f'bag {path} cannot be read ({what}); expected a ROS 1 .bag, a rosbag2 folder with '
            'metadata.yaml, or one .mcap or .db3 file, recorded to its end (ros2 bag reindex '
            'mends many that are not)'
        ) from error


def _image_topic(connections: list[Connection], topic: str | None, path: Path) -> str:
    """The topic of the images: the one asked for, or the only one that fits."""
    images = {
        c.topic: c.msgtype for c in connections if c.msgtype in (IMAGE_TYPE, COMPRESSED_TYPE)
    }
    there = ', '.join(sorted(images)) or 'none'
    if topic is not None:
        if topic in images:
            return topic
        raise BagError(f'bag {path} has no image topic {topic!r}; its image topics: {there}')
    colour = [name for name in images if 'depth' not in name.lower()]
    fitting = [name for name in colour if images[name] == IMAGE_TYPE] or colour
    if len(fitting) == 1:
        return fitting[0]
    raise BagError(
        f'bag {path} does not have exactly one colour image topic; name the one to use '
        f'(--topic). Its image topics: {there}'
    )


def _info_topic(connections: list[Connection], image_topic: str) -> str | None:
    """The camera_info beside an image topic (image_transport's convention), or the only one."""
    infos = {c.topic for c in connections if c.msgtype == CAMERA_INFO_TYPE}
    parts = image_topic.split('/')
    beside = {'/'.join([*parts[:depth], 'camera_info']) for depth in range(1, len(parts))}
    if infos & beside:
        return max(infos & beside, key=len)
    return infos.pop() if len(infos) == 1 else None


def stamp_ns(message: Any) -> int:
    """The time in a message's header, in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _image(message: Any) -> NDArray[np.uint8]:
    if hasattr(message, 'format'):
        return decode(message.data, message.format)
    return to_bgr(
        message.data,
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def _camera(info: Any, size: tuple[int, int], rectified: bool) -> Intrinsics:
    return Calibration.from_message(info).intrinsics(size, rectified)
