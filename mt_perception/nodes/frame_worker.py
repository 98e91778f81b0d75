# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A thread that processes the newest item, so that the executor's thread never waits for one."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')

THREAD = 'frames'
"""Begin of the names of threads that may be left behind in compiled code."""

STOP_S = 1.0
"""Time that ``stop`` waits for the current item; a node ends within 2 s of a signal."""


class FrameWorker(Generic[T]):
    """Processes one item at a time and keeps one waiting item, the newest.

    Args:
        process: Called in the worker's thread; must not raise.
        superseded: Called in the submitting thread when an item replaces a waiting one.
    """

    def __init__(self, process: Callable[[T], None], superseded: Callable[[], None]) -> None:
        self._process = process
        self._superseded = superseded
        self._changed = threading.Condition()
        self._waiting: list[T] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._thread.start()
        # A thread in compiled code must not outlive the interpreter: it would abort the process.
        atexit.register(self.stop, None)

    def submit(self, item: T) -> None:
        """Let the worker process an item next; it replaces the waiting one."""
        with self._changed:
            replaced = bool(self._waiting)
            self._waiting[:] = [item]
            self._changed.notify()
        if replaced:
            self._superseded()

    def clear(self) -> None:
        """Discard the waiting item."""
        with self._changed:
            self._waiting.clear()

    def stop(self, limit_s: float | None = STOP_S) -> None:
        """Discard the waiting item and wait until the current one is processed.

        Args:
            limit_s: Time after which the thread is left behind, because nothing can stop it in
                compiled code; None waits for its end.
        """
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(limit_s)
            atexit.unregister(self.stop)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                item = self._waiting.pop()
            self._process(item)
