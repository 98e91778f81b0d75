# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Heads side by side (`parallel`) over heads one after the other, one thread in each operator.

Both pipelines take turns. The bar is 0.85 on two free cores at 416x320.

Usage: python benchmarks/bench_parallel.py [MODEL]
"""

from __future__ import annotations

import sys

import numpy as np
from interleaved import medians_ms

from mt_perception.pipeline import Pipeline
from mt_perception.resources import find_model
from mt_perception.types import Frame


def main() -> None:
    model = find_model(sys.argv[1] if len(sys.argv) > 1 else 'cspnano')
    pipelines = {
        'in order': Pipeline.load(model),
        'side by side': Pipeline.load(model, parallel=True),
        'in order, 2 threads': Pipeline.load(model, threads=2),
        'side by side, 2 threads': Pipeline.load(model, threads=2, parallel=True),
    }
    print('image     ' + ''.join(f'{name:>26}' for name in pipelines))
    for height, width in ((240, 320), (320, 416), (480, 640)):
        frame = Frame(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))
        ms = medians_ms({n: lambda p=p, f=frame: p.run(f) for n, p in pipelines.items()})
        first = ms['in order']
        cells = ''.join(f'{f"{v:.1f} ms  {v / first:.3f}":>26}' for v in ms.values())
        print(f'{width}x{height}   {cells}')


if __name__ == '__main__':
    main()
