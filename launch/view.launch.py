# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The results of a running perception node, in rviz or in Foxglove.

ros2 launch mt_perception view.launch.py viewer:=foxglove
"""

from __future__ import annotations

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mt_perception.nodes.main import use_shared_memory
from mt_perception.resources import share_folder

CONFIG = share_folder() / 'config'

ARGUMENTS = {
    'viewer': ('rviz', 'rviz, or foxglove for a bridge to the Foxglove app.'),
    'namespace': ('', 'Namespace of the perception node.'),
    'use_sim_time': ('false', 'Take the time from /clock.'),
    'fixed_frame': ('camera_color_optical_frame', 'Frame in which rviz draws the points.'),
    'rviz_config': (str(CONFIG / 'mt_perception.rviz'), 'Layout of rviz.'),
}

# The layout of rviz names these; in a namespace they are remapped.
TOPICS = ('overlay/image', 'depth/image', 'segmentation/image', 'points')


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=_viewer),
        ]
    )


def _viewer(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The viewer that was chosen."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    sim_time = {'use_sim_time': given['use_sim_time'].lower() == 'true'}
    environment = dict(os.environ)
    use_shared_memory(environment)
    changed = {k: v for k, v in environment.items() if os.environ.get(k) != v}
    actions: list[LaunchDescriptionEntity] = [
        SetEnvironmentVariable(name, value) for name, value in changed.items()
    ]
    if given['viewer'] == 'rviz':
        prefix = '/' + given['namespace'].strip('/') if given['namespace'].strip('/') else ''
        node = Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', given['rviz_config'], '-f', given['fixed_frame']],
            parameters=[sim_time],
            remappings=[
                (f'/perception/{topic}', f'{prefix}/perception/{topic}') for topic in TOPICS
            ],
        )
        return [*actions, node]
    if given['viewer'] == 'foxglove':
        bridge = Node(
            package='foxglove_bridge', executable='foxglove_bridge', parameters=[sim_time]
        )
        layout = CONFIG / 'mt_perception.foxglove.json'
        return [*actions, bridge, LogInfo(msg=f'open ws://localhost:8765 and import {layout}')]
    raise ValueError(f'viewer is rviz or foxglove, found {given["viewer"]!r}')
