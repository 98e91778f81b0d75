# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host, on the machine that finishes the work of robots.

ros2 launch mt_perception remote_host.launch.py params_file:=my_host.yaml
"""

from __future__ import annotations

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mt_perception.nodes.main import use_shared_memory
from mt_perception.resources import share_folder

SHARE = share_folder()

ARGUMENTS = {
    'namespace': ('', 'Namespace of the node.'),
    'params_file': (
        str(SHARE / 'config' / 'mt_perception.params.yaml'),
        'ROS parameter file.',
    ),
    'model': ('', 'Installed model or model folder; empty: as in params_file.'),
    'host': ('', 'Address to listen at; empty: as in params_file.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
    'use_respawn': ('false', 'Start the node again when it ends.'),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=_remote_host),
        ]
    )


def _remote_host(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with only those arguments that somebody gave."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    named = {'model': given['model'], 'listen.host': given['host']}
    node = Node(
        package='mt_perception',
        executable='remote_host',
        name='remote_host',
        namespace=given['namespace'],
        parameters=[given['params_file'], {k: v for k, v in named.items() if v}],
        ros_arguments=['--log-level', given['log_level']],
        respawn=given['use_respawn'].strip().lower() in ('1', 'true', 'yes', 'on'),
        respawn_delay=2.0,
        output='screen',
    )
    environment = dict(os.environ)
    use_shared_memory(environment)
    changed = {k: v for k, v in environment.items() if os.environ.get(k) != v}
    return [*(SetEnvironmentVariable(k, v) for k, v in changed.items()), node]
