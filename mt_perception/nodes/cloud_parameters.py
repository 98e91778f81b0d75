# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's parameters of point clouds."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.geometry.obstacles import ObstacleOptions
from mt_perception.nodes.parameter_schema import Settings, parameter


@dataclass(frozen=True)
class CloudParameters(Settings):
    """Parameters of the points and the obstacles."""

    points_stride: int = parameter(
        'points.stride',
        2,
        'Sampling of the point cloud: every n-th pixel of every n-th row.',
        limits=(1, 64),
    )
    points_labels: bool = parameter(
        'points.labels', False, 'Run the segmentation for the field label of the point cloud.'
    )
    obstacles_min_height_m: float = parameter(
        'obstacles.min_height_m',
        0.1,
        'Height above the ground from which a point is an obstacle, in metres.',
        limits=(0.0, 100.0),
    )
    obstacles_max_height_m: float = parameter(
        'obstacles.max_height_m',
        2.0,
        'Height above the ground up to which a point is an obstacle, in metres.',
        limits=(0.0, 100.0),
    )
    obstacles_min_range_m: float = parameter(
        'obstacles.min_range_m',
        0.1,
        'Minimum depth of an obstacle, in metres.',
        limits=(0.0, 1000.0),
    )
    obstacles_max_range_m: float = parameter(
        'obstacles.max_range_m',
        5.0,
        'Maximum depth of an obstacle, in metres.',
        limits=(0.1, 1000.0),
    )
    obstacles_voxel_m: float = parameter(
        'obstacles.voxel_m',
        0.05,
        'Side of a voxel in metres; each has at most one obstacle point. 0 keeps all points.',
        limits=(0.0, 10.0),
    )
    obstacles_stride: int = parameter(
        'obstacles.stride',
        8,
        'Sampling of obstacles: every n-th pixel of every n-th row.',
        limits=(1, 64),
    )
    obstacles_ignored_classes: tuple[str, ...] = parameter(
        'obstacles.ignored_classes',
        ObstacleOptions.ignored,
        'Segmentation classes that are not obstacles; unknown names have no effect.',
    )

    def check(self) -> None:
        """Check constraints between parameters: limits are in order."""
        super().check()
        for kind, low, high in (
            ('height', self.obstacles_min_height_m, self.obstacles_max_height_m),
            ('range', self.obstacles_min_range_m, self.obstacles_max_range_m),
        ):
            if low >= high:
                raise OptionError(
                    f'obstacles.min_{kind}_m is {low:g}; expected less than '
                    f'obstacles.max_{kind}_m, {high:g}'
                )

    def obstacle_options(self) -> ObstacleOptions:
        """The options of obstacles."""
        return ObstacleOptions(
            self.obstacles_min_height_m,
            self.obstacles_max_height_m,
            self.obstacles_min_range_m,
            self.obstacles_max_range_m,
            self.obstacles_voxel_m,
            self.obstacles_stride,
            self.obstacles_ignored_classes,
        )
