# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the pipeline costs: a frame to results, over the bare network on a prepared input.

Usage: python benchmarks/bench_pipeline.py [MODEL]
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from interleaved import medians_ms

from mt_perception.execution.frame_run import run_plan
from mt_perception.execution.options import Options
from mt_perception.geometry.points import point_cloud
from mt_perception.image.letterbox import fit
from mt_perception.image.overlay import draw
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan
from mt_perception.resources import find_model
from mt_perception.types import Frame

# The bars of the node hold for the pipeline inside it all the more.
BARS = {320: 1.12, 640: 1.07}


def main() -> None:
    cv2.setNumThreads(1)
    model = find_model(sys.argv[1] if len(sys.argv) > 1 else 'cspnano')
    print('image    network   bare      pipeline   ratio   aim   overlay    points')
    for width, height, size in ((320, 240, 320), (640, 480, 416), (640, 480, 640)):
        pipeline = Pipeline.load(model, Options(size=size))
        image = smooth_picture(height, width)
        spec = pipeline.manifest.input
        network_image = fit((height, width), size, spec.multiple).network_image(image, 114)
        plan = full_plan(pipeline.manifest.graph, pipeline.manifest.tasks)
        result = pipeline.run(Frame(image))
        cases = {
            'bare': lambda p=pipeline, x=network_image, plan=plan: run_plan(p.runner, plan, x),
            'pipeline': lambda p=pipeline, i=image: p.run(Frame(i)),
            'overlay': lambda i=image, r=result: draw(i, r),
        }
        if result.depth is not None:
            cases['points'] = lambda i=image, d=result.depth: point_cloud(d, i)
        ms = medians_ms(cases)
        high, wide = network_image.shape[1:3]
        print(
            f'{width}x{height}  {wide}x{high} {ms["bare"]:7.2f} ms {ms["pipeline"]:7.2f} ms '
            f'{ms["pipeline"] / ms["bare"]:7.3f}  {BARS.get(size, "    ")} '
            f'{ms["overlay"]:6.2f} ms {ms.get("points", 0):6.2f} ms'
        )
        times = {**result.execution.stage_ms, **result.execution.block_ms}
        print('   ' + '  '.join(f'{part} {ms:.2f}' for part, ms in times.items()))


def smooth_picture(height: int, width: int) -> np.ndarray:
    """Noise would be all edges, which no camera sees."""
    coarse = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


if __name__ == '__main__':
    main()
