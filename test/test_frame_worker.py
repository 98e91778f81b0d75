# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that processes the newest item."""

from __future__ import annotations

import subprocess
import sys
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.nodes.frame_worker import FrameWorker

PATIENCE_S = 30.0


class Gate:
    """Processes items, each only when it is let through."""

    def __init__(self) -> None:
        self.processed: list[int] = []
        self.threads: set[str] = set()
        self.superseded = 0
        self._passes = threading.Semaphore(0)
        self._entered = threading.Semaphore(0)
        self.slot = FrameWorker().slot(self._process, self._on_superseded)

    def _process(self, item: int) -> None:
        self._entered.release()
        assert self._passes.acquire(timeout=PATIENCE_S)
        self.threads.add(threading.current_thread().name)
        self.processed.append(item)

    def _on_superseded(self) -> None:
        self.superseded += 1

    def entered(self) -> None:
        assert self._entered.acquire(timeout=PATIENCE_S)

    def let_through(self, count: int = 1) -> None:
        self._passes.release(count)


def test_the_newest_item_is_processed_next() -> None:
    gate = Gate()
    gate.slot.submit(1)
    gate.entered()
    for item in (2, 3, 4):
        gate.slot.submit(item)
    gate.let_through()
    gate.entered()
    gate.let_through()
    gate.slot.close()
    assert gate.processed == [1, 4]
    assert gate.superseded == 2
    assert threading.current_thread().name not in gate.threads


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(['submit', 'let through']), max_size=40))
def test_every_item_is_processed_or_superseded(actions: list[str]) -> None:
    gate = Gate()
    submitted = 0
    for action in actions:
        if action == 'submit':
            submitted += 1
            gate.slot.submit(submitted)
        else:
            gate.let_through()
    gate.let_through(submitted + 1)
    if submitted:
        # The last item is never superseded.
        done = threading.Event()

        def wait() -> None:
            while not gate.processed or gate.processed[-1] != submitted:
                done.wait(0.001)

        waiter = threading.Thread(target=wait)
        waiter.start()
        waiter.join(PATIENCE_S)
        assert not waiter.is_alive()
    gate.slot.close()
    assert len(gate.processed) + gate.superseded == submitted
    assert gate.processed == sorted(gate.processed)


def test_stop_waits_for_the_current_item_and_discards_the_waiting_one() -> None:
    gate = Gate()
    gate.slot.submit(1)
    gate.entered()
    gate.slot.submit(2)
    stopping = threading.Thread(target=gate.slot.close)
    stopping.start()
    gate.let_through(2)
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()
    assert gate.processed == [1]


def test_a_cleared_item_is_not_processed() -> None:
    gate = Gate()
    gate.slot.submit(1)
    gate.entered()
    gate.slot.submit(2)
    gate.slot.clear()
    gate.let_through()
    gate.slot.submit(3)
    gate.let_through()
    gate.entered()
    gate.slot.close()
    assert gate.processed == [1, 3]


def test_the_camera_that_has_waited_longest_is_next_with_its_newest_item() -> None:
    """A fast camera gets no more turns, and one whose items arrive late gets no fewer."""
    worker = FrameWorker()
    passes, entered = threading.Semaphore(0), threading.Semaphore(0)
    processed: list[str] = []

    def process(item: str) -> None:
        entered.release()
        assert passes.acquire(timeout=PATIENCE_S)
        processed.append(item)

    fast, late, third = (worker.slot(process, lambda: None) for _ in range(3))
    fast.submit('fast 0')
    assert entered.acquire(timeout=PATIENCE_S)
    for n in range(1, 7):
        # All three wait in this order; newer items replace them, those of the late camera last.
        late.submit(f'late {n}')
        fast.submit(f'fast {n}')
        third.submit(f'third {n}')
        late.submit(f'late {n}+')
        passes.release()
        assert entered.acquire(timeout=PATIENCE_S)
    passes.release(10)
    for slot in (fast, late, third):
        slot.close(PATIENCE_S)
    assert processed[:7] == [
        *('fast 0', 'late 1+', 'fast 2', 'third 3', 'late 4+', 'fast 5', 'third 6')
    ]


def test_a_cleared_item_leaves_the_turn_to_the_next_camera() -> None:
    worker = FrameWorker()
    entered, passes, done = (threading.Event() for _ in range(3))

    def process(item: int) -> None:
        entered.set()
        assert passes.wait(PATIENCE_S)

    first = worker.slot(process, lambda: None)
    second = worker.slot(lambda item: done.set(), lambda: None)
    first.submit(1)
    assert entered.wait(PATIENCE_S)
    first.submit(2)
    first.clear()
    second.submit(3)
    passes.set()
    assert done.wait(PATIENCE_S)
    first.close()
    second.close()


def test_a_closed_camera_stops_no_other() -> None:
    worker = FrameWorker()
    done = threading.Event()
    first, second = (
        worker.slot(lambda item: None, lambda: None),
        worker.slot(lambda item: done.set(), lambda: None),
    )
    first.close()
    second.submit(1)
    assert done.wait(PATIENCE_S)
    second.close()
    # The thread ends with the last camera, and runs again for a new one.
    assert all(thread.name != 'frames' for thread in threading.enumerate())
    done.clear()
    third = worker.slot(lambda item: done.set(), lambda: None)
    third.submit(1)
    assert done.wait(PATIENCE_S)
    third.close()


def test_a_process_that_forgets_to_stop_the_worker_ends_cleanly() -> None:
    """Compiled code that runs in the thread when the interpreter ends would abort the process."""
    code = """
import numpy as np, sys, time
from mt_perception.nodes.frame_worker import FrameWorker
started = []
def process(item):
    started.append(item)
    np.linalg.svd(np.ones((400, 400)))
    time.sleep(0.2)
    print('processed', flush=True)
FrameWorker().slot(process, lambda: None).submit(1)
while not started:
    time.sleep(0.001)
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, 'processed\n', '')


def test_stop_leaves_an_item_behind_that_does_not_end() -> None:
    gate = Gate()
    gate.slot.submit(1)
    gate.entered()
    gate.slot.close(0.01)
    assert not gate.processed
    gate.let_through()
