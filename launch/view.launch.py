# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shows the results of a running perception node in RViz or Foxglove.

ros2 launch mt_perception view.launch.py viewer:=foxglove
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from launch import LaunchDescription
from launch.actions import LogInfo
from launch.launch_description_entity import LaunchDescriptionEntity
from launch_ros.actions import Node

from mt_perception.nodes import launch_arguments as arguments
from mt_perception.nodes.launch_arguments import Argument, Values
from mt_perception.resources import share_folder

CONFIG = share_folder() / 'config'

ARGUMENTS = (
    Argument(
        'viewer',
        'rviz',
        'rviz, or foxglove for a bridge to the Foxglove app.',
        choices=('rviz', 'foxglove'),
    ),
    Argument('namespace', '', 'Namespace of the perception node.'),
    Argument('name', 'perception', 'Name of the perception node.'),
    arguments.USE_SIM_TIME,
    Argument('fixed_frame', 'camera_color_optical_frame', 'Frame in which RViz shows the points.'),
    Argument(
        'rviz_config', str(CONFIG / 'mt_perception.rviz'), 'Configuration of RViz.', kind=Path
    ),
)

# The topics in both configurations, which are written for a node named /perception.
NODE = '/perception'
TOPICS = ('overlay/image', 'depth/image', 'segmentation/image', 'points')


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return arguments.launch_description(ARGUMENTS, _actions)


def _actions(values: Values) -> list[LaunchDescriptionEntity]:
    """The selected viewer."""
    sim_time = arguments.given(values, use_sim_time='use_sim_time')
    parts = ((values['namespace'] or '').strip('/'), values['name'])
    node = ''.join(f'/{part}' for part in parts if part)
    if values['viewer'] == 'rviz':
        arguments.require_package('rviz2', 'viewer:=rviz')
        return [
            Node(
                package='rviz2',
                executable='rviz2',
                arguments=['-d', values['rviz_config'], '-f', values['fixed_frame']],
                parameters=[sim_time],
                remappings=[(f'{NODE}/{topic}', f'{node}/{topic}') for topic in TOPICS],
            )
        ]
    arguments.require_package('foxglove_bridge', 'viewer:=foxglove')
    bridge = Node(package='foxglove_bridge', executable='foxglove_bridge', parameters=[sim_time])
    message = f'open ws://localhost:8765 in Foxglove and import {foxglove_layout(node)}'
    return [bridge, LogInfo(msg=message)]


def foxglove_layout(node: str) -> Path:
    """The layout for a node of this full name; written to a temporary folder if necessary."""
    layout = CONFIG / 'mt_perception.foxglove.json'
    if node == NODE:
        return layout
    changed = Path(tempfile.mkdtemp(prefix='mt_perception_')) / layout.name
    text = layout.read_text(encoding='utf-8')
    changed.write_text(text.replace(f'"{NODE}/', f'"{node}/'), encoding='utf-8')
    return changed
