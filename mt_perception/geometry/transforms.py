# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tree of coordinate frames, from the transforms that ``/tf`` and ``/tf_static`` carry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CameraError

_DEEPEST = 100
"""Most frames between a frame and the root; more are a loop."""


@dataclass(frozen=True, eq=False)
class Transform:
    """Maps points of a child frame to its parent: parent = rotation · child + translation.

    Attributes:
        rotation: float64 (3, 3).
        translation: float64 (3,), metres.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def then(self, other: Transform) -> Transform:
        """Return the transform that applies this one first."""
        return Transform(
            other.rotation @ self.rotation, other.rotation @ self.translation + other.translation
        )

    def inverse(self) -> Transform:
        """Return the transform from the parent to the child."""
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)


IDENTITY = Transform(np.eye(3), np.zeros(3))


class TransformTree:
    """The latest transform of each frame to its parent."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Transform, float]] = {}

    def update(self, message: Any, received_s: float = math.inf) -> None:
        """Add a ``tf2_msgs/TFMessage``; invalid transforms are skipped.

        Args:
            message: The message.
            received_s: When it was received; infinite if it is static and never gets old.
        """
        for one in message.transforms:
            q, t = one.transform.rotation, one.transform.translation
            rotation = rotation_of(q.x, q.y, q.z, q.w)
            translation = np.array([t.x, t.y, t.z])
            if rotation is None or not np.isfinite(translation).all():
                continue
            parent, child = _plain(one.header.frame_id), _plain(one.child_frame_id)
            self._parents[child] = parent, Transform(rotation, translation), received_s

    def lookup(self, target: str, source: str, since_s: float = -math.inf) -> Transform:
        """Return the transform that maps points of ``source`` to ``target``.

        Args:
            target: The frame to which it maps.
            source: The frame from which it maps.
            since_s: Transforms that were received before are too old.

        Raises:
            CameraError: The frames are not connected, or a transform between them is too old.
        """
        target, source = _plain(target), _plain(source)
        upwards = dict(self._ancestors(source))
        for frame, (to_ancestor, oldest_s) in self._ancestors(target):
            if frame in upwards:
                up, other_s = upwards[frame]
                if min(oldest_s, other_s) < since_s:
                    raise CameraError(
                        'old_transform',
                        f'the transform from {source!r} to {target!r} on /tf stopped arriving; '
                        'check its publisher, or publish it on /tf_static if it is fixed',
                    )
                return up.then(to_ancestor.inverse())
        raise CameraError(
            'no_transform',
            f'there is no transform from {source!r} to {target!r} on /tf and /tf_static; start '
            'robot_state_publisher, or set depth.camera_height_m',
        )

    def _ancestors(self, frame: str) -> Iterator[tuple[str, tuple[Transform, float]]]:
        """Yield the frame and its ancestors: name, transform to it, receipt of its oldest part."""
        transform, oldest_s = IDENTITY, math.inf
        for _ in range(_DEEPEST):
            yield frame, (transform, oldest_s)
            if frame not in self._parents:
                return
            frame, up, received_s = self._parents[frame]
            transform, oldest_s = transform.then(up), min(oldest_s, received_s)


def rotation_of(x: float, y: float, z: float, w: float) -> NDArray[np.float64] | None:
    """Return the rotation matrix of a quaternion; None if it has no length."""
    length = float(np.sqrt(x * x + y * y + z * z + w * w))
    if not np.isfinite(length) or length < 1e-6:
        return None
    x, y, z, w = x / length, y / length, z / length, w / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _plain(frame_id: str) -> str:
    return frame_id.lstrip('/')
