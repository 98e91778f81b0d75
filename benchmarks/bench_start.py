# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the start of a process to its first result, and the memory that it holds then.

Usage: python benchmarks/bench_start.py [MODEL]
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

from mt_perception.resources import find_model

BAR_S = 2.0
# Only Linux has /proc; VmRSS is in kB.
CHILD = """
import sys
import numpy as np
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame
result = Pipeline.load(sys.argv[1]).run(Frame(np.zeros((480, 640, 3), np.uint8)))
assert not result.failures
with open('/proc/self/status') as status:
    print(next(line.split()[1] for line in status if line.startswith('VmRSS')))
"""


def main() -> None:
    model = find_model(sys.argv[1] if len(sys.argv) > 1 else 'cspnano')
    empty_s, first_s, cpu_s, resident_mb = [], [], [], []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, '-c', 'pass'], check=True)
        empty_s.append(time.perf_counter() - start)
        start, before = time.perf_counter(), cpu_of_children_s()
        done = subprocess.run(
            [sys.executable, '-c', CHILD, str(model)], check=True, capture_output=True, text=True
        )
        first_s.append(time.perf_counter() - start)
        cpu_s.append(cpu_of_children_s() - before)
        resident_mb.append(int(done.stdout) / 1024)
    print(
        f'start to first result {statistics.median(first_s):.2f} s (aim {BAR_S} s), '
        f'of it on a processor {statistics.median(cpu_s):.2f} s, '
        f'an empty Python {statistics.median(empty_s):.2f} s, '
        f'resident {statistics.median(resident_mb):.0f} MB'
    )


def cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == '__main__':
    main()
