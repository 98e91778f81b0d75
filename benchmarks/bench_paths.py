# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the paths of a model take, over its full path; and what asking the policy costs.

Whole frames through the pipeline, on real images if a folder of them is given; the paths take
turns on every image. Usage: python benchmarks/bench_paths.py [MODEL] [IMAGES]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from mt_perception.model.folder import open_model
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.planning.path_policy import PolicyNet
from mt_perception.resources import find_model
from mt_perception.types import Frame

IMAGES = 60
ON_BAR = 1.06


def main() -> None:
    model = open_model(find_model(sys.argv[1] if len(sys.argv) > 1 else 'cspnano'))
    choices = model.manifest.paths.choices
    pipelines = [Pipeline.load(model.path, budget=Budget(path=path.name)) for path in choices]
    policy = PolicyNet(model)
    times: dict[str, list[float]] = {name: [] for name in (*(p.name for p in choices), 'asked')}
    cv2.setNumThreads(1)
    for image in _images(Path(sys.argv[2]) if len(sys.argv) > 2 else None):
        frame = Frame(image)
        for path, pipeline in zip(choices, pipelines, strict=True):
            start = time.perf_counter()
            pipeline.run(frame)
            times[path.name].append(time.perf_counter() - start)
        start = time.perf_counter()
        policy(image, [1.0, 1.0, 1.0], 0.9)
        pipelines[0].run(frame)
        times['asked'].append(time.perf_counter() - start)
    middle = {name: float(np.median(taken[5:])) * 1e3 for name, taken in times.items()}
    full = middle[choices[0].name]
    table = Table('path', 'MACs / full', 'time / full', 'ms')
    for path in choices:
        ms = middle[path.name]
        table.add_row(path.name, f'{path.relative_macs:.3f}', f'{ms / full:.3f}', f'{ms:.2f}')
    Console().print(table)
    ratio = middle['asked'] / full
    Console().print(f'policy asked, all gates on / ungated: {ratio:.3f} (bar {ON_BAR})')


def _images(folder: Path | None) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    if folder is None:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 255, (480, 640, 3), np.uint8) for _ in range(IMAGES)]
    files = sorted(folder.iterdir())
    read = (cv2.imread(str(file)) for file in files[:: max(1, len(files) // IMAGES)])
    return [image.astype(np.uint8, copy=False) for image in read if image is not None]


if __name__ == '__main__':
    main()
