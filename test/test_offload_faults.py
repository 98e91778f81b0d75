# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Real hosts that die, freeze, crawl and come back: every frame has its results (FAULTS 52-62).

How long they take is measured by benchmarks/bench_offload_faults.py; here only that none hangs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from offload_faults import FAULTS, Rig, drive, nothing, rig

from mt_perception.execution.options import Options
from mt_perception.offload.circuit_breaker import BreakerState
from mt_perception.types import Frame

COLOURS = ((0, 0, 255), (0, 255, 0), (255, 0, 0))
DEADLINE_MS = 150.0
HANGS_MS = 10_000.0


def frames(count: int) -> list[Frame]:
    """Squares of another colour in each frame, so that no frame's result fits another one."""
    made = []
    for i in range(count):
        image = np.full((96, 128, 3), 128, np.uint8)
        image[32:64, 48:80] = COLOURS[i % 3]
        made.append(Frame(image, i, 'camera'))
    return made


@pytest.mark.parametrize('name', FAULTS)
def test_every_frame_has_its_own_results(name: str, folder: Path) -> None:
    sent = frames(45)
    with rig(folder, DEADLINE_MS, 'always') as made:
        # Patience is part of the fixture, not of the deadline: wait until the host was used.
        for _ in range(100):
            if drive(made, sent[:3], 0.05, nothing)[-1].remote:
                break
        passed = drive(made, sent, 0.05, FAULTS[name])
        in_flight = made.client.hosts.preferred.in_flight
    assert in_flight <= 4
    for number, frame in enumerate(passed):
        result = frame.result
        assert not result.failures
        assert result.stamp_ns == number
        assert result.detections is not None
        assert result.segmentation is not None
        assert result.depth is not None
        # The class of what is in the middle is the colour of this very frame.
        colour = (2, 1, 0)[number % 3]
        assert set(result.detections.class_ids) == {colour}
        assert result.segmentation.class_ids[48, 64] == colour
        assert frame.latency_ms < HANGS_MS
    # A connection that is reset while nothing is on its way is there again for the next frame.
    if name not in ('none', 'connections reset'):
        assert not all(frame.remote for frame in passed)


def recover(made: Rig, what: Callable[[], None]) -> None:
    """Break it with ``what`` until the breaker opens."""
    what()
    for _ in range(200):
        drive(made, frames(1), 0.05, nothing)
        if made.client.hosts.preferred.breaker.state is BreakerState.OPEN:
            return
        time.sleep(0.05)
    raise AssertionError('the breaker never opened')


@pytest.mark.parametrize('how', ['restarted', 'continued', 'link'])
def test_a_host_that_comes_back_is_used_again(how: str, folder: Path) -> None:
    with rig(folder, DEADLINE_MS, 'always') as made:
        damage, repair = {
            'restarted': (made.host.kill, made.host.start),
            'continued': (made.host.freeze, made.host.thaw),
            'link': (lambda: made.link.tell('refuse'), lambda: made.link.tell('accept')),
        }[how]
        recover(made, damage)
        repair()
        for _ in range(600):
            if drive(made, frames(1), 0.05, nothing)[0].remote:
                break
            time.sleep(0.05)  # A lone frame waits for nobody, and the breaker's time must pass.
        else:
            raise AssertionError(f'not used again: {made.client.hosts.preferred.last_failure}')


def test_a_host_that_is_asked_to_end_finishes_what_it_has(folder: Path) -> None:
    with rig(folder, 5000.0, 'always') as made:
        drive(made, frames(3), 0.05, nothing)
        made.soon(0.02, made.host.terminate)
        passed = drive(made, frames(20), 0.05, nothing)
    assert all(not frame.result.failures for frame in passed)
    assert not passed[-1].remote


def test_where_one_percent_of_the_link_is_left_few_frames_are_sent(folder: Path) -> None:
    """What was sent in vain does not pile up in front of what comes later (FAULTS 62)."""
    with rig(folder, DEADLINE_MS, 'always') as made:
        drive(made, frames(5), 0.05, nothing)
        before, _ = made.link.moved()
        made.link.tell('up 0.01')
        drive(made, frames(60), 0.05, nothing)
        after, _ = made.link.moved()
    # 60 frames are 60 times what the link still carries in their time of 3 s.
    assert after - before < 30_000


def test_a_reply_takes_few_bytes_of_the_link(folder: Path) -> None:
    """Depth as differences of steps, weak boxes left out, and all of it deflated."""
    with rig(folder, 20_000.0, 'always') as made:
        made.pipeline.options = Options(size=512)
        drive(made, frames(3), 0.05, nothing)
        _, before = made.link.moved()
        passed = drive(made, frames(1), 0.05, nothing)
        _, after = made.link.moved()
        assert passed[0].remote
    # Labels and depth of 48×64 cells alone are 9 kB as they come out of the network.
    assert after - before < 4000
