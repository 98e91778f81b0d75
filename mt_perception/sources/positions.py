# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Positions of a robot over a recording, from a topic with poses or odometry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import BagError
from mt_perception.sources.bag import stamp_ns
from mt_perception.sources.bag_file import Channel
from mt_perception.sources.bag_reader import BagReader, bag_errors

POSE_TYPES = (
    'nav_msgs/msg/Odometry',
    'geometry_msgs/msg/PoseStamped',
    'geometry_msgs/msg/PoseWithCovarianceStamped',
)
"""Message types with a position, in order of preference."""

_MOST_S = 1.0
"""Longest time between a position and an image that it is used for, in seconds."""


@dataclass(frozen=True, eq=False)
class Positions:
    """A path in space.

    Attributes:
        stamps: int64 (N,), nanoseconds, increasing.
        metres: float64 (N, 3), position at each stamp in one fixed frame.
    """

    stamps: NDArray[np.int64]
    metres: NDArray[np.float64]

    def at(self, stamp: int) -> NDArray[np.float64] | None:
        """The position (3,) at a time, interpolated; None if no message is within a second."""
        nearest = np.abs(self.stamps - stamp).min() if len(self.stamps) else np.inf
        if nearest > _MOST_S * 1e9:
            return None
        seconds = (self.stamps - stamp) * 1e-9
        return np.array([np.interp(0.0, seconds, self.metres[:, axis]) for axis in range(3)])


def read_positions(path: Path, topic: str | None = None) -> Positions:
    """Read the positions of a bag.

    Args:
        path: The bag.
        topic: The topic; None takes the only one, odometry before other poses.

    Raises:
        BagError: The bag cannot be read, or no topic or several topics fit.
    """
    with bag_errors(path), BagReader(path) as reader:
        channel = _channel(reader.channels, topic, path)
        rows = [_row(message) for _, message in reader.messages([channel])]
    rows = [row for row in rows if np.isfinite(row[1]).all()]
    rows.sort(key=lambda row: row[0])
    stamps = np.array([row[0] for row in rows], np.int64)
    return Positions(stamps, np.array([row[1] for row in rows], np.float64).reshape(-1, 3))


def _channel(channels: list[Channel], topic: str | None, path: Path) -> Channel:
    poses = [c for c in channels if c.msgtype in POSE_TYPES and c.count]
    there = ', '.join(sorted({c.topic for c in poses})) or 'none'
    if topic is not None:
        poses = [c for c in poses if c.topic == topic]
    else:
        odometry = [c for c in poses if c.msgtype == POSE_TYPES[0]]
        poses = odometry or poses
    if len({c.topic for c in poses}) != 1:
        raise BagError(
            f'bag {path} does not have exactly one topic with positions; set --pose-topic, or '
            f'omit --every-m. Topics of {", ".join(POSE_TYPES)}: {there}'
        )
    return poses[0]


def _row(message: Any) -> tuple[int, tuple[float, float, float]]:
    pose = message.pose
    # Odometry and PoseWithCovarianceStamped have the pose beside its covariance.
    place = getattr(pose, 'pose', pose).position
    return stamp_ns(message), (float(place.x), float(place.y), float(place.z))
