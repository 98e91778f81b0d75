# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception train`: trains a network by a recipe."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


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
def train(recipe: Path, data: Path, out: Path, cache: Path | None, start: Path | None) -> None:
    """Train a network by RECIPE, a YAML file."""
    # Before torch starts its threads: spinning ones cost more than they give on few cores.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    from mt_perception.training import sources
    from mt_perception.training.export import ModelCard
    from mt_perception.training.leaf import is_leaf, leaf_validator, on_trunk_of
    from mt_perception.training.opinions import ask_pixel_teacher
    from mt_perception.training.recipe import read_recipe
    from mt_perception.training.structure import train_structure
    from mt_perception.training.validation import validator

    console = Console()
    plan = read_recipe(recipe)
    classes = sources.network_classes(plan, data, recipe.parent)
    cache = cache or out.parent / 'cache'
    with _bar(console) as bar:
        task = bar.add_task('teachers', total=None, shown='')
        for done, everything in sources.ask_teachers(plan, data, classes, cache):
            bar.update(task, completed=done, total=everything)
    sets = sources.read_sets(plan, data, classes, cache)
    labels = (classes.detection, classes.segmentation)
    if plan.pixel_teacher is not None and start is None:
        raise click.UsageError('the recipe has a pixel_teacher: give a finished run with --start')
    with _bar(console) as bar:
        task = bar.add_task('pixels', total=None, shown='')
        if start is not None:
            for done, everything in ask_pixel_teacher(plan, sets, data, classes, start):
                bar.update(task, completed=done, total=everything)
    is_other = start is not None and is_leaf(start, labels)
    card = ModelCard(plan.network, 'unreleased', 'unknown', '', *labels)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'recipe.yaml').write_text(recipe.read_text(encoding='utf-8'), encoding='utf-8')
    with _bar(console) as bar:
        task = bar.add_task('start', total=plan.steps, shown='')
        steps = train_structure(
            plan,
            sets,
            labels,
            None if start is not None else data / plan.initial_weights,
            out,
            (leaf_validator if is_other else validator)(data, plan, card),
            None if start is None else on_trunk_of(start, labels),
        )
        for now in steps:
            shown = '  '.join(f'{name} {value:.3f}' for name, value in now.losses.items())
            shown += f'  {now.images_per_s:.1f} images/s'
            bar.update(
                task,
                completed=now.step,
                total=now.steps,
                description=now.phase,
                shown=shown,
            )
            if now.figures is not None:
                figures = '  '.join(f'{name} {value:.3f}' for name, value in now.figures.items())
                console.print(f'step {now.step}: {figures}')


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        TextColumn('{task.completed}/{task.total}'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[shown]}'),
        console=console,
    )
