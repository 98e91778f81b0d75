# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception train`: trains a network by a recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from mt_perception.evaluation.datasets.taxonomy import ClassMap
    from mt_perception.training.data.batches import SampleSet
    from mt_perception.training.loop import Progress as Step
    from mt_perception.training.recipe import Recipe

# The figures that stay in sight while a run goes on.
_SHOWN = ('ap', 'miou', 'abs_rel')


@click.command()
@click.argument('recipe', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    '--data',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help='Folder of the data sets that the recipe names.',
)
@click.option(
    '--out',
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help='Folder of the run; an interrupted run in it goes on.',
)
@click.option(
    '--cache',
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the teachers' opinions; default: cache beside the run.",
)
@click.option(
    '--start',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='Folder of a finished run to start from, and to distil from; a detector of other '
    'classes starts anew.',
)
@click.option('--tensorboard', is_flag=True, help="Write TensorBoard's files into OUT too.")
def train(
    recipe: Path,
    data: Path,
    out: Path,
    cache: Path | None,
    start: Path | None,
    tensorboard: bool,
) -> None:
    """Train a network by RECIPE, a YAML file; with several GPUs or processes, under torchrun."""
    # Before torch starts its threads: spinning ones cost more than they give on few cores.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    from mt_perception.training.add_task import (
        detector_validator,
        has_other_detector,
        network_to_start_from,
    )
    from mt_perception.training.data import recipe_sets
    from mt_perception.training.export.export import ModelCard
    from mt_perception.training.export.torch_runner import validator
    from mt_perception.training.recipe import read_recipe
    from mt_perception.training.run_record import record_run
    from mt_perception.training.structure.structure import train_structure

    # Of several processes the first one tells.
    first = os.environ.get('RANK', '0') == '0'
    console = Console(quiet=not first)
    plan = read_recipe(recipe)
    classes = recipe_sets.network_classes(plan, data)
    cache = cache or out.parent / 'cache'
    with _bar(console) as bar:
        task = bar.add_task('teachers', total=None, shown='')
        for done, everything in recipe_sets.write_pseudo_labels(plan, data, classes, cache):
            bar.update(task, completed=done, total=everything)
    sets = recipe_sets.read_sets(plan, data, classes, cache)
    labels = (classes.detection, classes.segmentation)
    sets = _with_soft_labels(plan, sets, data, classes, cache, start, console)
    is_other = start is not None and has_other_detector(start, labels)
    card = ModelCard(plan.network, 'unreleased', 'unknown', '', *labels)
    if first:
        record_run(out, recipe, plan, sets)
    weights = data / plan.initial_weights if plan.initial_weights and start is None else None
    with _bar(console) as bar:
        task = bar.add_task('start', total=plan.steps, shown='')
        steps = train_structure(
            plan,
            sets,
            labels,
            weights,
            out,
            (detector_validator if is_other else validator)(data, plan, card),
            None if start is None else network_to_start_from(start, labels),
            tensorboard,
        )
        last: dict[str, float] = {}
        now = None
        for now in steps:
            last |= {k: v for k, v in (now.figures or {}).items() if k in _SHOWN}
            bar.update(
                task,
                completed=now.step,
                total=now.steps,
                description=now.phase,
                shown=_shown(now, last),
            )
            if now.figures is not None:
                console.print(f'step {now.step}: {_numbers(now.figures)}')
    if now is not None:
        console.print(f'{out}: {now.step} steps, {now.spent_gmacs / 1e3:.2f} TMAC')


def _shown(now: Step, last: Mapping[str, float]) -> str:
    """The last validation's figures, the losses, the pace and the compute spent."""
    figures = f'[bold]{_numbers(last)}[/bold]  ' if last else ''
    # A task that MT2ST has faded shows its weight.
    faded = {k: v for k, v in now.controls.items() if k.startswith('gamma/') and v < 1}
    parts = (_numbers(now.losses), _numbers(faded), f'{now.images_per_s:.1f} images/s')
    return figures + '  '.join(filter(None, parts)) + f'  {now.spent_gmacs / 1e3:.2f} TMAC'


def _numbers(values: Mapping[str, float]) -> str:
    return '  '.join(f'{name} {value:.3f}' for name, value in values.items())


def _with_soft_labels(
    plan: Recipe,
    sets: tuple[SampleSet, ...],
    data: Path,
    classes: ClassMap,
    cache: Path,
    start: Path | None,
    console: Console,
) -> tuple[SampleSet, ...]:
    """Ask the pixel teacher, where the recipe has one; give the sets as they are then."""
    from mt_perception.training.data.recipe_sets import read_sets
    from mt_perception.training.distillation.soft_labels import write_soft_labels

    if plan.pixel_teacher is None:
        return sets
    if start is None:
        raise click.UsageError('the recipe has a pixel_teacher: give a finished run with --start')
    with _bar(console) as bar:
        task = bar.add_task('pixels', total=None, shown='')
        for done, everything in write_soft_labels(plan, sets, data, classes, start):
            bar.update(task, completed=done, total=everything)
    # How often an image is drawn depends on what the teacher sees in it.
    return read_sets(plan, data, classes, cache)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        TextColumn('{task.completed}/{task.total}'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[shown]}'),
        console=console,
    )
