# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Processes under test: perception nodes and remote hosts, and the memory that they hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mt_perception.resources import share_folder

SERVE = 'import sys; from mt_perception.cli.main import main; sys.exit(main())'


def use_local_ros() -> None:
    """Nodes of this process and of those it starts meet each other alone; call before rclpy."""
    from mt_perception.nodes.shared_memory import use_shared_memory

    use_shared_memory(os.environ)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)


def perception_process(*arguments: str, **parameters: object) -> subprocess.Popen[bytes]:
    """Start the perception node; a ``__`` in the name of a parameter stands for its dot."""
    program = share_folder() / 'lib' / 'mt_perception' / 'perception'
    command = [sys.executable, str(program), '--ros-args', '--log-level', 'error', *arguments]
    for name, value in parameters.items():
        command += ['-p', f'{name.replace("__", ".")}:={value}']
    return subprocess.Popen(command)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[int, int]]:
    """``mt_perception serve``, until the end of the block: (port, process id).

    Raises:
        SystemExit: It did not start, ended with another status than 0, or printed a traceback.
    """
    with tempfile.NamedTemporaryFile() as file:
        log = Path(file.name)
        command = [sys.executable, '-u', '-c', SERVE, 'serve', '--model', str(folder)]
        host = subprocess.Popen(
            [*command, '--port', '0', *options], stdout=file, stderr=subprocess.STDOUT
        )
        try:
            while (ready := re.search(r'ready: .*:(\d+)\n', log.read_text('utf-8'))) is None:
                if host.poll() is not None:
                    raise SystemExit(log.read_text('utf-8'))
                time.sleep(0.1)
            yield int(ready[1]), host.pid
        finally:
            host.terminate()
            status = host.wait()
        said = log.read_text('utf-8', errors='replace')
        if status or 'Traceback' in said:
            raise SystemExit(f'{said[-3000:]}\nthe host ended with status {status}')


def resident_bytes(pid: int) -> int:
    """Memory that a process holds; only Linux has /proc."""
    text = Path(f'/proc/{pid}/status').read_text(encoding='utf-8')
    return 1024 * int(re.search(r'VmRSS:\s+(\d+)', text)[1])
