# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One remote host against two, while one of them is slowed to the deadline.

    python benchmarks/bench_offload_hosts.py models/cspnano IMAGES

The first host's link is delayed by the deadline: for all frames, or for half of every eight
seconds. With one host these frames wait for the latest start of a local run. With two, a late
request is also sent to the second host. The bar: p99 at least twice as good as with one host, and
at most 1.3 requests for each frame that is sent.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bench_offload_faults import read_frames
from offload_faults import connected

from mt_perception.evaluation.link.host_process import HostProcess
from mt_perception.evaluation.link.shaped_link import ShapedLink
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame

SPELL_S = 4.0
BAR_P99, BAR_REQUESTS = 2.0, 1.3


@dataclass(frozen=True)
class Measured:
    """Latency of each frame, and of the frames that were sent: how they ended."""

    latency_ms: np.ndarray
    sent: int
    remote: int
    requests: int

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.latency_ms, 99))


def drive(
    pipeline: Pipeline, frames: list[Frame], period_s: float, before: Callable[[float], None]
) -> Measured:
    """Run frames at a steady rate; ``before`` gets the time since the first one."""
    latency, reports = [], []
    start_s = next_s = time.monotonic()
    for frame in frames:
        before(time.monotonic() - start_s)
        time.sleep(max(0.0, next_s - time.monotonic()))
        received_s = time.monotonic()
        next_s = received_s + period_s
        reports.append(pipeline.run(replace(frame, received_s=received_s)).execution.offload)
        latency.append((time.monotonic() - received_s) * 1e3)
    sent = [report for report in reports if report.rate is not None]
    return Measured(
        np.array(latency),
        len(sent),
        sum(report.remote for report in sent),
        sum(report.requests or 0 for report in sent),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', type=Path)
    parser.add_argument('source')
    parser.add_argument('--frames', type=int, default=200)
    parser.add_argument('--deadline-ms', type=float, default=600.0)
    parser.add_argument('--period-ms', type=float, default=150.0)
    given = parser.parse_args()
    frames = read_frames(given.source, given.frames)
    print(f'deadline {given.deadline_ms:g} ms, {given.frames} frames every {given.period_ms:g} ms')
    print(
        f'{"first host":12} {"hosts":>5} {"p50 ms":>7} {"p99 ms":>7} {"max ms":>7} {"sent":>5} '
        f'{"remote":>6} {"requests a frame":>16}'
    )
    with (
        HostProcess(given.model, 0, '--workers', '1') as first,
        HostProcess(given.model, 0, '--workers', '1') as second,
        ShapedLink(first.address) as slow,
        ShapedLink(second.address) as fast,
    ):

        def delayed(since_s: float) -> None:
            slow.tell(f'delay {given.deadline_ms / 2:g}')

        def in_spells(since_s: float) -> None:
            on = since_s % (2 * SPELL_S) >= SPELL_S
            slow.tell(f'delay {given.deadline_ms / 2 if on else 0:g}')

        for name, before in (('slowed', delayed), ('slow spells', in_spells)):
            measured = []
            for addresses in ([slow.address], [slow.address, fast.address]):
                slow.tell('delay 0')
                with connected(given.model, addresses, given.deadline_ms) as (pipeline, _):
                    drive(pipeline, frames[:20], given.period_ms * 1e-3, lambda since_s: None)
                    found = drive(pipeline, frames, given.period_ms * 1e-3, before)
                measured.append(found)
                share = found.requests / max(found.sent, 1)
                print(
                    f'{name:12} {len(addresses):5} {np.median(found.latency_ms):7.1f} '
                    f'{found.p99_ms:7.1f} {found.latency_ms.max():7.1f} {found.sent:5} '
                    f'{found.remote:6} {share:16.3f}',
                    flush=True,
                )
            gain = measured[0].p99_ms / measured[1].p99_ms
            share = measured[1].requests / max(measured[1].sent, 1)
            verdict = 'ok' if gain >= BAR_P99 and share <= BAR_REQUESTS else 'MISSED'
            print(f'{name}: p99 {gain:.2f} times better, {share:.3f} requests a frame: {verdict}')


if __name__ == '__main__':
    main()
