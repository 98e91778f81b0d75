# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A settings class as the ROS parameters of a node: declared, checked, changed while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from mt_perception.errors import OptionError
from mt_perception.nodes.parameter_schema import (
    Change,
    Parameter,
    SettingsT,
    unknown_parameter,
)

# Parameters that ROS itself reads; a file may set them for any node.
_OF_ROS = ('qos_overrides.', 'use_sim_time', 'start_type_description_service')


class LiveParameters(Generic[SettingsT]):
    """Declares the parameters of a node and keeps ``settings`` equal to them.

    Settings are replaced as a whole: whoever took them for a frame keeps them for that frame.

    Args:
        node: The node.
        defaults: Settings with the default values.
        accept: Called with settings that are wanted and the names that change; refuses them
            with a OptionError.

    Raises:
        OptionError: A value given at start is refused.
    """

    def __init__(
        self,
        node: Node,
        defaults: SettingsT,
        accept: Callable[[SettingsT, frozenset[str]], None] = lambda settings, names: None,
    ) -> None:
        self._accept = accept
        self._declared = {p.name: p for p in defaults.parameters()}
        for p in self._declared.values():
            default = list(p.default) if isinstance(p.default, tuple) else p.default
            try:
                node.declare_parameter(p.name, default, _descriptor(p))
            except ParameterException as error:
                raise OptionError(f'{p.name} ({p.kind_name}): {error}') from error
        self.settings = defaults.changed(
            {p.name: node.get_parameter(p.name).value for p in self._declared.values()}
        )
        self.unknown = self._unknown_overrides(node)
        """Sentences about parameters given at start that no one declares (typing errors)."""
        node.add_on_set_parameters_callback(self._on_set)

    def _unknown_overrides(self, node: Node) -> tuple[str, ...]:
        # ROS ignores what is not declared, so a typing error in a file would go unnoticed.
        given: Sequence[str] = tuple(node._parameter_overrides)
        return tuple(
            unknown_parameter(name, self._declared)
            for name in given
            if name not in self._declared and not name.startswith(_OF_ROS)
        )

    def _on_set(self, parameters: list[RosParameter]) -> SetParametersResult:
        """Take all changes or none, with the reason."""
        values = {p.name: p.value for p in parameters if p.name in self._declared}
        if not values:
            return SetParametersResult(successful=True)
        try:
            settings = self.settings.changed(values)
            self._accept(settings, frozenset(values))
        except OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.settings = settings
        return SetParametersResult(successful=True)


def _descriptor(p: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=p.description,
        additional_constraints=_constraints(p),
        read_only=p.change is Change.START,
        # `ros2 param set NODE detection.score_threshold 1` sends an integer, which ROS would
        # refuse for a double; we check types ourselves and take it.
        dynamic_typing=p.kind is float,
    )
    low, high = p.minimum, p.maximum
    if low is not None and high is not None:
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
        parts.append('may be changed while the node is unconfigured')
    return '; '.join(parts)
