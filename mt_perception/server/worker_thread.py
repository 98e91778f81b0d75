# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs functions in threads that can be abandoned.

A thread that is inside a decoder or a network run cannot be stopped. A pool of
`concurrent.futures` would lose a worker to it and wait for it at the end of the process. These
threads are daemons: an overrunning one is left behind, and the process ends without it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from mt_perception.errors import OffloadError

T = TypeVar('T')


class OverrunError(OffloadError):
    """A run exceeded its time limit, or too many abandoned runs are still active."""


class WorkerThreads:
    """Starts a daemon thread for each run; the start costs less than 0.1 ms.

    Args:
        name: Name of the threads.
        max_abandoned: No run starts while this number of abandoned threads is still active.
    """

    def __init__(self, name: str, max_abandoned: int) -> None:
        self._name = name
        self._max_abandoned = max_abandoned
        self._abandoned = 0

    @property
    def exhausted(self) -> bool:
        """Whether no run can start."""
        return self._abandoned >= self._max_abandoned

    async def run(self, function: Callable[[], T], limit_s: float | None) -> T:
        """Run a function in a thread of its own.

        Args:
            function: The function.
            limit_s: Time limit, after which the thread is abandoned; None waits for the end.

        Raises:
            OverrunError: The function exceeded the limit, or the threads are exhausted.
            Exception: Any exception of the function.
        """
        if self.exhausted:
            raise OverrunError(
                f'{self._abandoned} overrunning threads are still active; no run starts until '
                'one has finished'
            )
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def finish(method: Callable[[Any], None], value: Any) -> None:
            if not result.done():
                method(value)

        def work() -> None:
            try:
                outcome: tuple[Callable[[Any], None], Any] = (result.set_result, function())
            except BaseException as error:
                outcome = (result.set_exception, error)
            with suppress(RuntimeError):  # The loop may be closed.
                loop.call_soon_threadsafe(finish, *outcome)

        thread = threading.Thread(target=work, name=self._name, daemon=True)
        thread.start()
        done, _ = await asyncio.wait({result}, timeout=limit_s)
        if not done:
            self._abandon(result)
            raise OverrunError(f'the run exceeded its limit of {limit_s:g} s and was abandoned')
        return result.result()

    def _abandon(self, result: asyncio.Future[Any]) -> None:
        self._abandoned += 1

        def ended(future: asyncio.Future[Any]) -> None:
            self._abandoned -= 1
            with suppress(BaseException):
                future.exception()  # Marks the exception as retrieved.

        result.add_done_callback(ended)
