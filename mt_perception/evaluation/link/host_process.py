# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A remote host in a process of its own, to be killed, frozen and started again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

PATIENCE_S = 60.0
_SERVE = 'import sys; from mt_perception.cli.main import main; sys.exit(main())'


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        port: int = server.getsockname()[1]
        return port


def move_elsewhere(process: subprocess.Popen[str]) -> None:
    """Give a process the cores that this one leaves, if any: as if on a machine of its own."""
    if hasattr(os, 'sched_setaffinity'):
        others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
        if others:
            os.sched_setaffinity(process.pid, others)


class HostProcess:
    """``mt_perception serve`` with a model folder; leaving the ``with`` kills it.

    Args:
        folder: The model folder.
        port: Where to listen; 0 takes any, and a restart the same again.
        options: More options of the command.
    """

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.address = f'127.0.0.1:{self.port}'
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until its model is loaded."""
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
        """Wait until it says that it is ready."""
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
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a farewell."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Ask it to end, and wait until it has."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def __enter__(self) -> HostProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.thaw()
            self.kill()
