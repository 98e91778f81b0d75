# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the latency loop holds its time while another process takes half of the machine.

Frames come at a fixed rate, first on an idle machine, then beside a process that computes without
pause on the same core, then alone again. Printed: the 95th percentile of each phase over the time
wanted, how often the path changed, and when everything ran again. Beside it the same without the
loop, so that one sees what the other process does. The model needs paths.

Usage: taskset -c 0 python benchmarks/bench_latency_loop.py [--model MODEL] [--rate-hz 15]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from bench_pipeline import smooth_picture

from mt_perception.model.paths import FULL_PATH
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import Frame

SETTLE_S = 1.0
"""The loop is given so long to answer before a phase is judged."""

IDLE_S, BUSY_S, AFTER_S = 4.0, 10.0, 4.0
BAR_P95, BAR_BACK_S = 1.1, 2.0
ROOM = 1.35
"""The time wanted, over what everything takes on the idle machine at the 95th percentile."""


@dataclass(frozen=True)
class Seen:
    """One frame: when it began, what it took, on which path."""

    at_s: float
    ms: float
    path: str


class Camera:
    """Runs frames at a fixed rate."""

    def __init__(self, pipeline: Pipeline, rate_hz: float) -> None:
        self._pipeline = pipeline
        self._rate_hz = rate_hz
        self._image = smooth_picture(480, 640)

    def run(self, seconds: float) -> list[Seen]:
        """Run frames for a while."""
        frames: list[Seen] = []
        start_s = due_s = time.perf_counter()
        while due_s - start_s < seconds:
            time.sleep(max(0.0, due_s - time.perf_counter()))
            at_s = time.perf_counter()
            run = self._pipeline.run(Frame(self._image, round(at_s * 1e9))).execution
            frames.append(Seen(at_s - start_s, (time.perf_counter() - at_s) * 1e3, run.path))
            # A frame that took longer than a period loses the ones behind it, as in the node.
            due_s = max(due_s + 1 / self._rate_hz, time.perf_counter())
        return frames


def p95(frames: list[Seen], from_s: float = 0.0) -> float:
    """95th percentile of the frames after a time."""
    return float(np.percentile([f.ms for f in frames if f.at_s >= from_s], 95))


def phases(camera: Camera) -> tuple[list[Seen], list[Seen], list[Seen]]:
    """Frames before, beside and after another process that takes half of the machine."""
    idle = camera.run(IDLE_S)
    hog = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    try:
        busy = camera.run(BUSY_S)
    finally:
        hog.kill()
        hog.wait()
    return idle, busy, camera.run(AFTER_S)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='cspnano')
    parser.add_argument('--rate-hz', type=float, default=15.0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pipeline = Pipeline.load(arguments.model)
    camera = Camera(pipeline, arguments.rate_hz)
    camera.run(1.0)
    wanted_ms = ROOM * p95(camera.run(2.0))
    print(f'wanted: {wanted_ms:.1f} ms at the 95th percentile')
    print('          idle    busy   after (over the time wanted)')
    for name, latency_ms in (('no loop', 0.0), ('loop', wanted_ms)):
        pipeline.budget = Budget(latency_ms=latency_ms)
        idle, busy, after = phases(camera)
        ratios = [p95(idle), p95(busy, SETTLE_S), p95(after, SETTLE_S)]
        print(f'{name:8}' + ''.join(f'{ms / wanted_ms:8.2f}' for ms in ratios))
    changes = sum(a.path != b.path for a, b in pairwise(busy))
    paths = Counter(frame.path for frame in busy if frame.at_s >= SETTLE_S)
    back = next((f.at_s for f in after if f.path == FULL_PATH), float('inf'))
    print(f'busy: {changes} changes of path in {BUSY_S:g} s; {dict(paths)}')
    print(f'p95 while busy / wanted: {ratios[1] / wanted_ms:.2f} (bar {BAR_P95})')
    print(f'everything again after {back:.2f} s (bar {BAR_BACK_S:g} s)')


if __name__ == '__main__':
    main()
