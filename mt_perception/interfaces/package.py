# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An interface package: its messages and dependencies."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from mt_perception.errors import InterfaceError
from mt_perception.resources import install_command


@dataclass(frozen=True)
class InterfacePackage:
    """The messages to build, and the ROS installation to build with.

    Attributes:
        name: Name of the package.
        version: Its version.
        source: Folder with ``package.xml`` and ``msg/``.
        prefix: Installation prefix of ROS, with ``share/``, ``include/`` and ``lib/``.
        messages: Names of the messages, sorted.
        dependencies: Interface packages that the messages use, directly or not.
    """

    name: str
    version: str
    source: Path
    prefix: Path
    messages: tuple[str, ...]
    dependencies: tuple[str, ...]


def read_package(source: Path, prefix: Path) -> InterfacePackage:
    """Read ``package.xml`` and list the messages.

    Raises:
        InterfaceError: The folder is not an interface package, or a dependency is missing.
    """
    text = (source / 'package.xml').read_text(encoding='utf-8')
    messages = tuple(sorted(path.stem for path in (source / 'msg').glob('*.msg')))
    if not messages:
        raise InterfaceError(f'{source} has no msg/*.msg')
    return InterfacePackage(
        name=_tag(text, 'name'),
        version=_tag(text, 'version'),
        source=source,
        prefix=prefix,
        messages=messages,
        dependencies=_closure(_depends(text), prefix),
    )


def ros_prefix() -> Path:
    """The installation prefix of the ROS wheels of this Python.

    Raises:
        InterfaceError: rosidl's generators are not installed.
    """
    spec = importlib.util.find_spec('rosidl_generator_c')
    if spec is None or spec.origin is None:
        raise InterfaceError(
            'rosidl_generator_c is not installed in this Python; install ROS 2 first: '
            f'{install_command("ros")}, or from apt'
        )
    # <prefix>/lib/pythonX.Y/site-packages/rosidl_generator_c/__init__.py
    return Path(spec.origin).resolve().parents[4]


def _tag(text: str, tag: str) -> str:
    match = re.search(f'<{tag}>([^<]+)</{tag}>', text)
    if match is None:
        raise InterfaceError(f'package.xml has no <{tag}>')
    return match.group(1).strip()


def _depends(text: str) -> list[str]:
    return re.findall(r'<(?:build_|exec_)?depend>([^<]+)</', text)


def _closure(names: list[str], prefix: Path) -> tuple[str, ...]:
    """The interface packages among these, and their dependencies."""
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        share = prefix / 'share' / name
        if name not in found and (share / 'msg').is_dir():
            found.append(name)
            waiting += _depends((share / 'package.xml').read_text(encoding='utf-8'))
    return tuple(found)
