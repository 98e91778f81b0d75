# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground as a plane in the optical frame: from a mounting, a pose or gravity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import OptionError, number

_GRAVITY_M_S2 = (7.0, 12.5)
"""Valid range of gravity; the motion of a robot adds up to 3 m/s²."""


@dataclass(frozen=True)
class GroundPlane:
    """Flat ground in the camera's optical frame (x right, y down, z forward).

    A point p of the ground satisfies ``normal · p = height_m``.

    Attributes:
        normal: Unit vector from the camera down to the ground.
        height_m: Height of the camera above the ground in metres.

    Raises:
        OptionError: The height is not positive, or the normal has no length.

    Example:
        >>> from mt_perception import GroundPlane
        >>> GroundPlane.from_angles(0.3, pitch_deg=90).normal[2]
        1.0
    """

    normal: tuple[float, float, float]
    height_m: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.height_m) and self.height_m > 0):
            raise OptionError(
                f'the height of the camera above the ground is {self.height_m:g} m; expected a '
                'positive number'
            )
        length = math.hypot(*self.normal)
        if not (math.isfinite(length) and length > 0):
            raise OptionError(f'the ground plane has the normal {self.normal}; expected a vector')
        x, y, z = self.normal
        object.__setattr__(self, 'normal', (x / length, y / length, z / length))

    @classmethod
    def from_angles(
        cls, height_m: float, pitch_deg: float = 0.0, roll_deg: float = 0.0
    ) -> GroundPlane:
        """Return the ground below a camera whose mounting is known.

        Args:
            height_m: Height of the camera above the ground in metres.
            pitch_deg: Angle in degrees by which the camera points below the horizon.
            roll_deg: Angle in degrees by which the camera rolls to its right (REP-103).

        Raises:
            OptionError: A number is out of range.
        """
        if not (abs(pitch_deg) <= 90 and abs(roll_deg) <= 180):
            raise OptionError(
                f'the camera has pitch {pitch_deg:g} and roll {roll_deg:g} degrees; expected -90 '
                'to 90 and -180 to 180'
            )
        pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
        flat = math.cos(pitch)
        return cls((math.sin(roll) * flat, math.cos(roll) * flat, math.sin(pitch)), height_m)

    @classmethod
    def from_pose(cls, rotation: NDArray[np.float64], height_m: float) -> GroundPlane:
        """Return the ground below a camera with a known pose.

        Args:
            rotation: float64 (3, 3), from the optical frame to a frame whose z points up.
            height_m: z of the camera in that frame, with the ground at z = 0.

        Raises:
            OptionError: The height is not positive, or the matrix is not a rotation.
        """
        # np.allclose takes five times as long, once for each frame.
        if not np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3:
            raise OptionError('the pose of the camera is not a rotation; check the transform')
        x, y, z = (-rotation[2]).tolist()
        return cls((x, y, z), height_m)

    @classmethod
    def from_gravity(cls, acceleration: NDArray[np.float64], height_m: float) -> GroundPlane:
        """Return the ground below a camera from the acceleration that an IMU at rest measures.

        Args:
            acceleration: float64 (3,), m/s² in the optical frame; it points up.
            height_m: Height of the camera above the ground in metres.

        Raises:
            OptionError: The height is not positive, or the acceleration is out of range.
        """
        # Unlike NumPy's norm, it does not overflow for readings of any size.
        size = math.hypot(*acceleration.tolist())
        low, high = _GRAVITY_M_S2
        if not low <= size <= high:
            raise OptionError(
                f'the IMU measures {number(size)} m/s2; expected gravity, {low:g} to {high:g} m/s2'
            )
        x, y, z = (-acceleration).tolist()
        return cls((x, y, z), height_m)
