# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starts the perception node on a robot, for one camera or for several in one process.

ros2 launch mt_perception perception.launch.py image:=/camera/image_raw
ros2 launch mt_perception perception.launch.py cameras:=front,left,right,rear image:=image_raw
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity

from mt_perception.errors import OptionError
from mt_perception.nodes import launch_arguments as arguments
from mt_perception.nodes.launch_arguments import Argument, Values

ARGUMENTS = (
    arguments.NAMESPACE,
    Argument('name', 'perception', 'Name of the node; cameras of one namespace differ in it.'),
    arguments.PARAMS_FILE,
    arguments.USE_SIM_TIME,
    Argument(
        'autostart',
        '',
        'Configure and activate at start; empty uses the value in params_file.',
        kind=bool,
    ),
    arguments.LOG_LEVEL,
    arguments.USE_RESPAWN,
    arguments.USE_RVIZ,
    Argument('image', 'image', 'Topic of the camera image; with cameras relative to each.'),
    Argument(
        'cameras',
        '',
        'Names of several cameras, separated by commas; empty uses the value in params_file.',
        kind=tuple,
    ),
    Argument('camera_info', '', 'Topic of the camera info; empty uses the one beside the image.'),
    arguments.MODEL,
)


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return arguments.launch_description(ARGUMENTS, _actions)


def _actions(values: Values) -> list[LaunchDescriptionEntity]:
    """The node, and RViz if requested.

    Raises:
        OptionError: All cameras would have the same topic.
    """
    for name in ('image', 'camera_info'):
        if values['cameras'] and (values[name] or '').startswith('/'):
            raise OptionError(
                f'{name}:={values[name]} is one topic for all cameras; with cameras it must be '
                'relative to the namespace of each, for example image_raw'
            )
    remappings = [('image', values['image'])]
    if values['camera_info']:
        remappings.append(('camera_info', values['camera_info']))
    names = ('use_sim_time', 'model', 'autostart', 'cameras')
    parameters = arguments.given(values, **{name: name for name in names})
    node = arguments.node(
        'perception', values, parameters, name=values['name'], remappings=remappings
    )
    if not values['use_rviz']:
        return [node]
    shown = {name: values[name] for name in ('namespace', 'name', 'use_sim_time')}
    if values['cameras']:
        shown['namespace'] = '/'.join(filter(None, (values['namespace'], values['cameras'][0])))
    return [node, arguments.include('view.launch.py', shown)]
