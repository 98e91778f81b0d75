# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starts nodes as child processes and ends them with the program that started them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mt_perception.errors import NodeError
from mt_perception.resources import NAME, share_folder

# Higher domains use ports that Linux also hands out to other programs.
DOMAINS = 101

HIGHEST_DOMAIN = 232

STOP_S = 5.0
"""Time between SIGINT and SIGKILL."""

_LAST_LINES = 6

_RUNNING: set[NodeProcess] = set()


def node_program(name: str) -> Path:
    """The executable of `ros2 run mt_perception <name>`.

    Raises:
        NodeError: It is not installed.
    """
    share = share_folder()
    # A checkout has lib/ beside models/, an installation has lib/ beside share/.
    for root in (share, share.parent.parent):
        program = root / 'lib' / NAME / name
        if program.is_file():
            return program
    raise NodeError(f'{name} is not in lib/{NAME} below {share}; install the package again')


class NodeProcess:
    """A node as a child process; leaving ``with`` ends it.

    Args:
        name: Name of its executable.
        arguments: Its command line.
        environment: Its environment variables.
        log: File for its output.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self._log = log
        with log.open('wb') as output, _deferred_signals():
            # In a new session Ctrl-C reaches this process only, which then ends the child.
            self._process = subprocess.Popen(
                [sys.executable, str(node_program(name)), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
            _RUNNING.add(self)

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def check(self) -> None:
        """Check that the process has not failed.

        Raises:
            NodeError: It has ended with an error; the message contains its last output.
        """
        if self._process.poll():
            lines = self._log.read_text(encoding='utf-8', errors='replace').splitlines()
            words = '\n'.join(lines[-_LAST_LINES:]) or '(no output)'
            raise NodeError(
                f'the {self.name} node ended with status {self._process.returncode}; '
                f'the end of {self._log}:\n{words}'
            )

    def stop(self) -> None:
        """Send SIGINT, and SIGKILL if the process has not ended in time."""
        if self.running:
            self._signal(signal.SIGINT)
            deadline = time.monotonic() + STOP_S
            while self.running and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.running:
            self._signal(signal.SIGKILL)
        self._process.wait()
        _RUNNING.discard(self)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def own_domain() -> int:
    """The ROS domain of the environment, or else one that depends on the process id.

    Raises:
        NodeError: The environment has no valid domain.
    """
    given = os.environ.get('ROS_DOMAIN_ID', '')
    if not given:
        return 1 + os.getpid() % (DOMAINS - 1)
    if not given.isdecimal() or int(given) > HIGHEST_DOMAIN:
        raise NodeError(
            f'ROS_DOMAIN_ID is {given!r}; set a number from 0 to {HIGHEST_DOMAIN}, or unset it'
        )
    return int(given)


def prepare_local_ros() -> None:
    """Set this process's variables for nodes on this computer; call it before rclpy.init.

    Both ends of a connection need the same discovery range and transport.
    """
    from mt_perception.nodes.shared_memory import use_shared_memory

    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    use_shared_memory(os.environ)


def ros_environment(domain_id: int) -> dict[str, str]:
    """The environment of child nodes in a domain."""
    return {
        **os.environ,
        'ROS_DOMAIN_ID': str(domain_id),
        'RCUTILS_COLORIZED_OUTPUT': '0',
        'PYTHONUNBUFFERED': '1',
    }


def configured_node(
    name: str, parameters: Mapping[str, object], environment: Mapping[str, str], out: Path
) -> NodeProcess:
    """Start a node with the default parameter file and these parameters."""
    arguments = ['--ros-args', '--params-file']
    arguments.append(str(share_folder() / 'config' / 'mt_perception.params.yaml'))
    for key, value in parameters.items():
        # Quoted as in YAML, because ROS reads a bare 0 as a number; it may hold quotes itself.
        arguments += ['-p', f'{key}:={json.dumps(value, ensure_ascii=False)}']
    return NodeProcess(name, arguments, environment, out / f'{name}.log')


class Interruption:
    """Whether a signal has requested the end of the program.

    Loops check it, because an exception from a signal handler is lost in a destructor or in a
    callback of compiled code.
    """

    requested = False

    def check(self) -> None:
        """Raise KeyboardInterrupt after a signal."""
        if self.requested:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Treat SIGTERM like Ctrl-C, and end all child nodes at the end of this block."""
    interruption = Interruption()

    def stop(number: int, frame: object) -> None:
        interruption.requested = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
        interruption.check()
    finally:
        # A second Ctrl-C must not leave a node running.
        with _deferred_signals():
            for process in tuple(_RUNNING):
                process.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer signals until the end of this block.

    An exception from a signal handler between the start of a process and its registration would
    leave the process running.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    # Child processes inherit a signal mask, but not handler functions.
    before = {
        number: signal.signal(number, lambda number, frame: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])
