# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Deadlines while the remote host and the link fail: frames, who finished them, worst overrun.

    python benchmarks/bench_offload_faults.py models/cspnano IMAGES

A frame's latency is from its arrival to its results, post-processing included. The bar is an
overrun of at most 10 ms for every frame that was sent. A machine that is busy with other things
overruns without any host: the row ``local only`` and the last column say by how much. Host and
link get cores of their own where this process leaves some (``taskset -c 0 python …``).
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from offload_faults import FAULTS, Passed, drive, nothing, rig

from mt_perception.sources import open_source
from mt_perception.types import Frame

BAR_MS = 10.0


def read_frames(source: str, count: int) -> list[Frame]:
    with open_source(source, None, None) as frames:
        some = list(itertools.islice(frames, 20))
    return [some[i % len(some)] for i in range(count)]


def row(name: str, passed: list[Passed], deadline_ms: float, opened: object) -> str:
    latency = np.array([frame.latency_ms for frame in passed])
    sent = np.array([frame.result.execution.offload.rate is not None for frame in passed])
    remote = sum(frame.remote for frame in passed)
    over = np.maximum(latency - deadline_ms, 0.0)
    over_sent, over_here = over[sent].max(initial=0.0), over[~sent].max(initial=0.0)
    without = sum(bool(frame.result.failures) for frame in passed)
    verdict = 'ok' if over_sent <= BAR_MS and not without else 'OVER'
    return (
        f'{name:32} {len(passed):6} {sent.sum():5} {remote:6} {without:9} '
        f'{np.median(latency):7.1f} {latency.max():7.1f} {over_sent:10.1f} {over_here:10.1f}  '
        f'{verdict:4}  {opened}'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', type=Path)
    parser.add_argument('source')
    parser.add_argument('--frames', type=int, default=60)
    parser.add_argument('--deadline-ms', type=float, default=150.0)
    parser.add_argument('--period-ms', type=float, default=100.0)
    parser.add_argument('--mode', default='always')
    parser.add_argument('--only', default='', help='Part of the name of the faults to do.')
    given = parser.parse_args()
    frames = read_frames(given.source, given.frames)
    print(f'deadline {given.deadline_ms:g} ms, a frame every {given.period_ms:g} ms, {given.mode}')
    print(
        f'{"fault":32} {"frames":>6} {"sent":>5} {"remote":>6} {"no result":>9} {"p50 ms":>7} '
        f'{"max ms":>7} {"over: sent":>10} {"not sent":>10}        failures seen'
    )
    for name, fault in {'local only': nothing, **FAULTS}.items():
        if given.only not in name:
            continue
        mode = 'never' if name == 'local only' else given.mode
        with rig(given.model, given.deadline_ms, mode) as made:
            # What a plan takes is learnt from the first frames.
            drive(made, frames[:5], given.period_ms * 1e-3, nothing)
            passed = drive(made, frames, given.period_ms * 1e-3, fault)
            print(row(name, passed, given.deadline_ms, dict(made.client.hosts.preferred.failures)))


if __name__ == '__main__':
    main()
