# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What 8 bits cost and bring: every task's accuracy, every block's latency, the files' size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.pipeline import Pipeline
from mt_perception.training.data.batches import draw
from mt_perception.training.data.recipe_sets import network_classes, read_sets
from mt_perception.training.data.samples import read_image
from mt_perception.training.export.figures import all_figures
from mt_perception.training.recipe import Recipe
from mt_perception.types import Frame

_FIGURES = ('ap', 'miou', 'abs_rel')
_LESS_IS_BETTER = ('abs_rel',)
_SIZE = (480, 640)
_WARM_UP, _ROUNDS = 5, 40


@dataclass(frozen=True)
class Row:
    """One figure of both models, and the relative loss (positive is worse) or the ratio."""

    name: str
    before: float
    after: float
    told: str


def calibration_images(
    recipe: Recipe, data: Path, beside: Path, count: int
) -> list[NDArray[np.uint8]]:
    """Give training images as a recipe mixes them, (H, W, 3) BGR."""
    # Nothing but the images is read: the teachers' opinions need not be there.
    sets = read_sets(recipe, data, network_classes(recipe, data, beside), data / 'no_cache')
    return [read_image(draw(sets, recipe.seed, p).image_path) for p in range(count)]


def measure_both(model: Path, quantised: Path, recipe: Recipe, data: Path) -> Iterator[Row]:
    """Measure a model folder and its 8-bit one: accuracy, then latency turn by turn, one thread.

    Args:
        model: the float folder.
        quantised: the 8-bit folder.
        recipe: names the validation data.
        data: the data folder.
    """
    pipelines = [Pipeline.load(folder) for folder in (model, quantised)]
    before, after = (all_figures(pipeline, data, recipe) for pipeline in pipelines)
    # A data set without some labels gives no figure of that task.
    for name in (name for name in _FIGURES if name in before and name in after):
        sign = -1 if name in _LESS_IS_BETTER else 1
        lost = sign * (before[name] - after[name])
        told = f'{lost / before[name]:+.2%}' if before[name] else 'no ratio to zero'
        yield Row(name, before[name], after[name], told)
    for name, (first, second) in latencies_ms(pipelines[0], pipelines[1]).items():
        yield Row(f'{name}, ms', first, second, f'{second / first:.2f}')
    sizes = [sum(p.stat().st_size for p in f.glob('*.onnx')) / 1e6 for f in (model, quantised)]
    yield Row('files, MB', sizes[0], sizes[1], f'{sizes[1] / sizes[0]:.2f}')


def latencies_ms(first: Pipeline, second: Pipeline) -> dict[str, tuple[float, float]]:
    """Time every block of two models turn by turn; give medians, the sum as `all blocks`."""
    rng = np.random.default_rng(0)
    frame = Frame(rng.integers(0, 256, (*_SIZE, 3), np.uint8), 0, 'camera')
    times: dict[str, list[list[float]]] = {}
    started = time.monotonic()
    for turn in range(_WARM_UP + _ROUNDS):
        for which, pipeline in enumerate((first, second)):
            spent = dict(pipeline.run(frame).execution.latency_ms)
            blocks = {n: v for n, v in spent.items() if n in pipeline.manifest.graph.blocks}
            blocks['all blocks'] = sum(blocks.values())
            for name, value in blocks.items():
                if turn >= _WARM_UP:
                    times.setdefault(name, [[], []])[which].append(value)
        if time.monotonic() - started > 120:
            break
    return {
        name: (float(np.median(pair[0])), float(np.median(pair[1])))
        for name, pair in times.items()
    }
