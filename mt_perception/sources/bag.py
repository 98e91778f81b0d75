# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS 1 or ROS 2 bag as a source of frames, read without ROS."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from mt_perception.errors import BagError, CameraError, ImageError
from mt_perception.geometry.camera import Calibration, is_rectified
from mt_perception.image.compressed import image_from
from mt_perception.sources.bag_file import ROS1, Channel
from mt_perception.sources.bag_reader import BagReader
from mt_perception.sources.frame_source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'

# Enough to measure a rate, few enough to be read at once.
_SAMPLED_IMAGES = 24
_SAMPLED_BYTES = 16 << 20
_MOST_HZ = 1000.0

# Last words of image topics, in the namespace of the camera: image_transport's transports.
_TRANSPORTS = frozenset({'compressed', 'compressedDepth', 'theora', 'ffmpeg', 'foxglove', 'zstd'})


class Bag(Source):
    """The images of one topic, each with the camera_info of the same stamp.

    Args:
        path: A ROS 1 ``.bag``, a rosbag2 folder, a single ``.mcap`` or ``.db3`` file, or a folder
            with the parts of one recording.
        topic: The image topic, raw or compressed; may be left out where only one fits.
        camera: Takes the place of the bag's camera_info, which is wrong in many bags.

    Raises:
        BagError: The bag cannot be read, or it is not clear which topic is meant.
    """

    def __init__(
        self, path: Path, topic: str | None = None, camera: Intrinsics | None = None
    ) -> None:
        self._calibration = camera
        self._reader = BagReader(path)
        try:
            self._topic = find_image_topic(self._reader, topic)
            images = [c for c in self._reader.channels if c.topic == self._topic]
            damage = self._reader.damage
            stamps, frame_id = self._sample(images)
            super().__init__(self._topic, sum(c.count for c in images), _rate_hz(stamps))
            self.rejects += damage
            self.notes += self._reader.notes
            self._rectified = is_rectified(self._topic)
            self._info_topic = self._find_info_topic(frame_id)
        except BaseException:
            self._reader.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        pending: Any = None
        info: Any = None
        for channel, message in self._messages():
            if channel.topic == self._topic:
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
        self._reader.close()

    def _messages(self) -> Iterator[tuple[Channel, Any]]:
        topics = (self._topic, self._info_topic)
        wanted = [c for c in self._reader.channels if c.topic in topics]
        # What the samples at the start met is met again.
        counted = self._reader.damage
        for found in self._reader.messages(wanted):
            self.rejects += self._reader.damage - counted
            counted = self._reader.damage
            yield found
        self.rejects += self._reader.damage - counted

    def _frames(self, message: Any, info: Any) -> Iterator[Frame]:
        """One frame, or none if the image is faulty."""
        try:
            image = image_from(message)
        except ImageError as error:
            self.rejects[error.reason] += 1
            return
        size = image.shape[0], image.shape[1]
        camera = calibrated(self._calibration, *size)
        if camera is None and info is not None:
            camera = self._camera(info, size)
        yield Frame(image, stamp_ns(message), str(message.header.frame_id), camera)

    def _camera(self, info: Any, size: tuple[int, int]) -> Intrinsics | None:
        calibration = Calibration.from_message(info)
        concern = calibration.concern(self._rectified)
        if concern is not None and concern[1] not in self.notes:
            self.notes.append(concern[1])
        try:
            return calibration.intrinsics(size, self._rectified)
        except CameraError as error:
            self.rejects[error.reason] += 1
            return None

    def _sample(self, channels: Collection[Channel]) -> tuple[list[int], str]:
        """The first stamps of the images in ns, and the frame of the first one."""
        stamps, frame_id, read = [], '', 0
        for channel, _, data in self._reader.data(channels):
            stamp, frame = _header(channel, data)
            frame_id = frame_id or frame
            stamps.append(stamp)
            read += len(data)
            if len(stamps) >= _SAMPLED_IMAGES or (read >= _SAMPLED_BYTES and len(stamps) > 2):
                break
        return stamps, frame_id

    def _find_info_topic(self, frame_id: str) -> str | None:
        """The camera_info in the image's namespace, or one that names the same frame."""
        infos = [c for c in self._reader.channels if c.msgtype == CAMERA_INFO_TYPE and c.count]
        beside = {c.topic for c in infos} & _topics_beside(self._topic)
        if beside:
            return max(beside, key=len)
        others = []
        for channel in infos:
            first = next(self._reader.data([channel]), None)
            frame = '' if first is None else _header(channel, first[2])[1]
            if frame and frame == frame_id:
                return channel.topic
            others.append(f'{channel.topic} (frame {frame!r})')
        if others and self._calibration is None:
            self.notes.append(
                f'{self._topic} (frame {frame_id!r}) has no camera_info in its namespace, and '
                f'{", ".join(others[:4])} may belong to another camera: depth is scaled for a '
                'typical lens; give a calibration file with --camera-info'
            )
        return None


def find_image_topic(reader: BagReader, topic: str | None) -> str:
    """The topic of the images: the one that the user named, or the only one that fits.

    Raises:
        BagError: There is none, or there are several; the message lists those of the bag.
    """
    images: dict[str, Channel] = {}
    for channel in reader.channels:
        if channel.msgtype in (IMAGE_TYPE, COMPRESSED_TYPE):
            known = images.get(channel.topic)
            images[channel.topic] = channel if known is None or channel.count else known
    there = ', '.join(
        name if c.count else f'{name} (without a message)' for name, c in sorted(images.items())
    )
    there = there or 'none'
    if reader.foreign:
        foreign = sorted({f'{c.topic} ({c.msgtype}, {c.encoding})' for c in reader.foreign})
        there += f'; topics in other encodings, which are not read: {", ".join(foreign[:5])}'
    if videos := [c for c in reader.channels if re.search('video|packet', c.msgtype, re.I)]:
        there += (
            f'; video on {videos[0].topic} ({videos[0].msgtype}), which is not read: republish it '
            'as raw or compressed'
        )
    if topic is not None:
        if topic in images:
            return topic
        raise BagError(
            f'bag {reader.path} has no image topic {topic!r}; its image topics: {there}'
        )
    colour = [n for n, c in images.items() if c.count and 'depth' not in n.lower()]
    fitting = [name for name in colour if images[name].msgtype == IMAGE_TYPE] or colour
    if len(fitting) == 1:
        return fitting[0]
    raise BagError(
        f'bag {reader.path} does not have exactly one colour image topic; name the one to use '
        f'(--topic). Its image topics: {there}'
    )


def _topics_beside(image_topic: str) -> set[str]:
    """The topics on which drivers publish the camera_info of an image topic.

    image_transport: in its namespace; the RealSense SDK: in ``info`` beside the image's folder;
    others: below the image topic itself.
    """
    parts = image_topic.split('/')
    while len(parts) > 2 and parts[-1] in _TRANSPORTS:
        parts.pop()
    folder, above = parts[:-1], parts[:-2]
    found = {(*folder, 'camera_info'), (*parts, 'camera_info'), (*folder, 'info', 'camera_info')}
    if folder and folder[-1] in ('image', 'rect', 'raw'):
        found |= {(*above, 'camera_info'), (*above, 'info', 'camera_info')}
    return {'/'.join(names) for names in found}


def _rate_hz(stamps: list[int]) -> float | None:
    """The rate of a topic from the median gap of its stamps, which jumps do not move."""
    gaps = [later - earlier for earlier, later in pairwise(sorted(stamps)) if later > earlier]
    rate_hz = 1e9 / median(gaps) if gaps else 0.0
    return rate_hz if 0.0 < rate_hz <= _MOST_HZ else None


def _header(channel: Channel, data: bytes) -> tuple[int, str]:
    """Stamp in ns and frame_id of an undecoded message that begins with a header."""
    # CDR begins with four bytes that tell the byte order, a ROS 1 header with its number.
    order = '>' if channel.encoding != ROS1 and data[1:2] in (b'\0', b'\2') else '<'
    try:
        seconds, nanoseconds, length = struct.unpack_from(order + 'iII', data, 4)
    except struct.error:
        return 0, ''
    return seconds * 1_000_000_000 + nanoseconds, data[16 : 16 + length].rstrip(b'\0').decode(
        errors='replace'
    )


def stamp_ns(message: Any) -> int:
    """The time in a message's header, in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
