# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results as a rosbag2 (mcap) of standard messages, for rviz, Foxglove and other tools."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from mt_perception.errors import OutputError
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.output import OutputFolder, writing
from mt_perception.geometry.camera import Calibration
from mt_perception.image.overlay import draw
from mt_perception.sources.message_types import standard_types
from mt_perception.types import Detections, Intrinsics, Result, Segmentation

NODE = '/perception'
"""The topics have this node's name space, so one layout shows node and bag."""

JPEG_QUALITY = 90

_ON = {
    'image': ('/image/compressed', 'sensor_msgs/msg/CompressedImage'),
    'camera_info': ('/camera_info', 'sensor_msgs/msg/CameraInfo'),
    'detections': (f'{NODE}/detections', 'vision_msgs/msg/Detection2DArray'),
    'depth': (f'{NODE}/depth/image', 'sensor_msgs/msg/Image'),
    'depth_camera': (f'{NODE}/depth/camera_info', 'sensor_msgs/msg/CameraInfo'),
    'segmentation': (f'{NODE}/segmentation/image', 'sensor_msgs/msg/Image'),
    'labels': (f'{NODE}/segmentation/label_info', 'vision_msgs/msg/LabelInfo'),
    'overlay': (f'{NODE}/overlay/image/compressed', 'sensor_msgs/msg/CompressedImage'),
}

_FOREVER = QosTime(sec=9223372036, nsec=854775807)


class ResultBag:
    """Writes images and results; use it in ``with``.

    The bag is written to a temporary folder and moved into place when it is complete.

    Args:
        folder: The bag's folder; a bag of an earlier run is replaced, other files are not.

    Raises:
        OutputError: The folder cannot be written, or has files that no command wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._output = OutputFolder(folder)
        self._types = standard_types()
        self._connections: dict[str, Connection] = {}
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            # The same folder name, because the file inside has the name of its folder.
            self._partial = Path(mkdtemp('', '.partial-', folder.parent)) / folder.name
            self._writer = Writer(self._partial, version=9, storage_plugin=StoragePlugin.MCAP)
            # Compressed chunks are part of mcap; every reader supports them.
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()

    def add(self, sample: Sample, result: Result) -> None:
        """Write one frame and all its results.

        Raises:
            OutputError: It cannot be written, for example on a full disk.
        """
        frame = sample.frame
        header = self._header(frame.stamp_ns, frame.frame_id)
        messages = {
            'image': self._jpeg(header, frame.image),
            'overlay': self._jpeg(header, draw(frame.image, result)),
        }
        if frame.intrinsics is not None:
            messages['camera_info'] = self._camera_info(header, frame.intrinsics)
        if result.detections is not None:
            messages['detections'] = self._detections(header, result.detections)
        if result.depth is not None:
            messages['depth'] = self._image(header, result.depth.depth, '32FC1')
            messages['depth_camera'] = self._camera_info(header, result.depth.intrinsics)
        if result.segmentation is not None:
            if 'labels' not in self._connections:
                messages['labels'] = self._label_info(header, result.segmentation)
            messages['segmentation'] = self._image(header, result.segmentation.class_ids, 'mono8')
        with writing(self._folder):
            for name, message in messages.items():
                self._write(name, frame.stamp_ns, message)

    def __enter__(self) -> ResultBag:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._writer.abort()
            shutil.rmtree(self._partial.parent, ignore_errors=True)
            return
        with writing(self._folder):
            self._writer.close()
            for file in sorted(self._partial.iterdir()):
                os.replace(file, self._output.file(file.name))
            shutil.rmtree(self._partial.parent)
            self._output.finish()

    def _write(self, name: str, stamp_ns: int, message: Any) -> None:
        topic, kind = _ON[name]
        if name not in self._connections:
            self._connections[name] = self._writer.add_connection(
                topic,
                kind,
                typestore=self._types,
                offered_qos_profiles=[_qos(latched=name == 'labels')],
            )
        data = self._types.serialize_cdr(message, kind)
        try:
            self._writer.write(self._connections[name], stamp_ns, data)
        except WriterError as error:
            raise OutputError(f'cannot write {topic} to {self._folder}: {error}') from error

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._types.types[kind](**fields)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        stamp = self._make('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
        return self._make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)

    def _jpeg(self, header: Any, image: NDArray[np.uint8]) -> Any:
        data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        return self._make(_ON['image'][1], header=header, format='jpeg', data=data)

    def _image(self, header: Any, pixels: NDArray[Any], encoding: str) -> Any:
        return self._make(
            'sensor_msgs/msg/Image',
            header=header,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=np.ascontiguousarray(pixels).view(np.uint8).reshape(-1),
        )

    def _camera_info(self, header: Any, camera: Intrinsics) -> Any:
        calibration = Calibration.of(camera)
        return self._make(
            'sensor_msgs/msg/CameraInfo',
            header=header,
            height=camera.height,
            width=camera.width,
            distortion_model=calibration.distortion_model,
            d=np.array(calibration.d),
            k=np.array(calibration.k),
            r=np.eye(3).reshape(-1),
            p=np.array(calibration.p),
            binning_x=0,
            binning_y=0,
            roi=self._make(
                'sensor_msgs/msg/RegionOfInterest',
                x_offset=0,
                y_offset=0,
                height=0,
                width=0,
                do_rectify=False,
            ),
        )

    def _detections(self, header: Any, found: Detections) -> Any:
        rows = [
            self._detection(header, box, score, found.labels[class_id])
            for box, score, class_id in zip(
                found.boxes.tolist(), found.scores.tolist(), found.class_ids, strict=True
            )
        ]
        return self._make(_ON['detections'][1], header=header, detections=rows)

    def _detection(self, header: Any, box: list[float], score: float, label: str) -> Any:
        x0, y0, x1, y1 = box
        point = self._make('vision_msgs/msg/Point2D', x=(x0 + x1) / 2, y=(y0 + y1) / 2)
        centre = self._make('vision_msgs/msg/Pose2D', position=point, theta=0.0)
        hypothesis = self._make('vision_msgs/msg/ObjectHypothesis', class_id=label, score=score)
        return self._make(
            'vision_msgs/msg/Detection2D',
            header=header,
            results=[
                self._make(
                    'vision_msgs/msg/ObjectHypothesisWithPose',
                    hypothesis=hypothesis,
                    pose=self._no_pose(),
                )
            ],
            bbox=self._make(
                'vision_msgs/msg/BoundingBox2D', center=centre, size_x=x1 - x0, size_y=y1 - y0
            ),
            id='',
        )

    def _no_pose(self) -> Any:
        return self._make(
            'geometry_msgs/msg/PoseWithCovariance',
            pose=self._make(
                'geometry_msgs/msg/Pose',
                position=self._make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0),
                orientation=self._make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0),
            ),
            covariance=np.zeros(36),
        )

    def _label_info(self, header: Any, segmentation: Segmentation) -> Any:
        return self._make(
            _ON['labels'][1],
            header=header,
            class_map=[
                self._make('vision_msgs/msg/VisionClass', class_id=i, class_name=label)
                for i, label in enumerate(segmentation.labels)
            ],
            threshold=0.0,
        )


def _qos(*, latched: bool) -> Qos:
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )
