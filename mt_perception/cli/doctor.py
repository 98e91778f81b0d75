# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception doctor``: checks this installation and advises on what is missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.markup import escape

from mt_perception import __version__
from mt_perception.cli.processes import HIGHEST_DOMAIN
from mt_perception.cli.video_writer import MPEG4, video_format
from mt_perception.errors import PerceptionError
from mt_perception.pipeline import Pipeline
from mt_perception.resources import (
    NAME,
    find_model,
    install_command,
    missing_packages,
    share_folder,
)
from mt_perception.types import Frame

OLDEST_PYTHON = (3, 10)
SHARED_MEMORY = Path('/dev', 'shm')
ENOUGH_SHM_BYTES = 64 << 20
INSTALL_ROS = (
    "source your ROS 2 installation (source /opt/ros/jazzy/setup.bash), or install pip's: "
    + install_command('ros')
)
EXTRAS = {
    'eval': 'reports and baselines of evaluate',
    'import': 'import of ONNX networks',
    'offload': 'a robot that offloads',
    'serve': 'the remote host',
    'video': 'H.264 videos',
    'rerun': 'evaluate --rerun',
    'ray': 'serve --backend ray',
    'train': 'train, export, quantize, cascade and cut',
}
"""What each optional extra is for."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: The subject of the check.
        good: Whether the check passed.
        found: What was found.
        remedy: What to do if the check failed.
        needed: Whether the package does not work if the check failed.
    """

    what: str
    good: bool
    found: str
    remedy: str = ''
    needed: bool = True


@click.command()
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option('--topic', 'topics', multiple=True, help='Topic to check; may be repeated.')
@click.option(
    '--no-ros',
    is_flag=True,
    help='Skip the ROS 2 checks; files need no ROS 2.',
)
def doctor(model: str, topics: tuple[str, ...], no_ros: bool) -> int:
    """Check the installation and print a remedy for each fault.

    It also lists the optional extras and how to install them.
    The exit status is 1 if a necessary part is missing.
    """
    console = Console()
    checks: list[Callable[[], Iterator[Finding]]] = [_python, _opencv, _onnxruntime]
    checks.append(lambda: _model(model))
    if not no_ros:
        checks += [_ros, _environment, _shared_memory]
    healthy = True
    for check in checks:
        for finding in check():
            healthy &= _print(console, finding)
    if topics and not no_ros:
        for topic in topics:
            for finding in _topic(topic):
                healthy &= _print(console, finding)
    _print_extras(console)
    return 0 if healthy else 1


def _print_extras(console: Console) -> None:
    """Print which extras are installed; none of them is a fault if it is missing."""
    for extra, purpose in EXTRAS.items():
        missing = missing_packages(extra)
        line = f'[green]✓[/] extra {extra}: {purpose}'
        if missing:
            line = f'- extra {extra}, for {purpose}: not installed ({", ".join(missing)})'
            line += f'\n    [dim]{escape(install_command(extra))}[/]'
        console.print(line, highlight=False, soft_wrap=True)


def _print(console: Console, finding: Finding) -> bool:
    """Print a finding; returns False if a necessary part is missing."""
    mark = '[green]✓[/]' if finding.good else '[red]✗[/]' if finding.needed else '[yellow]![/]'
    line = f'{mark} {finding.what}: {escape(finding.found)}'
    if not finding.good and finding.remedy:
        line += f'\n    [dim]{escape(finding.remedy)}[/]'
    console.print(line, highlight=False, soft_wrap=True)
    return finding.good or not finding.needed


def _python() -> Iterator[Finding]:
    found = f'{platform.python_version()} ({platform.machine()})'
    good = sys.version_info[:2] >= OLDEST_PYTHON
    yield Finding('Python', good, found, 'install Python 3.10 or newer')
    share = share_folder()
    yield Finding(
        'mt_perception',
        (share / 'models').is_dir() and (share / 'config').is_dir(),
        f'{__version__}, files in {share}',
        'models/ or config/ is missing; install the package again',
    )


def _opencv() -> Iterator[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'probe.mp4'))
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*MPEG4), 10.0, (64, 64))
        writes = writer.isOpened()
        for _ in range(5):
            writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
        reads = writes and cv2.VideoCapture(path).read()[0]
    yield Finding(
        'OpenCV',
        reads,
        f'{cv2.__version__}, {"reads and writes" if reads else "cannot read or write"} MP4; '
        f'videos of run are {video_format()}',
        'videos need an OpenCV with FFmpeg: pip install opencv-python-headless',
        needed=False,
    )


def _onnxruntime() -> Iterator[Finding]:
    names = [name.removesuffix('ExecutionProvider') for name in ort.get_available_providers()]
    yield Finding('ONNX Runtime', True, f'{ort.__version__}, providers: {", ".join(names)}')


def _model(name: str) -> Iterator[Finding]:
    try:
        pipeline = Pipeline.load(find_model(name))
        result = pipeline.run(Frame(np.zeros((240, 320, 3), np.uint8)))
    except PerceptionError as error:
        yield Finding('model', False, str(error), 'run mt_perception inspect for details')
        return
    manifest = pipeline.manifest
    yield Finding(
        'model',
        not result.failures,
        f'{manifest.name} {manifest.version} serves {", ".join(manifest.tasks)}; '
        f'{result.execution.stage_ms["total"]:.0f} ms for a frame',
    )


def _ros() -> Iterator[Finding]:
    for module, remedy in (
        ('rclpy', INSTALL_ROS),
        ('sensor_msgs.msg', INSTALL_ROS),
        ('diagnostic_msgs.msg', INSTALL_ROS),
        (
            'vision_msgs.msg',
            'apt install ros-$ROS_DISTRO-vision-msgs; with ROS 2 from pip: '
            'python -m mt_perception.interfaces',
        ),
    ):
        name = module.split('.')[0]
        try:
            loaded = importlib.import_module(module)
        except Exception as error:
            # An incomplete ROS installation raises errors of many kinds.
            yield Finding(name, False, f'cannot be imported ({error})', remedy)
            continue
        yield Finding(name, True, str(Path(loaded.__file__ or '').parent))
    if importlib.util.find_spec('rclpy') is not None:
        yield from _middleware()


def _middleware() -> Iterator[Finding]:
    try:
        utilities = importlib.import_module('rclpy.utilities')
        name = utilities.get_rmw_implementation_identifier()
    except Exception as error:
        yield Finding('middleware', False, str(error), 'check RMW_IMPLEMENTATION')
        return
    yield Finding('middleware', True, f'{name}, ROS {os.environ.get("ROS_DISTRO", "from pip")}')


def _environment() -> Iterator[Finding]:
    # ROS takes an empty one for 0.
    domain = os.environ.get('ROS_DOMAIN_ID') or '0'
    good = domain.isdecimal() and int(domain) <= HIGHEST_DOMAIN
    yield Finding('ROS_DOMAIN_ID', good, domain, f'set a number from 0 to {HIGHEST_DOMAIN}')
    discovery = os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    yield Finding(
        'discovery',
        discovery.upper() != 'OFF',
        discovery,
        'with OFF no other node is found, not even on this computer; use LOCALHOST',
    )
    yield _ros2_run()


def _ros2_run() -> Finding:
    """Whether ``ros2 run`` and ``ros2 launch`` find the nodes, where there is such a command."""
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    stubs = [Path(prefix, 'lib', NAME, 'perception') for prefix in prefixes if prefix]
    stub = next((path for path in stubs if path.is_file()), None)
    if shutil.which('ros2') is None:
        # ROS 2 from pip has no command line tools, so nothing is missing.
        own = stub or share_folder() / 'lib' / NAME / 'perception'
        return Finding('ros2 run', True, f'no ros2 command here; start a node by {own}')
    if stub is None:
        is_editable = (share_folder() / 'package.xml').is_file()
        why = ', which was installed with pip install -e' if is_editable else ''
        return Finding(
            'ros2 run',
            False,
            f'does not find {NAME}{why}; the mt_perception commands work',
            'for ros2 run and ros2 launch: colcon build and source install/setup.bash, or '
            'pip install . without -e',
            needed=False,
        )
    return Finding('ros2 run', os.access(stub, os.X_OK), str(stub), f'chmod +x {stub}', False)


def _shared_memory() -> Iterator[Finding]:
    names = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
    own = [os.environ[name] for name in names if os.environ.get(name)]
    missing = [path for path in own if not Path(path).is_file()]
    found = ', '.join(dict.fromkeys(own)) or 'the one of mt_perception (default)'
    yield Finding(
        'Fast DDS profile',
        not missing,
        found,
        f'{", ".join(missing)} does not exist; unset {" and ".join(names)} to use the default',
    )
    if not SHARED_MEMORY.is_dir():
        yield Finding(
            'shared memory', False, f'no {SHARED_MEMORY}', 'images are sent over UDP', needed=False
        )
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    yield Finding(
        'shared memory',
        free >= ENOUGH_SHM_BYTES and os.access(SHARED_MEMORY, os.W_OK),
        f'{free >> 20} MiB free in {SHARED_MEMORY}',
        'best-effort images between processes are lost; in a container use --shm-size=512m, and '
        '--ipc=host to share it with other containers',
        needed=False,
    )


def _topic(topic: str) -> Iterator[Finding]:
    from mt_perception.nodes.shared_memory import use_shared_memory
    from mt_perception.nodes.topic_report import topic_report

    use_shared_memory(os.environ)
    endpoints = topic_report(topic)
    if not any(endpoint.publishes for endpoint in endpoints):
        yield Finding(
            topic,
            False,
            'no publisher',
            'compare with ros2 topic list; check the name, ROS_DOMAIN_ID and discovery',
        )
    for endpoint in endpoints:
        role = 'publisher' if endpoint.publishes else 'subscriber'
        yield Finding(
            f'{topic} {role}',
            not endpoint.mismatch,
            f'{endpoint.node} ({endpoint.type}, {endpoint.qos})'
            + (f': {endpoint.mismatch}' if endpoint.mismatch else ''),
            'change the QoS of one side: qos_overrides of this node or of the other',
        )
