# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recording through the perception node.

ros2 launch mt_perception replay.launch.py bag:=my_bag image:=/camera/image_raw
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mt_perception.resources import share_folder

SHARE = share_folder()

ARGUMENTS = {
    'bag': (None, 'A bag, a video, a folder of images or a camera device.'),
    'image': ('', 'Image topic of a bag that has several.'),
    'rate_hz': ('0.0', 'Images per second; 0 is the rate of the recording.'),
    'loop': ('false', 'Begin again at the end.'),
    'restamp': ('true', 'Stamp images with the current time.'),
    'namespace': ('', 'Namespace of both nodes.'),
    'params_file': (
        str(SHARE / 'config' / 'mt_perception.params.yaml'),
        'ROS parameter file.',
    ),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
    'use_rviz': ('false', 'Show the results in rviz.'),
    'model': ('', 'Installed model or model folder; empty: as in params_file.'),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    passed_on = ('namespace', 'params_file', 'log_level', 'use_rviz', 'model')
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            # A group, for else its `image` would take the place of ours.
            GroupAction(
                [
                    IncludeLaunchDescription(
                        PythonLaunchDescriptionSource(
                            str(SHARE / 'launch' / 'perception.launch.py')
                        ),
                        launch_arguments={
                            'image': 'image',
                            **{name: LaunchConfiguration(name) for name in passed_on},
                        }.items(),
                    )
                ]
            ),
            OpaqueFunction(function=_source),
        ]
    )


def _source(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The source node; when it has published all, everything ends."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    node = Node(
        package='mt_perception',
        executable='source',
        name='source',
        namespace=given['namespace'],
        parameters=[
            given['params_file'],
            {
                'source': given['bag'],
                'topic': given['image'],
                'rate_hz': float(given['rate_hz']),
                'loop': given['loop'].lower() == 'true',
                'restamp': given['restamp'].lower() == 'true',
            },
        ],
        ros_arguments=['--log-level', given['log_level']],
        output='screen',
    )
    end = OnProcessExit(target_action=node, on_exit=[Shutdown(reason='all is published')])
    return [node, RegisterEventHandler(end)]
