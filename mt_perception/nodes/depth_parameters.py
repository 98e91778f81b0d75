# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's parameters of depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mt_perception.execution.options import NONE, SCALES
from mt_perception.nodes.parameter_schema import Settings, parameter

PARAMETERS, TF, IMU = 'parameters', 'tf', 'imu'


@dataclass(frozen=True)
class DepthParameters(Settings):
    """Parameters of depth; all can change between two frames."""

    depth_max_range_m: float = parameter(
        'depth.max_range_m',
        80.0,
        'Maximum depth in metres; larger values become NaN.',
        limits=(0.1, 1000.0),
    )
    depth_scale: str = parameter(
        'depth.scale',
        NONE,
        'Source of the scale of depth: the network (none), ground, calibration, or both; see '
        'docs/depth.md.',
        choices=SCALES,
    )
    depth_ground_source: str = parameter(
        'depth.ground_source',
        PARAMETERS,
        'Source of the ground plane: parameters; tf (height and angles); imu (angles by gravity).',
        choices=(PARAMETERS, TF, IMU),
    )
    depth_camera_height_m: float = parameter(
        'depth.camera_height_m',
        0.0,
        'Height of the camera above the ground in metres; 0 is unknown. tf does not need it.',
        limits=(0.0, 100.0),
    )
    depth_camera_pitch_deg: float = parameter(
        'depth.camera_pitch_deg',
        0.0,
        'Pitch of the camera below the horizon, in degrees.',
        limits=(-90.0, 90.0),
    )
    depth_camera_roll_deg: float = parameter(
        'depth.camera_roll_deg',
        0.0,
        'Roll of the camera to its right, in degrees.',
        limits=(-180.0, 180.0),
    )
    depth_base_frame: str = parameter(
        'depth.base_frame',
        'base_footprint',
        'Frame whose origin is on the ground and whose z points up, for the ground source tf.',
    )
    depth_calibration_file: str = parameter(
        'depth.calibration_file',
        '',
        'File written by `mt_perception calibrate`; the service ~/calibrate writes it.',
    )
    depth_calibration_topic: str = parameter(
        'depth.calibration_topic',
        '',
        'Depth image, aligned with the image, to which the service ~/calibrate fits.',
    )

    depth_filter: bool = parameter(
        'depth.filter',
        False,
        'Filter depth over time along the optical flow, against flicker; see docs/depth.md.',
    )

    def depth_options(self) -> dict[str, Any]:
        """The options of the pipeline by name."""
        by_parameters = self.depth_ground_source == PARAMETERS
        return {
            'max_depth_m': self.depth_max_range_m,
            'depth_scale': self.depth_scale,
            # Other sources give the plane with each frame; the parameter must not replace it.
            'camera_height_m': self.depth_camera_height_m if by_parameters else 0.0,
            'camera_pitch_deg': self.depth_camera_pitch_deg,
            'camera_roll_deg': self.depth_camera_roll_deg,
            'depth_calibration': self.depth_calibration_file,
            'depth_filter': self.depth_filter,
        }
