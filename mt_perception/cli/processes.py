# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes in processes of their own, which never outlive the program that started them."""

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
from types import TracebackType

from mt_perception.errors import NodeError
from mt_perception.resources import NAME, share_folder

# Higher domains use ports that Linux also hands out to other programs.
DOMAINS = 101

GENTLE_S = 5.0
"""How long a node may take to end after SIGINT before it is killed."""

_LAST_LINES = 6

_RUNNING: set[NodeProcess] = set()


def node_program(name: str) -> Path:
    """The executable that `ros2 run mt_perception <name>` starts.

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
    """A node in a process of its own; leaving ``with`` ends it.

    Args:
        name: Name of its executable.
        arguments: Its command line.
        environment: Its environment variables.
        log: File that takes what it prints.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self._log = log
        with log.open('wb') as output, _deferred_signals():
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we end it.
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
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def check(self) -> None:
        """Complain if it has broken off.

        Raises:
            NodeError: It has ended with an error; its last words are in the message.
        """
        if self._process.poll():
            lines = self._log.read_text(encoding='utf-8', errors='replace').splitlines()
            words = '\n'.join(lines[-_LAST_LINES:]) or '(it said nothing)'
            raise NodeError(
                f'the {self.name} node ended with status {self._process.returncode}; '
                f'its last words, of {self._log}:\n{words}'
            )

    def stop(self) -> None:
        """SIGINT, and SIGKILL to whatever is left of it after a while."""
        if self.running:
            self._signal(signal.SIGINT)
            deadline = time.monotonic() + GENTLE_S
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def own_domain() -> int:
    """The user's ROS domain, or one that is likely to be nobody else's."""
    return int(os.environ.get('ROS_DOMAIN_ID') or 1 + os.getpid() % (DOMAINS - 1))


def ros_environment(domain_id: int) -> dict[str, str]:
    """The environment of nodes in a domain; parts of it become ours as well."""
    from mt_perception.nodes.main import use_shared_memory

    # Also for ourselves: both ends must look for each other in the same places.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    use_shared_memory(os.environ)
    return {
        **os.environ,
        'ROS_DOMAIN_ID': str(domain_id),
        'RCUTILS_COLORIZED_OUTPUT': '0',
        'PYTHONUNBUFFERED': '1',
    }


def configured_node(
    name: str, parameters: Mapping[str, object], environment: Mapping[str, str], out: Path
) -> NodeProcess:
    """Start a node with the parameter file that is used on a robot too, and some of our own."""
    arguments = ['--ros-args', '--params-file']
    arguments.append(str(share_folder() / 'config' / 'mt_perception.params.yaml'))
    for key, value in parameters.items():
        # Quoted, since a bare 0 would be a number to ROS.
        text = f"'{value}'" if isinstance(value, str) else json.dumps(value)
        arguments += ['-p', f'{key}:={text}']
    return NodeProcess(name, arguments, environment, out / f'{name}.log')


class Interruption:
    """Whether somebody asked us to end.

    A loop looks at it, because the exception out of a signal handler is lost where it hits a
    destructor or a callback of compiled code.
    """

    asked = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody asked."""
        if self.asked:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """SIGTERM ends us as Ctrl-C does, and no node that was started in here is left behind."""
    interruption = Interruption()

    def stop(number: int, frame: object) -> None:
        interruption.asked = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
        interruption.check()
    finally:
        # An impatient second Ctrl-C must not spare a node.
        with _deferred_signals():
            for process in tuple(_RUNNING):
                process.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _deferred_signals() -> Iterator[None]:
    """Signals wait until the end of this block.

    Between the start of a process and the note that it has to be ended an exception out of a
    signal handler would make an orphan of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    # Functions, unlike a signal mask, are not inherited by the process that is started.
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
