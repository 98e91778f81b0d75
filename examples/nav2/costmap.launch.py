# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starts the perception node and a costmap of nav2 that it fills.

ros2 launch examples/nav2/costmap.launch.py image:=/camera/image_raw
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity
from launch_ros.actions import Node

from mt_perception.nodes import launch_arguments as arguments
from mt_perception.nodes.launch_arguments import Argument, Values

HERE = Path(__file__).resolve().parent
ARGUMENTS = (
    Argument('image', 'image', 'Topic of the camera image.'),
    Argument('costmap_file', str(HERE / 'costmap.yaml'), 'Parameters of nav2.', kind=Path),
    arguments.PARAMS_FILE,
    arguments.USE_SIM_TIME,
    arguments.MODEL,
)


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return arguments.launch_description(ARGUMENTS, _actions)


def _actions(values: Values) -> list[LaunchDescriptionEntity]:
    """The perception node, the costmap, and the manager of its life cycle."""
    for package in ('nav2_costmap_2d', 'nav2_lifecycle_manager'):
        arguments.require_package(package, 'this launch file')
    passed_on = {name: values[name] for name in ('image', 'params_file', 'use_sim_time', 'model')}
    time = arguments.given(values, use_sim_time='use_sim_time')
    costmap = Node(
        package='nav2_costmap_2d',
        executable='nav2_costmap_2d',
        parameters=[values['costmap_file'], time],
        output='screen',
    )
    manager = Node(
        package='nav2_lifecycle_manager',
        executable='lifecycle_manager',
        name='lifecycle_manager_costmap',
        # The costmap alone has no bond with its manager.
        parameters=[
            {
                'autostart': True,
                'node_names': ['costmap/costmap'],
                'bond_timeout': 0.0,
                **time,
            }
        ],
        output='screen',
    )
    return [arguments.include('perception.launch.py', passed_on), costmap, manager]
