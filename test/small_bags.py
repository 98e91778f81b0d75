# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small but real bags: a red square that moves over grey, with depth, boxes and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from mt_perception.evaluation.datasets.truth_messages import COMPRESSED_DEPTH_HEADER
from mt_perception.sources.message_types import standard_types

HEIGHT, WIDTH = 48, 64
PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
TYPES = standard_types()


@dataclass(frozen=True)
class Contents:
    """What a bag holds.

    Attributes:
        frames: Number of images.
        cameras: Image topics.
        compressed: Whether images are JPEG.
        depth: Encoding of the depth images, or '' for none.
        boxes: Whether there is a Detection2DArray.
        labels: Whether there are label images with a LabelInfo.
        truth_delay_ns: How much later than its image the truth is stamped.
        frame_id: Of every header.
        speed: Speed of the robot in metres a frame; it has odometry unless this is None.
    """

    frames: int = 4
    cameras: Sequence[str] = ('/camera/image_raw',)
    compressed: bool = False
    depth: str = '16UC1'
    boxes: bool = False
    labels: bool = False
    truth_delay_ns: int = 0
    frame_id: str = 'camera_optical'
    speed: float | None = None


def picture(index: int) -> np.ndarray:
    """Grey, with a red square of 16 pixels that moves to the right."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[16:32, 8 * index : 8 * index + 16] = (20, 20, 230)
    return image


def true_depth(index: int) -> np.ndarray:
    """uint16 millimetres, a slope of 1 to 2 m with a hole."""
    depth = np.linspace(1000, 2000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    depth[:4, : 4 + index] = 0
    return depth


def make(kind: str, **fields: Any) -> Any:
    return TYPES.types[kind](**fields)


def header(stamp_ns: int, frame_id: str = 'camera_optical') -> Any:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = make('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
    return make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)


def image_message(head: Any, pixels: np.ndarray, encoding: str) -> Any:
    return make(
        'sensor_msgs/msg/Image',
        header=head,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=np.ascontiguousarray(pixels).view(np.uint8).reshape(-1),
    )


def compressed_message(head: Any, format_: str, data: bytes) -> Any:
    return make(
        'sensor_msgs/msg/CompressedImage',
        header=head,
        format=format_,
        data=np.frombuffer(data, np.uint8),
    )


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels)[1].tobytes()


def depth_message(head: Any, millimetres: np.ndarray, encoding: str) -> Any:
    """16UC1, 32FC1, and both in compressedDepth ('16UC1; compressedDepth' …)."""
    metres = np.where(millimetres > 0, millimetres / 1000, np.nan).astype(np.float32)
    if encoding == '16UC1':
        return image_message(head, millimetres, encoding)
    if encoding == '32FC1':
        return image_message(head, metres, encoding)
    a, b = 0.0, 0.0
    if encoding.startswith('32FC1'):
        # What compressed_depth_image_transport does: steps that are finer where it is near.
        a, b = 100.0 * (100.0 + 1), 1.0 - 100.0 * (100.0 + 1) / 10.0
        inverse = a / metres + b
        millimetres = np.where(np.isfinite(inverse), np.round(inverse), 0).astype(np.uint16)
    return compressed_message(
        head, encoding, COMPRESSED_DEPTH_HEADER.pack(0, a, b) + png(millimetres)
    )


def boxes_message(head: Any, index: int) -> Any:
    point = make('vision_msgs/msg/Point2D', x=8.0 * index + 8, y=24.0)
    quaternion = make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
    origin = make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0)
    pose = make(
        'geometry_msgs/msg/PoseWithCovariance',
        pose=make('geometry_msgs/msg/Pose', position=origin, orientation=quaternion),
        covariance=np.zeros(36),
    )
    found = make(
        'vision_msgs/msg/Detection2D',
        header=head,
        results=[
            make(
                'vision_msgs/msg/ObjectHypothesisWithPose',
                hypothesis=make('vision_msgs/msg/ObjectHypothesis', class_id='red', score=1.0),
                pose=pose,
            )
        ],
        bbox=make(
            'vision_msgs/msg/BoundingBox2D',
            center=make('vision_msgs/msg/Pose2D', position=point, theta=0.0),
            size_x=16.0,
            size_y=16.0,
        ),
        id='',
    )
    return make('vision_msgs/msg/Detection2DArray', header=head, detections=[found])


def camera_info(head: Any) -> Any:
    k = np.array([60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1])
    return make(
        'sensor_msgs/msg/CameraInfo',
        header=head,
        height=HEIGHT,
        width=WIDTH,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.insert(k, [3, 6, 9], 0.0),
        binning_x=0,
        binning_y=0,
        roi=make(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        ),
    )


def messages(contents: Contents) -> list[tuple[str, int, Any]]:
    """(topic, time, message) of everything, in the order of time."""
    rows: list[tuple[str, int, Any]] = []
    if contents.labels:
        names = {0: 'grey', 1: 'red', 2: 'unheard of'}
        rows.append(('/truth/label_info', START_NS, _label_info(header(START_NS), names)))
    for index in range(contents.frames):
        stamp = START_NS + index * PERIOD_NS
        head = header(stamp, contents.frame_id)
        later = header(stamp + contents.truth_delay_ns, contents.frame_id)
        for topic in contents.cameras:
            if contents.compressed:
                jpeg = cv2.imencode('.jpg', picture(index))[1].tobytes()
                rows.append((topic, stamp, compressed_message(head, 'jpeg', jpeg)))
            else:
                rows.append((topic, stamp, image_message(head, picture(index), 'bgr8')))
            rows.append((topic.rsplit('/', 1)[0] + '/camera_info', stamp, camera_info(head)))
        if contents.depth:
            message = depth_message(later, true_depth(index), contents.depth)
            suffix = '/compressedDepth' if 'compressedDepth' in contents.depth else ''
            rows.append((f'/camera/depth/image_raw{suffix}', stamp, message))
        if contents.speed is not None:
            rows.append(('/odom', stamp, odometry(head, contents.speed * index)))
        if contents.boxes:
            rows.append(('/truth/detections', stamp, boxes_message(later, index)))
        if contents.labels:
            ids = (picture(index)[..., 2] > 100).astype(np.uint8)
            rows.append(('/truth/image', stamp, image_message(later, ids, 'mono8')))
    return rows


def odometry(head: Any, x: float) -> Any:
    quaternion = make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
    place = make('geometry_msgs/msg/Point', x=x, y=0.0, z=0.0)
    zero = make('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
    pose = make('geometry_msgs/msg/Pose', position=place, orientation=quaternion)
    twist = make('geometry_msgs/msg/Twist', linear=zero, angular=zero)
    return make(
        'nav_msgs/msg/Odometry',
        header=head,
        child_frame_id='base_link',
        pose=make('geometry_msgs/msg/PoseWithCovariance', pose=pose, covariance=np.zeros(36)),
        twist=make('geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=np.zeros(36)),
    )


def _label_info(head: Any, names: Mapping[int, str]) -> Any:
    return make(
        'vision_msgs/msg/LabelInfo',
        header=head,
        class_map=[
            make('vision_msgs/msg/VisionClass', class_id=i, class_name=name)
            for i, name in names.items()
        ],
        threshold=0.0,
    )


def write_bag(
    path: Path,
    contents: Contents | None = None,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write a rosbag2 and return its folder."""
    return write_messages(path, messages(contents or Contents()), (), storage, compression)


def write_messages(
    path: Path,
    rows: Iterable[tuple[str, int, Any]],
    empty: Sequence[tuple[str, str]] = (),
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write (topic, receive time, message) and topics (name, type) without a message."""
    with _open(path, storage, compression) as writer:
        connections: dict[str, Any] = {
            topic: writer.add_connection(topic, kind, typestore=TYPES) for topic, kind in empty
        }
        for topic, stamp, message in rows:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], stamp, TYPES.serialize_cdr(message, kind))
    return path


def _open(path: Path, storage: StoragePlugin, compression: CompressionMode) -> Writer:
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression is not CompressionMode.NONE:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    return writer


def write_bag1(
    path: Path, frames: int = 3, start_ns: int = START_NS, compression: str = ''
) -> Path:
    """Write a ROS 1 bag with one camera and return its path."""
    types = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression])
    with writer:
        connection = writer.add_connection(
            '/camera/image_raw', 'sensor_msgs/msg/Image', typestore=types
        )
        for index in range(frames):
            stamp = start_ns + index * PERIOD_NS
            sec, nanosec = divmod(stamp, 1_000_000_000)
            pixels = picture(index)
            message = types.types['sensor_msgs/msg/Image'](
                header=types.types['std_msgs/msg/Header'](
                    seq=index,
                    stamp=types.types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec),
                    frame_id='camera_optical',
                ),
                height=HEIGHT,
                width=WIDTH,
                encoding='bgr8',
                is_bigendian=0,
                step=pixels.strides[0],
                data=pixels.reshape(-1),
            )
            data = types.serialize_ros1(message, 'sensor_msgs/msg/Image')
            writer.write(connection, stamp, data)
    return path
