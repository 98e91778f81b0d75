# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The schema of a node's parameters: source of the declaration, the checks, the YAML and the docs.

Each field of a settings class is one ROS parameter. This module does not need ROS, so that the
documentation can be generated and checked anywhere.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from mt_perception.errors import OptionError

Value = bool | int | float | str | tuple[str, ...]

SettingsT = TypeVar('SettingsT', bound='Settings')

_KIND_NAMES: Mapping[type, str] = {
    bool: 'bool',
    int: 'int',
    float: 'double',
    str: 'string',
    tuple: 'string[]',
}


class Change(Enum):
    """When a parameter can be changed."""

    LIVE = 'any time'
    UNCONFIGURED = 'unconfigured'
    START = 'at start'


@dataclass(frozen=True)
class Parameter:
    """The schema of one parameter.

    Attributes:
        name: Dotted name, with the unit if there is one.
        default: Default value; its type is the parameter's type.
        description: One sentence for the user.
        limits: Smallest and largest value of a number; None without limits.
        choices: The valid values of a string; empty if every string is valid.
        change: When it can be changed.
    """

    name: str
    default: Value
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    change: Change = Change.LIVE

    @property
    def kind(self) -> type:
        """bool, int, float, str or tuple (of strings)."""
        return type(self.default)

    @property
    def kind_name(self) -> str:
        """The name of the type in ROS."""
        return _KIND_NAMES[self.kind]

    def checked(self, value: object) -> Value:
        """Check a value and convert it to the parameter's type.

        Args:
            value: The value. An integer is valid for a double and for a string (ROS reads
                ``source:=0`` as an integer), a list for a string[].

        Returns:
            The value in the parameter's type.

        Raises:
            OptionError: Wrong type, not finite, out of range, or not one of the choices.
        """
        if self.kind is tuple:
            return self._strings(value)
        if self.kind in (float, str) and type(value) is int:
            value = self.kind(value)
        if not isinstance(value, (bool, int, float, str)) or type(value) is not self.kind:
            raise OptionError(f'{self.name} must be of type {self.kind_name}, found {value!r:.60}')
        if isinstance(value, float) and not math.isfinite(value):
            raise OptionError(f'{self.name} must be a finite number, found {value}')
        if isinstance(value, (int, float)):
            self._check_range(value)
        if self.choices and value not in self.choices:
            raise OptionError(
                f'{self.name} must be one of {", ".join(self.choices)}; found {value!r:.60}'
            )
        return value

    def _check_range(self, value: float) -> None:
        if self.limits is not None and not self.limits[0] <= value <= self.limits[1]:
            raise OptionError(f'{self.name} must be in {self.range_text}; found {value}')

    def _strings(self, value: object) -> tuple[str, ...]:
        items = tuple(value) if isinstance(value, (list, tuple)) else ()
        if not items or not all(isinstance(item, str) and item for item in items):
            raise OptionError(
                f'{self.name} must be a list of one or more strings, such as [a, b]; found '
                f'{value!r:.60}'
            )
        return items

    @property
    def range_text(self) -> str:
        """The range of a number or the choices of a string; empty if there is none."""
        if self.choices:
            return ', '.join(self.choices)
        if self.limits is None:
            return ''
        # Seven digits and more would be written as 3.6e+06.
        return f'[{self.limits[0]:.12g}, {self.limits[1]:.12g}]'


def parameter(name: str, default: Value, description: str, **schema_arguments: Any) -> Any:
    """A field of a settings class that declares one parameter; see Parameter for the arguments."""
    schema = Parameter(name, default, description, **schema_arguments)
    return dataclasses.field(default=default, metadata={'parameter': schema})


def start_parameter(name: str, default: Value, description: str, **schema_arguments: Any) -> Any:
    """A field as of ``parameter``, for a value that is read once, when the node starts."""
    return parameter(name, default, description, change=Change.START, **schema_arguments)


@dataclass(frozen=True)
class Settings:
    """An immutable set of parameter values; a subclass declares the parameters as fields."""

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """The schema of all parameters, in the order of declaration."""
        return tuple(field.metadata['parameter'] for field in dataclasses.fields(cls))

    def value(self, name: str) -> Value:
        """The value of one parameter by its dotted name."""
        value: Value = getattr(self, field_name(name))
        return value

    def changed(self: SettingsT, values: Mapping[str, object]) -> SettingsT:
        """Return a copy with other values for these parameters; all of them change, or none.

        Raises:
            OptionError: A name is unknown, a value is invalid, or two values conflict.
        """
        declared = {p.name: p for p in self.parameters()}
        fields: dict[str, Any] = {}
        for name, value in values.items():
            if name not in declared:
                raise OptionError(unknown_parameter(name, declared))
            fields[field_name(name)] = declared[name].checked(value)
        settings = dataclasses.replace(self, **fields)
        settings.check()
        return settings

    def check(self) -> None:
        """Check constraints between parameters.

        Raises:
            OptionError: Two values conflict.
        """


def field_name(name: str) -> str:
    """The field of a settings class for a parameter's dotted name."""
    return name.replace('.', '_')


def unknown_parameter(name: str, known: Mapping[str, object]) -> str:
    """An error message for an undeclared name, with the most similar declared one."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean {close[0]}?' if close else f'valid names: {", ".join(sorted(known))}'
    return f'parameter {name} is unknown; {hint}'


def markdown_table(settings: type[Settings]) -> str:
    """Return the parameters as a Markdown table."""
    rows = [
        '| parameter | meaning | type | default | range | change |',
        '|---|---|---|---|---|---|',
    ]
    rows += [
        f'| `{p.name}` | {p.description} | {p.kind_name} | `{_yaml_value(p.default)}` '
        f'| {p.range_text} | {p.change.value} |'
        for p in settings.parameters()
    ]
    return '\n'.join(rows) + '\n'


def yaml_text(nodes: Mapping[str, type[Settings]]) -> str:
    """A ROS parameter file with every default and a comment for each parameter.

    Args:
        nodes: Node name → its settings class. The file applies in every namespace.
    """
    return _yaml_text(nodes, frozenset())


def loadable_yaml_text(node: str, settings: type[Settings]) -> str:
    """A file of one node for ``ros2 param load``, which reports read-only parameters as failures.

    Read-only parameters are comments, unless the node has no others.
    """
    read_only = {p.name for p in settings.parameters() if p.change is Change.START}
    has_others = len(read_only) < len(settings.parameters())
    return _yaml_text({node: settings}, frozenset(read_only if has_others else ()))


def _yaml_text(nodes: Mapping[str, type[Settings]], commented: frozenset[str]) -> str:
    lines = []
    for node, settings in nodes.items():
        lines += [f'/**/{node}:', '  ros__parameters:']
        group: tuple[str, ...] = ()
        for p in settings.parameters():
            *path, leaf = p.name.split('.')
            lines += _opened_groups(group, tuple(path))
            group = tuple(path)
            indent = '  ' * (len(path) + 2)
            notes = [text for text in (p.range_text, f'change: {p.change.value}') if text]
            lines.append(f'{indent}# {p.description} ({"; ".join(notes)})')
            mark = '# ' if p.name in commented else ''
            lines.append(f'{indent}{mark}{leaf}: {_yaml_value(p.default)}')
    return '\n'.join(lines) + '\n'


def _opened_groups(before: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    """The YAML keys of the groups that start at this parameter."""
    same = 0
    while same < min(len(before), len(now)) and before[same] == now[same]:
        same += 1
    return [f'{"  " * (depth + 2)}{now[depth]}:' for depth in range(same, len(now))]


def _yaml_value(value: Value) -> str:
    match value:
        case bool():
            return 'true' if value else 'false'
        case tuple():
            return '[' + ', '.join(_yaml_value(item) for item in value) + ']'
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return str(value)
