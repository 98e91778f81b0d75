# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a recording through the perception node.

ros2 launch mt_perception replay.launch.py bag:=my_bag image:=/camera/image_raw
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.launch_description_entity import LaunchDescriptionEntity

from mt_perception.nodes import launch_arguments as arguments
from mt_perception.nodes.launch_arguments import Argument, Values

ARGUMENTS = (
    Argument('bag', None, 'A bag, a video, a folder of images or a camera device.'),
    Argument('image', '', 'Image topic of a bag that has several.'),
    Argument('rate_hz', '0.0', 'Images per second; 0 uses the rate of the recording.', kind=float),
    Argument('loop', 'false', 'Start again at the end.', kind=bool),
    Argument('restamp', 'true', 'Stamp images with the current time.', kind=bool),
    arguments.NAMESPACE,
    arguments.PARAMS_FILE,
    arguments.USE_SIM_TIME,
    arguments.LOG_LEVEL,
    arguments.USE_RVIZ,
    arguments.MODEL,
)
PASSED_ON = ('namespace', 'params_file', 'use_sim_time', 'log_level', 'use_rviz', 'model')


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return arguments.launch_description(ARGUMENTS, _actions)


def _actions(values: Values) -> list[LaunchDescriptionEntity]:
    """Both nodes; the launch ends when the source node has published everything."""
    passed_on = {name: values[name] for name in PASSED_ON}
    names = ('rate_hz', 'loop', 'restamp', 'use_sim_time')
    given = arguments.given(values, **{name: name for name in names})
    parameters = {'source': values['bag'], 'topic': values['image'] or '', **given}
    source = arguments.node('source', values, parameters)
    end = OnProcessExit(target_action=source, on_exit=[Shutdown(reason='all images published')])
    return [
        arguments.include('perception.launch.py', {'image': 'image', **passed_on}),
        source,
        RegisterEventHandler(end),
    ]
