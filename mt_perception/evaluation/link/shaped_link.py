# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A link of wanted rate, delay and faults: the proxy as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType

from mt_perception.evaluation.link import proxy
from mt_perception.evaluation.link.host_process import move_elsewhere


class ShapedLink:
    """A proxy in a process of its own; leaving the ``with`` ends it.

    Args:
        target: ``HOST:PORT`` behind it.
        up: Mbit/s towards the target; 0 is unlimited.
        down: Mbit/s from it.
        delay_ms: One way.
        jitter_ms: At most so much more, by chance.
    """

    def __init__(
        self,
        target: str,
        up: float = 0,
        down: float = 0,
        delay_ms: float = 0,
        jitter_ms: float = 0,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, '-m', proxy.__name__, target, '0'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        move_elsewhere(self._process)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.address = f'127.0.0.1:{self.port}'
        for name, value in (
            ('up', up),
            ('down', down),
            ('delay', delay_ms),
            ('jitter', jitter_ms),
        ):
            self.tell(f'{name} {value}')
        self.moved()  # Its answer says that the link is as told before anybody uses it.

    def tell(self, command: str) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f'{command}\n')
        self._process.stdin.flush()

    def moved(self) -> tuple[int, int]:
        """Bytes that went up and down so far."""
        assert self._process.stdout is not None
        self.tell('moved')
        up, down = json.loads(self._process.stdout.readline())
        return up, down

    def __enter__(self) -> ShapedLink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
