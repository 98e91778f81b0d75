# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starts the remote host, which runs the later part of the network for robots.

ros2 launch mt_perception remote_host.launch.py params_file:=my_host.yaml
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity

from mt_perception.nodes import launch_arguments as arguments
from mt_perception.nodes.launch_arguments import Argument, Values

ARGUMENTS = (
    arguments.NAMESPACE,
    arguments.PARAMS_FILE,
    arguments.MODEL,
    Argument('host', '', 'Address to listen on; empty uses the value in params_file.'),
    arguments.LOG_LEVEL,
    arguments.USE_RESPAWN,
)


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return arguments.launch_description(ARGUMENTS, _actions)


def _actions(values: Values) -> list[LaunchDescriptionEntity]:
    """The node."""
    parameters = arguments.given(values, model='model', host='listen.host')
    return [arguments.node('remote_host', values, parameters)]
