# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds and installs missing interface packages that PyPI does not have."""

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

_FOLDER = Path(__file__).resolve().parent
VISION_MSGS = _FOLDER / 'vision_msgs'
PACKAGES = (VISION_MSGS, _FOLDER / 'tf2_msgs')
"""Folders of the interface packages."""


def ensure_interfaces() -> tuple[str, ...]:
    """Build and install the interface packages that cannot be imported.

    Returns:
        The names of the built packages.

    Raises:
        InterfaceError: A package cannot be built or installed; the message names the missing part.
    """
    missing = [one for one in PACKAGES if importlib.util.find_spec(one.name) is None]
    if missing and 'ROS_DISTRO' in os.environ:
        distribution = os.environ['ROS_DISTRO']
        names = ' '.join(f'ros-{distribution}-{one.name.replace("_", "-")}' for one in missing)
        raise InterfaceError(
            f'ROS 2 {distribution} is sourced but has no '
            f'{", ".join(one.name for one in missing)}; apt install {names}'
        )
    for source in missing:
        with tempfile.TemporaryDirectory(prefix=f'{source.name}_') as folder:
            _pip_install(build_wheel(source, Path(folder)))
    return tuple(one.name for one in missing)


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
