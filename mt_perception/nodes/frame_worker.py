# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A thread that processes the newest item of each camera; the executor does not wait for it."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar('T')

THREAD = 'frames'
"""Prefix of the names of threads that may be abandoned in compiled code."""

STOP_S = 1.0
"""Time that ``close`` waits for the current item; a node ends within 2 s of a signal."""


class FrameWorker:
    """Processes one item at a time: the newest item of the camera that has waited longest.

    A camera keeps its place in the queue when a newer item replaces the waiting one. Ordering by
    the age of the newest item would starve a camera whose items arrive just before each turn.

    The thread runs while there is a slot.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots = 0
        self._queue: list[FrameSlot[Any]] = []
        self._current: FrameSlot[Any] | None = None
        self._thread: threading.Thread | None = None

    def slot(self, process: Callable[[T], None], superseded: Callable[[], None]) -> FrameSlot[T]:
        """Return the place of one more camera.

        Args:
            process: Called in the worker's thread; must not raise.
            superseded: Called in the submitting thread when an item replaces a waiting one.
        """
        with self._changed:
            self._slots += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()
                # A thread in compiled code must not outlive the interpreter: it would abort the
                # process.
                atexit.register(self._stop, None)
        return FrameSlot(self, process, superseded)

    def _submit(self, slot: FrameSlot[T], item: T) -> bool:
        """Store an item; return whether it replaces a waiting one."""
        with self._changed:
            replaced = bool(slot.waiting)
            slot.waiting[:] = [item]
            if not replaced:
                self._queue.append(slot)
                self._changed.notify_all()
            return replaced

    def _clear(self, slot: FrameSlot[Any]) -> None:
        with self._changed:
            if slot.waiting:
                slot.waiting.clear()
                self._queue.remove(slot)

    def _close(self, slot: FrameSlot[Any], limit_s: float) -> None:
        self._clear(slot)
        with self._changed:
            self._changed.wait_for(lambda: self._current is not slot, limit_s)
            self._slots -= 1
            if self._slots:
                return
        self._stop(limit_s)

    def _stop(self, limit_s: float | None) -> None:
        """End the thread after the current item.

        Args:
            limit_s: Time after which the thread is abandoned, because compiled code cannot be
                stopped; None waits for its end.
        """
        with self._changed:
            self._slots = 0
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(limit_s)
            atexit.unregister(self._stop)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._current = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._queue or not self._slots)
                if not self._slots:
                    return
                slot = self._current = self._queue.pop(0)
                item = slot.waiting.pop()
            slot.process(item)


class FrameSlot(Generic[T]):
    """The newest waiting item of one camera; ``FrameWorker.slot`` creates it.

    Attributes:
        process: Processes an item.
        waiting: The waiting item, if there is one.
    """

    def __init__(
        self, worker: FrameWorker, process: Callable[[T], None], superseded: Callable[[], None]
    ) -> None:
        self.process = process
        self.waiting: list[T] = []
        self._worker = worker
        self._superseded = superseded

    def submit(self, item: T) -> None:
        """Submit an item; it replaces the waiting one."""
        if self._worker._submit(self, item):
            self._superseded()

    def clear(self) -> None:
        """Discard the waiting item."""
        self._worker._clear(self)

    def close(self, limit_s: float = STOP_S) -> None:
        """Discard the waiting item and wait until the current one is processed.

        Args:
            limit_s: Time after which the current item is abandoned.
        """
        self._worker._close(self, limit_s)
