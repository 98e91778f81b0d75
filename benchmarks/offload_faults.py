# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fault injection: faults of a real host and its link while frames pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mt_perception.evaluation.link.host_process import HostProcess
from mt_perception.evaluation.link.shaped_link import ShapedLink
from mt_perception.offload.circuit_breaker import CircuitBreakerSettings
from mt_perception.offload.client import OffloadClient, offload
from mt_perception.offload.decision import ALWAYS, DecisionSettings
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.settings import OffloadSettings
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame, Result


@dataclass
class Rig:
    """A robot, a link and a host, each in a process of its own."""

    host: HostProcess
    link: ShapedLink
    pipeline: Pipeline
    client: OffloadClient

    def soon(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run an action while a frame is in flight."""
        threading.Timer(delay_s, action).start()


@dataclass(frozen=True)
class Passed:
    """A frame's latency and result."""

    latency_ms: float
    result: Result

    @property
    def remote(self) -> bool:
        return self.result.execution.offload.remote


@contextmanager
def connected(
    folder: Path,
    addresses: Sequence[str],
    deadline_ms: float,
    mode: str = ALWAYS,
    breaker: CircuitBreakerSettings | None = None,
    ready: int | None = None,
) -> Iterator[tuple[Pipeline, OffloadClient]]:
    """A pipeline and its client. Waits for the first `ready` hosts (None: for all)."""
    pipeline = Pipeline.load(folder)
    settings = OffloadSettings(
        [Endpoint(address) for address in addresses],
        deadline_ms,
        DecisionSettings(mode),
        breaker or CircuitBreakerSettings(),
    )
    client = offload(pipeline, settings)
    try:
        for host in client.hosts.clients[:ready]:
            if not host.wait_ready(60):
                raise RuntimeError(f'not ready: {host.last_failure}')
        yield pipeline, client
    finally:
        client.close()


@contextmanager
def rig(
    folder: Path, deadline_ms: float, mode: str, breaker: CircuitBreakerSettings | None = None
) -> Iterator[Rig]:
    """Start host, link and robot, and wait until the host is ready."""
    with HostProcess(folder) as host, ShapedLink(host.address) as link:
        breaker = breaker or CircuitBreakerSettings(first_s=0.25, longest_s=2.0)
        with connected(folder, [link.address], deadline_ms, mode, breaker) as robot:
            yield Rig(host, link, *robot)


def drive(
    rig: Rig, frames: list[Frame], period_s: float, before: Callable[[Rig, int], None]
) -> list[Passed]:
    """Run frames at a steady rate.

    Args:
        rig: Robot, link and host.
        frames: The frames.
        period_s: Time between two frames.
        before: Called with the number of each frame before it arrives; injects the fault.
    """
    passed = []
    next_s = time.monotonic()
    for number, frame in enumerate(frames):
        before(rig, number)
        time.sleep(max(0.0, next_s - time.monotonic()))
        arrived_s = time.monotonic()
        next_s = arrived_s + period_s
        result = rig.pipeline.run(replace(frame, received_s=arrived_s))
        passed.append(Passed((time.monotonic() - arrived_s) * 1e3, result))
    return passed


def nothing(rig: Rig, number: int) -> None:
    """No fault."""


def refused(rig: Rig, number: int) -> None:
    """The host's process ends for good."""
    if number == 5:
        rig.host.kill()


def killed(rig: Rig, number: int) -> None:
    """The host is killed during a request and restarted."""
    if number % 30 == 5:
        rig.soon(0.005, rig.host.kill)
    if number % 30 == 10:
        rig.host.start(wait=False)


def frozen(rig: Rig, number: int) -> None:
    """The host is suspended during a request and resumed later."""
    if number % 30 == 5:
        rig.soon(0.005, rig.host.freeze)
    if number % 30 == 20:
        rig.host.thaw()


def black_hole(rig: Rig, number: int) -> None:
    """All packets are lost without an error."""
    if number == 5:
        rig.soon(0.005, lambda: rig.link.tell('stall'))


def reset(rig: Rig, number: int) -> None:
    """Connections are cut, again and again."""
    if number % 7 == 5:
        rig.soon(0.005, lambda: rig.link.tell('reset'))


def flapping(rig: Rig, number: int) -> None:
    """The link is there for a moment, and then is not."""
    if number % 6 == 2:
        rig.link.tell('stall')
    if number % 6 == 5:
        rig.link.tell('resume')


def slow(rig: Rig, number: int) -> None:
    """Every answer takes longer than the deadline."""
    if number == 5:
        rig.link.tell('delay 400')


def one_percent(rig: Rig, number: int) -> None:
    """The link becomes a hundred times as slow as a bad one: 0.01 Mbit/s."""
    if number == 5:
        rig.link.tell('up 0.01')
        rig.link.tell('down 0.01')


def jittery(rig: Rig, number: int) -> None:
    """Some answers come in time and some do not."""
    if number == 5:
        rig.link.tell('jitter 150')


FAULTS: Mapping[str, Callable[[Rig, int], None]] = {
    'none': nothing,
    'ends, refused': refused,
    'killed mid-request, restarted': killed,
    'frozen (SIGSTOP), continued': frozen,
    'black hole': black_hole,
    'connections reset': reset,
    'flapping link': flapping,
    'slower than the deadline': slow,
    '0.01 Mbit/s': one_percent,
    'jitter to beyond the deadline': jittery,
}
