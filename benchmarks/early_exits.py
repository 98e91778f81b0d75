# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints the gain of a model's gates over random gates, and the time that they save.

python benchmarks/early_exits.py models/cspnano_picodet --data ../shared/data

The images are those of one part (report unless --part says choose) of recipes/splits/cspnano.yaml.
Each frame runs on the full path, on the first stage and within each budget, in turn, so that times
compare. Random gates open for as many images as the gates of the same budget do, and the interval
is the middle 95 % of resamples of the images of the difference to their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import PARTS, Parts, read_parts
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.training.cascade.observe import Observed, box_folders, observe

ROOT = Path(__file__).resolve().parent.parent
SHUFFLES, RESAMPLES = 32, 200


def run_budgets(
    model: Path, budgets: tuple[float, ...], data: Path, parts: Parts, part: str
) -> tuple[dict[str, list[tuple[str, ...]]], dict[str, NDArray[np.float64]]]:
    """Run every image on every path and budget in turn.

    Returns:
        Run → the tasks with a second stage in each image, and run → (N, 2) MACs and ms.
    """
    ways = {'full': Budget(), 'first': Budget(path='first')}
    ways |= {f'budget {value:g}': Budget(compute=value) for value in budgets}
    pipelines = {name: Pipeline.load(model, budget=budget) for name, budget in ways.items()}
    opened: dict[str, list[tuple[str, ...]]] = {name: [] for name in ways}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    tasks = tuple(next(iter(pipelines.values())).manifest.tasks)
    for name in box_folders(data, parts, part):
        keys = parts.images[name][part]
        with open_samples(
            str(data / name), SourceOptions(keys=keys), ClassMap((), (), read_taxonomy())
        ) as samples:
            for sample in samples:
                for way, pipeline in pipelines.items():
                    ran = pipeline.run(sample.frame, tasks).execution
                    both = tasks if ran.path == 'full' else ()
                    opened[way].append(both if ran.second_stage is None else ran.second_stage)
                    costs[way].append((ran.macs, ran.stage_ms['total']))
    return opened, {way: np.array(rows) for way, rows in costs.items()}


def print_task(seen: Observed, opened: Mapping[str, list[tuple[str, ...]]]) -> dict[str, float]:
    """Print one task's table; return run → loss relative to the full path."""
    count = len(seen.labelled)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    both = float(seen.value(np.ones((1, count)))[0])
    print(f'\n| {seen.task} | share | metric | loss | random gates | above random | 95 % |')
    print('|---|---|---|---|---|---|---|')
    losses = {}
    for way, tasks in opened.items():
        mask = np.array([seen.task in one for one in tasks], np.float64)
        share = float(mask[seen.labelled].mean())
        value = float(seen.value(mask[None])[0])
        losses[way] = 1 - value / both
        cells = f'{share:.3f} | {value:.4f} | {losses[way]:.1%}'
        if 0 < share < 1:
            shuffled = np.stack([_shuffled(mask, seen.labelled, rng) for _ in range(SHUFFLES)])
            chance = float(seen.value(shuffled).mean())
            drawn = shuffled[np.arange(RESAMPLES) % SHUFFLES]
            spread = seen.value(np.tile(mask, (RESAMPLES, 1)), draws) - seen.value(drawn, draws)
            low, high = np.nanquantile(spread, [0.025, 0.975])
            cells += f' | {chance:.4f} | {value - chance:+.4f} | {low:+.4f} to {high:+.4f}'
        else:
            cells += ' | | |'
        print(f'| {way} | {cells} |')
    return losses


def _shuffled(
    mask: NDArray[np.float64], labelled: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    made = mask.copy()
    made[labelled] = rng.permutation(mask[labelled])
    return made


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--part', type=click.Choice(PARTS), default='report', show_default=True)
@click.option('--budget', 'budgets', multiple=True, type=float, default=(0.6, 0.8))
def main(model: Path, data: Path | None, part: str, budgets: tuple[float, ...]) -> None:
    """Measure the gates of MODEL on one part of the validation data."""
    data = data or ROOT.parent / 'shared' / 'data'
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    opened, costs = run_budgets(model, budgets, data, parts, part)
    seen = observe(model, data, parts, part)
    losses = [print_task(one, opened) for one in seen.values()]
    print('\n| run | MACs | time | mean loss of all tasks |\n|---|---|---|---|')
    tasks = len(Pipeline.load(model).manifest.tasks)
    for way, rows in costs.items():
        macs, ms = rows.sum(axis=0) / costs['full'].sum(axis=0)
        # A task without a second stage loses nothing.
        mean = sum(one[way] for one in losses) / tasks
        print(f'| {way} | {macs:.3f} | {ms:.3f} | {mean:.1%} |')


if __name__ == '__main__':
    main()
