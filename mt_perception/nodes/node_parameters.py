# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A settings class as the parameters of a ROS node: declaration, validation and live changes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from mt_perception.errors import OptionError
from mt_perception.nodes.parameter_files import unmatched_files
from mt_perception.nodes.parameter_schema import (
    Change,
    Parameter,
    SettingsT,
    unknown_parameter,
)

# ROS itself declares these; a file may set them for any node.
_DECLARED_BY_ROS = ('qos_overrides.', 'use_sim_time', 'start_type_description_service')

_Type = RosParameter.Type


class ParameterNode(Node):
    """A node whose parameters keep their declared types.

    ``ros2 param set NODE detection.score_threshold 1`` sends an integer, which ROS refuses for a
    double. Here integers are converted where a double or a string is declared.

    Args:
        name: Name of the node.
        siblings: Full names of the nodes that share its parameter files, itself included.
        kwargs: Arguments of rclpy's Node.

    Attributes:
        command_line: The arguments of the node and of the process.
        siblings: As given.
    """

    def __init__(self, name: str, siblings: Sequence[str] = (), **kwargs: Any) -> None:
        self.command_line = [*(kwargs.get('cli_args') or ()), *sys.argv]
        self.siblings = siblings
        self._after_set: Callable[[Mapping[str, object]], None] = lambda values: None
        # NodeParameters declares them again; rclpy has no other way to list the values of a file.
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **kwargs)

    def declare_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """Declare as rclpy does, which calls this for the values given at start as well.

        Raises:
            OptionError: A parameter has no value; ROS reads an empty list as none.
        """
        parameters = kwargs['parameters'] if 'parameters' in kwargs else args[1]
        for name, *value in parameters:
            if value and value[0] is None:
                raise OptionError(
                    f'{name} has no value or an empty list; leave it out for its default'
                )
        return super().declare_parameters(*args, **kwargs)

    def call_after_set(self, callback: Callable[[Mapping[str, object]], None]) -> None:
        """Call this with name → value after parameters have been set."""
        self._after_set = callback

    def set_parameters(self, parameter_list: list[RosParameter]) -> list[SetParametersResult]:
        """Set each parameter by itself."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[RosParameter]) -> SetParametersResult:
        """Set all parameters, or none with the reason."""
        converted = [self._with_declared_type(parameter) for parameter in parameter_list]
        result = super().set_parameters_atomically(converted)
        if result.successful:
            self._after_set({p.name: p.value for p in converted})
        elif len(converted) == 1 and converted[0].name not in result.reason:
            # rclpy's own reasons, for example for a wrong type, do not contain the name.
            result.reason = f'{converted[0].name}: {result.reason}'
        return result

    def _with_declared_type(self, parameter: RosParameter) -> RosParameter:
        if parameter.type_ != _Type.INTEGER or not self.has_parameter(parameter.name):
            return parameter
        declared = self.get_parameter(parameter.name).type_
        if declared == _Type.DOUBLE:
            return RosParameter(parameter.name, declared, float(parameter.value))
        if declared == _Type.STRING:
            return RosParameter(parameter.name, declared, str(parameter.value))
        return parameter


class NodeParameters(Generic[SettingsT]):
    """Declares the parameters of a node and keeps ``settings`` equal to them.

    Settings are immutable and replaced as a whole: a frame uses one object from start to end.

    Args:
        node: The node.
        defaults: Settings with the default values.
        validate: Called with the new settings and the names that change; raises OptionError to
            refuse them. It must have no side effect, because ROS may still refuse the change.
        changed: Called after ``settings`` has been replaced.

    Attributes:
        settings: The current values.
        unknown: One sentence for each parameter given at start that the node does not declare,
            for example because of a typing error, and for each file that does not apply.

    Raises:
        OptionError: A value given at start is refused.
    """

    def __init__(
        self,
        node: ParameterNode,
        defaults: SettingsT,
        validate: Callable[[SettingsT, frozenset[str]], None] = lambda settings, names: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._validate = validate
        self._changed = changed
        self._declared = {p.name: p for p in defaults.parameters()}
        given = {
            name: parameter.value
            for name, parameter in node.get_parameters_by_prefix('').items()
            if not name.startswith(_DECLARED_BY_ROS)
        }
        for name in given:
            node.undeclare_parameter(name)
        self.settings = defaults.changed({n: v for n, v in given.items() if n in self._declared})
        misspelt = [
            unknown_parameter(name, self._declared) for name in given if name not in self._declared
        ]
        names = (node.get_fully_qualified_name(), *node.siblings)
        files = unmatched_files(node.command_line, names)
        self.unknown = (*misspelt, *files)
        for p in self._declared.values():
            value = self.settings.value(p.name)
            node.declare_parameter(
                p.name,
                list(value) if isinstance(value, tuple) else value,
                _descriptor(p),
                ignore_override=True,
            )
        node.add_on_set_parameters_callback(self._on_set)
        node.call_after_set(self._after_set)

    def _on_set(self, parameters: list[RosParameter]) -> SetParametersResult:
        """Accept all changes, or none with the reason."""
        values = {p.name: p.value for p in parameters if p.name in self._declared}
        if not values:
            return SetParametersResult(successful=True)
        try:
            self._validate(self.settings.changed(values), frozenset(values))
        except OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _after_set(self, values: Mapping[str, object]) -> None:
        ours = {name: value for name, value in values.items() if name in self._declared}
        if ours:
            self.settings = self.settings.changed(ours)
            self._changed()


def _descriptor(p: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=p.description,
        additional_constraints=_constraints(p),
        read_only=p.change is Change.START,
    )
    if p.limits is not None:
        low, high = p.limits
        if p.kind is int:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor


def _constraints(p: Parameter) -> str:
    parts = []
    if p.choices:
        parts.append(f'one of: {", ".join(p.choices)}')
    if p.change is Change.UNCONFIGURED:
        parts.append('can change while the node is unconfigured')
    return '; '.join(parts)
