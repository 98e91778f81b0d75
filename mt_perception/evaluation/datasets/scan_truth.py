# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Known distances from a laser scanner in a bag, projected into the camera's image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import BagError
from mt_perception.evaluation.datasets.truth_topics import Nearest, topic_messages
from mt_perception.geometry.rays import pixels_of
from mt_perception.geometry.transforms import Transform, TransformTree
from mt_perception.sources.bag_reader import BagReader, bag_errors
from mt_perception.types import Intrinsics

_TF_TYPE = 'tf2_msgs/msg/TFMessage'
_SCAN_TYPE = 'sensor_msgs/msg/LaserScan'
_LEAST_DEPTH_M = 0.05


class PixelDepths(NamedTuple):
    """Depth of single pixels: rows, columns int64 (N,) and metres float64 (N,)."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    metres: NDArray[np.float64]


class ScanTruth:
    """The laser scans of a bag, found by time.

    Scanner and camera are fixed to each other, so the last transform of the bag is used.

    Args:
        path: The bag.
        topic: The topic of the scans.
        tolerance_ns: Largest difference in time between an image and its scan.

    Raises:
        BagError: The bag has no such topic, or no transforms.
    """

    def __init__(self, path: Path, topic: str, tolerance_ns: int) -> None:
        self._tree = TransformTree()
        with bag_errors(path), BagReader(path) as reader:
            scans = [c for c in reader.channels if c.msgtype == _SCAN_TYPE]
            if topic not in {c.topic for c in scans}:
                there = ', '.join(sorted(c.topic for c in scans)) or 'none'
                raise BagError(f'bag {path} has no laser scans on {topic!r}; there are {there}')
            transforms = [c for c in reader.channels if c.msgtype == _TF_TYPE]
            if not transforms:
                raise BagError(f'bag {path} has no /tf_static, which places the laser scanner')
            for _, message in reader.messages(transforms):
                self._tree.update(message)
        self._scans = Nearest(topic_messages(path, topic), tolerance_ns)

    def find(self, stamp_ns: int, frame_id: str, camera: Intrinsics) -> PixelDepths | None:
        """Return the pixels that a scan hits; None without a scan near the image in time.

        Args:
            stamp_ns: Stamp of the image.
            frame_id: Its optical frame.
            camera: A camera with known rays.

        Raises:
            CameraError: No transform connects scanner and camera.
        """
        scan = self._scans.at(stamp_ns)
        if scan is None:
            return None
        to_camera = self._tree.lookup(frame_id, scan.header.frame_id)
        return project(scan_points(scan), to_camera, camera)

    def close(self) -> None:
        """Close the bag."""
        self._scans.close()


def scan_points(scan: Any) -> NDArray[np.float64]:
    """Return the points of a ``sensor_msgs/LaserScan`` in its frame, (N, 3) metres."""
    ranges = np.asarray(scan.ranges, np.float64)
    angles = scan.angle_min + scan.angle_increment * np.arange(len(ranges))
    there = np.isfinite(ranges) & (ranges >= scan.range_min) & (ranges <= scan.range_max)
    ranges, angles = ranges[there], angles[there]
    return np.stack([ranges * np.cos(angles), ranges * np.sin(angles), 0 * ranges], axis=1)


def project(points: NDArray[np.float64], to_camera: Transform, camera: Intrinsics) -> PixelDepths:
    """Project points, (N, 3) metres, into an image; those outside of it are left out."""
    x, y, z = (points @ to_camera.rotation.T + to_camera.translation).T
    there = z > _LEAST_DEPTH_M
    x, y, z = x[there], y[there], z[there]
    columns, rows = np.round(pixels_of(camera, np.stack([x / z, y / z], axis=1))).T
    # Comparisons with NaN are false: rays without a pixel are left out.
    inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    return PixelDepths(rows[inside].astype(np.int64), columns[inside].astype(np.int64), z[inside])
