# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The arguments of the launch files: declared here once, and checked before a process starts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mt_perception.errors import OptionError
from mt_perception.nodes.shared_memory import use_shared_memory
from mt_perception.resources import share_folder

Values = Mapping[str, Any]

_TRUE, _FALSE = ('1', 'true', 'yes', 'on'), ('0', 'false', 'no', 'off')
# A level for all loggers, or NAME:=LEVEL for one.
_LOG_LEVEL = re.compile(r'(\S+:=)?(debug|info|warn|error|fatal)', re.IGNORECASE)


@dataclass(frozen=True)
class Argument:
    """One launch argument.

    Attributes:
        name: Its name.
        default: Its default; None if it is required. An empty default stands for the value in
            the parameter file, and the argument's value is then None.
        description: One sentence for ``--show-args``.
        kind: bool, float, Path (of a file that exists), tuple (names with commas) or str.
        choices: The valid values of a string; empty if every string is valid.
        package: The ROS package that is necessary if a boolean is true.
    """

    name: str
    default: str | None
    description: str
    kind: type = str
    choices: tuple[str, ...] = ()
    package: str = ''

    def value(self, text: str) -> Any:
        """Convert the text of an argument.

        Raises:
            OptionError: The text is invalid, or a package or file is missing.
        """
        text = text.strip()
        if not text and self.default == '':
            return None
        if self.kind is bool:
            return self._boolean(text.lower())
        if self.kind is float:
            try:
                return float(text)
            except ValueError:
                raise OptionError(f'{self.name} must be a number, found {text!r}') from None
        if self.kind is tuple:
            return [name.strip() for name in text.split(',')]
        if self.kind is Path and not Path(os.path.expanduser(text)).is_file():
            raise OptionError(f'{self.name} must be the path of a file, found {text!r}')
        if self.choices and text not in self.choices:
            raise OptionError(
                f'{self.name} must be one of {", ".join(self.choices)}, found {text!r}'
            )
        if self.name == 'log_level' and not _LOG_LEVEL.fullmatch(text):
            raise OptionError(
                f'log_level must be debug, info, warn, error or fatal, found {text!r}'
            )
        return text

    def _boolean(self, text: str) -> bool:
        if text not in _TRUE + _FALSE:
            raise OptionError(f'{self.name} must be true or false, found {text!r}')
        if text in _TRUE and self.package:
            require_package(self.package, f'{self.name}:={text}')
        return text in _TRUE


def require_package(package: str, argument: str) -> None:
    """Check that a ROS package is installed.

    Raises:
        OptionError: It is not.
    """
    try:
        get_package_prefix(package)
    except (PackageNotFoundError, LookupError) as error:
        name = f'ros-{os.environ.get("ROS_DISTRO", "$ROS_DISTRO")}-{package.replace("_", "-")}'
        raise OptionError(
            f'{argument} needs {package}, which is not installed; apt install {name}'
        ) from error


NAMESPACE = Argument('namespace', '', 'Namespace of the nodes and of their relative topics.')
PARAMS_FILE = Argument(
    'params_file',
    str(share_folder() / 'config' / 'mt_perception.params.yaml'),
    'ROS parameter file.',
    kind=Path,
)
USE_SIM_TIME = Argument(
    'use_sim_time', '', 'Use the time on /clock; empty uses the value in params_file.', kind=bool
)
LOG_LEVEL = Argument('log_level', 'info', 'debug, info, warn, error or fatal.')
USE_RESPAWN = Argument('use_respawn', 'false', 'Restart a node when its process ends.', kind=bool)
USE_RVIZ = Argument('use_rviz', 'false', 'Show the results in RViz.', kind=bool, package='rviz2')
MODEL = Argument(
    'model', '', 'Installed model or model folder; empty uses the value in params_file.'
)


def launch_description(
    arguments: Sequence[Argument], actions: Callable[[Values], list[LaunchDescriptionEntity]]
) -> LaunchDescription:
    """A launch description that starts nothing if one of its arguments is invalid.

    Args:
        arguments: The arguments of the launch file.
        actions: Creates the actions from the values of all arguments by name.
    """

    def checked(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        values = {
            argument.name: argument.value(LaunchConfiguration(argument.name).perform(context))
            for argument in arguments
        }
        return [*_shared_memory(), *actions(values)]

    declared = [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.description)
        for a in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=checked)])


def given(values: Values, **names: str) -> dict[str, Any]:
    """Node parameters for the arguments that have a value.

    Args:
        values: All arguments.
        names: Argument → name of the parameter.
    """
    return {
        parameter: values[argument]
        for argument, parameter in names.items()
        if values[argument] is not None
    }


def node(executable: str, values: Values, parameters: Mapping[str, Any], **options: Any) -> Node:
    """A node of this package with the shared arguments; ``options`` are those of ``Node``."""
    return Node(
        package='mt_perception',
        executable=executable,
        namespace=values['namespace'] or '',
        parameters=[values['params_file'], parameters],
        ros_arguments=['--log-level', values['log_level']],
        respawn=values.get('use_respawn', False),
        respawn_delay=2.0,
        output='screen',
        **{'name': executable, **options},
    )


def include(file: str, values: Values) -> GroupAction:
    """Include another launch file of this package.

    A group limits the scope of its arguments: those of the same name in the including file keep
    their values.
    """
    source = PythonLaunchDescriptionSource(str(share_folder() / 'launch' / file))
    texts = {name: '' if value is None else str(value) for name, value in values.items()}
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=texts.items())])


def _shared_memory() -> list[SetEnvironmentVariable]:
    """Select our Fast DDS profile for the processes that are launched."""
    environment = dict(os.environ)
    use_shared_memory(environment)
    changed = {k: v for k, v in environment.items() if os.environ.get(k) != v}
    return [SetEnvironmentVariable(name, value) for name, value in changed.items()]
