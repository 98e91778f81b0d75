# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What sharing saves: all tasks in one plan, over each task alone, which runs the trunk again.

Both go through the same executor and take turns; the separate nets have the same trunk and heads.

Usage: python benchmarks/bench_sharing.py [MODEL]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from interleaved import medians_ms

from mt_perception.execution.frame_run import run_plan
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan
from mt_perception.resources import find_model
from mt_perception.types import Frame

BAR = 0.50


def main() -> None:
    pipeline = Pipeline.load(find_model(sys.argv[1] if len(sys.argv) > 1 else 'cspnano'))
    graph, runner = pipeline.manifest.graph, pipeline.runner
    shared = full_plan(graph, graph.tasks)
    alone = [full_plan(graph, [task]) for task in graph.tasks]
    macs = shared.macs / sum(plan.macs for plan in alone)
    print(f'{len(alone)} tasks: {", ".join(shared.tasks)}; MACs shared/separate {macs:.3f}')
    print('what is timed       input      shared      separate    ratio   aim')
    for height, width in ((256, 320), (320, 416), (480, 640)):
        image = np.random.default_rng(0).integers(0, 255, (1, height, width, 3), np.uint8)
        together = run_plan(runner, shared, image)
        for plan in alone:
            apart = run_plan(runner, plan, image)
            for tensor in plan.results:
                assert apart.tensor(tensor).tobytes() == together.tensor(tensor).tobytes()
        tell(
            'networks',
            f'{width}x{height}',
            lambda x=image: run_plan(runner, shared, x),
            lambda x=image: [run_plan(runner, plan, x) for plan in alone],
        )
    # Separate networks also prepare each image anew.
    frame = Frame(np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8))
    tell(
        'image to results',
        '640x480',
        lambda: pipeline.run(frame),
        lambda: [pipeline.run(frame, plan.tasks) for plan in alone],
    )


def tell(what: str, size: str, shared: Callable[[], object], apart: Callable[[], object]) -> None:
    ms = medians_ms({'shared': shared, 'separate': apart})
    ratio = ms['shared'] / ms['separate']
    print(
        f'{what:16}  {size:>8}  {ms["shared"]:7.2f} ms  {ms["separate"]:7.2f} ms  {ratio:6.3f}  '
        f'{BAR:.2f}'
    )


if __name__ == '__main__':
    main()
