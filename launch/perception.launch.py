# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node on a robot.

ros2 launch mt_perception perception.launch.py image:=/camera/image_raw
"""

from __future__ import annotations

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mt_perception.nodes.main import use_shared_memory
from mt_perception.resources import share_folder

SHARE = share_folder()

ARGUMENTS = {
    'namespace': ('', 'Namespace of the node and of its relative topics.'),
    'params_file': (
        str(SHARE / 'config' / 'mt_perception.params.yaml'),
        'ROS parameter file.',
    ),
    'use_sim_time': ('false', 'Take the time from /clock.'),
    'autostart': ('', 'Configure and activate at once; empty: as in params_file.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
    'use_respawn': ('false', 'Start the node again when it ends.'),
    'use_rviz': ('false', 'Show the results in rviz.'),
    'image': ('image', 'Topic of the camera image.'),
    'camera_info': ('', 'Topic of the camera info; empty: the one beside the image.'),
    'model': ('', 'Installed model or model folder; empty: as in params_file.'),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=_perception),
            # A group, for else the arguments of what is included would become ours.
            GroupAction(
                [
                    IncludeLaunchDescription(
                        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'view.launch.py')),
                        launch_arguments={
                            name: LaunchConfiguration(name)
                            for name in ('namespace', 'use_sim_time')
                        }.items(),
                    )
                ],
                condition=IfCondition(LaunchConfiguration('use_rviz')),
            ),
        ]
    )


def _perception(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with only those arguments that somebody gave."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides: dict[str, object] = {'use_sim_time': _is_true(given['use_sim_time'])}
    if given['model']:
        overrides['model'] = given['model']
    if given['autostart']:
        overrides['autostart'] = _is_true(given['autostart'])
    remappings = [('image', given['image'])]
    if given['camera_info']:
        remappings.append(('camera_info', given['camera_info']))
    node = Node(
        package='mt_perception',
        executable='perception',
        name='perception',
        namespace=given['namespace'],
        parameters=[given['params_file'], overrides],
        remappings=remappings,
        ros_arguments=['--log-level', given['log_level']],
        respawn=_is_true(given['use_respawn']),
        respawn_delay=2.0,
        output='screen',
    )
    environment = dict(os.environ)
    use_shared_memory(environment)
    changed = {k: v for k, v in environment.items() if os.environ.get(k) != v}
    return [*(SetEnvironmentVariable(k, v) for k, v in changed.items()), node]


def _is_true(text: str) -> bool:
    return text.strip().lower() in ('1', 'true', 'yes', 'on')
