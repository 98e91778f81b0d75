# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A remote host in its own process, for fault injection: kill, freeze, restart."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

PATIENCE_S = 60.0
_SERVE = 'import sys; from mt_perception.cli.main import main; sys.exit(main())'


def free_port() -> int:
    """A free TCP port of this machine."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        port: int = server.getsockname()[1]
        return port


def move_elsewhere(process: subprocess.Popen[str]) -> None:
    """Move a process to the cores that this process does not use, if there are any."""
    if hasattr(os, 'sched_setaffinity'):
        others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
        if others:
            os.sched_setaffinity(process.pid, others)


class HostProcess(AbstractContextManager['HostProcess']):
    """``mt_perception serve`` with a model folder; a context manager that kills it.

    Args:
        folder: The model folder.
        port: TCP port, also after a restart; 0 selects a free port.
        options: Further options of the command.
    """

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.address = f'127.0.0.1:{self.port}'
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self, wait: bool = True) -> None:
        """Start the process and wait until its model is loaded."""
        command = [sys.executable, '-c', _SERVE, 'serve', '--model']
        command += [str(self.folder), '--port', str(self.port), *self._options]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
        move_elsewhere(self._process)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the host reports ready."""
        process = self.process
        assert process.stdout is not None
        impatience = threading.Timer(PATIENCE_S, process.kill)
        impatience.start()
        said = ''
        for line in process.stdout:
            said += line
            if re.match('ready', line):
                break
        else:
            raise RuntimeError(f'the remote host did not become ready: {said}')
        impatience.cancel()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The latest process."""
        assert self._process is not None
        return self._process

    def freeze(self) -> None:
        """Suspend the process (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the process (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Terminate the process (SIGTERM) and wait for its end."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.thaw()
            self.kill()
