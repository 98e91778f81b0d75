# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds and installs vision_msgs if this Python lacks it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mt_perception.errors import InterfaceError
from mt_perception.interfaces.compilation import compile_extension, find_compilers
from mt_perception.interfaces.generation import generate
from mt_perception.interfaces.package import read_package, ros_prefix
from mt_perception.interfaces.wheel import write_wheel

VISION_MSGS = Path(__file__).resolve().parent / 'vision_msgs'


def ensure_vision_msgs() -> bool:
    """Build and install vision_msgs if it cannot be imported.

    Returns:
        Whether it was built.

    Raises:
        InterfaceError: It cannot be built or installed; the message contains what is missing.
    """
    if importlib.util.find_spec('vision_msgs') is not None:
        return False
    if 'ROS_DISTRO' in os.environ:
        distribution = os.environ['ROS_DISTRO']
        raise InterfaceError(
            f'ROS 2 {distribution} is sourced but has no vision_msgs; '
            f'apt install ros-{distribution}-vision-msgs'
        )
    with tempfile.TemporaryDirectory(prefix='vision_msgs_') as folder:
        _pip_install(build_wheel(VISION_MSGS, Path(folder)))
    return True


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of an interface package for this Python.

    Args:
        source: Folder with ``package.xml`` and ``msg/``.
        folder: Folder for the wheel and all intermediate files.

    Returns:
        The wheel.

    Raises:
        InterfaceError: ROS, a compiler or Python's headers are missing.
    """
    prefix = ros_prefix()
    # First, because the generators run for seconds.
    find_compilers()
    # rosidl finds other packages through ament's index, whose path the wheels do not set.
    os.environ.setdefault('AMENT_PREFIX_PATH', str(prefix))
    package = read_package(source, prefix)
    sources = generate(package, folder)
    extension = compile_extension(package, sources, folder / 'objects')
    return write_wheel(package, sources, extension, folder)


def _pip_install(wheel: Path) -> None:
    command = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InterfaceError(f'pip cannot install {wheel.name}: {done.stderr.strip()[-1000:]}')
