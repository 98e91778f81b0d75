# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated link with rate, delay and faults: the proxy in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import AbstractContextManager

from mt_perception.evaluation.link import proxy
from mt_perception.evaluation.link.host_process import move_elsewhere


class ShapedLink(AbstractContextManager['ShapedLink']):
    """A proxy in its own process; a context manager that ends it.

    Args:
        target: ``HOST:PORT`` of the host.
        up: Mbit/s towards the host; 0 is unlimited.
        down: Mbit/s from the host; 0 is unlimited.
        delay_ms: Delay one way.
    """

    def __init__(self, target: str, up: float = 0, down: float = 0, delay_ms: float = 0) -> None:
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
        for name, value in (('up', up), ('down', down), ('delay', delay_ms)):
            self.tell(f'{name} {value}')
        self.moved()  # Its answer shows that all commands were executed.

    def tell(self, command: str) -> None:
        """Send a command; see the module ``proxy``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f'{command}\n')
        self._process.stdin.flush()

    def moved(self) -> tuple[int, int]:
        """Bytes transferred to and from the host so far."""
        assert self._process.stdout is not None
        self.tell('moved')
        up, down = json.loads(self._process.stdout.readline())
        return up, down

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()
