# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception train`: trains a network by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from mt_perception.cli.training_options import (
    CHECKPOINT,
    RUN_OR_MODEL,
    cache_option,
    claimed,
    data_option,
    exclusive,
    first_process,
    out_option,
    recipe_argument,
    run_output,
    show_progress,
    training_bar,
    training_console,
)

if TYPE_CHECKING:
    from mt_perception.evaluation.datasets.taxonomy import ClassMap
    from mt_perception.network.multitask import Multitask
    from mt_perception.training.data.batches import SampleSet
    from mt_perception.training.loop import Progress as Step
    from mt_perception.training.recipe import Recipe
    from mt_perception.training.start import Start

# Metrics that stay visible beside the progress bar.
_SHOWN = ('ap', 'miou', 'abs_rel')


@click.command()
@recipe_argument
@data_option
@out_option
@cache_option
@click.option(
    '--start',
    type=RUN_OR_MODEL,
    help='Finished run or model to start and to distil from; new classes get new outputs, '
    'everything else is kept.',
)
@click.option('--tensorboard', is_flag=True, help='Write TensorBoard files into OUT too.')
def train(
    recipe: Path,
    data: Path,
    out: Path,
    cache: Path | None,
    start: Path | None,
    tensorboard: bool,
) -> None:
    """Train a network by RECIPE, a YAML file; with several GPUs or processes, under torchrun."""
    console = training_console()
    from mt_perception.training.data import recipe_sets
    from mt_perception.training.export.torch_runner import validator
    from mt_perception.training.export.write_model import ModelCard
    from mt_perception.training.recipe import read_recipe
    from mt_perception.training.run_record import record_run
    from mt_perception.training.start import check_teacher, read_start
    from mt_perception.training.structure.structure import train_structure

    output = run_output(out, [data, recipe, *([] if start is None else [start])])
    plan = read_recipe(recipe)
    source = None if start is None else read_start(start)
    check_teacher(plan, source)
    classes = recipe_sets.network_classes(plan, data, () if source is None else source.labels[0])
    labels = (classes.detection, classes.segmentation)
    network = None if source is None else _started(plan, source, labels, console)
    kept = () if source is None else source.tasks
    cache = cache or out.parent / 'cache'
    show_progress(console, 'teachers', recipe_sets.write_pseudo_labels(plan, data, classes, cache))
    sets = recipe_sets.read_sets(plan, data, classes, cache)
    _check(plan, data, classes, sets, console)
    if plan.remote_teacher:
        sets = _with_remote_labels(plan, sets, data, classes, cache, start, console)
    sets = _with_soft_labels(plan, sets, data, classes, cache, network, console)
    tasks = tuple(dict.fromkeys((*plan.tasks, *kept)))
    card = ModelCard(plan.network, 'unreleased', 'unknown', '', *labels, tasks=tasks)
    weights = data / plan.initial_weights if plan.initial_weights and start is None else None
    validate = validator(data, plan, card)
    steps = train_structure(plan, sets, labels, weights, out, validate, network, tensorboard, kept)
    last: dict[str, float] = {}
    now = None

    def record() -> None:
        if first_process():
            # Marked at once: a run that is killed has its recipe, too.
            with claimed(output):
                record_run(out, recipe, plan, sets)

    with exclusive(out), claimed(output), training_bar(console) as bar:
        task = bar.add_task('start', total=plan.steps, shown='')
        for now in _recorded(steps, record, (out / CHECKPOINT).exists()):
            last |= {k: v for k, v in (now.metrics or {}).items() if k in _SHOWN}
            shown = _shown(now, last)
            bar.update(
                task, completed=now.step, total=now.steps, description=now.phase, shown=shown
            )
            if now.metrics is not None:
                console.print(f'step {now.step}: {_numbers(now.metrics) or "nothing to measure"}')
    if now is not None:
        console.print(f'{out}: {now.step} steps, {now.spent_gmacs / 1e3:.2f} TMAC', markup=False)


def _started(
    plan: Recipe, start: Start, labels: tuple[tuple[str, ...], tuple[str, ...]], console: Console
) -> Multitask:
    """Build the network from the weights of a start, and print what was kept."""
    from mt_perception.training.start import check_start, start_network

    check_start(plan, start, labels)
    started = start_network(start, plan.network, labels)
    for sentence in started.report:
        console.print(sentence, highlight=False)
    return started.network


def _check(
    plan: Recipe,
    data: Path,
    classes: ClassMap,
    sets: tuple[SampleSet, ...],
    console: Console,
) -> None:
    """Check all files of the training data, and print how its class names are used."""
    from mt_perception.training.data.check_data import check_files, class_report

    for row in class_report(plan, data, classes):
        console.print(row, highlight=False, markup=False)
    show_progress(console, 'checking files', check_files(sets))


def _recorded(steps: Iterator[Step], record: Callable[[], None], resumes: bool) -> Iterator[Step]:
    """Yield the steps of a run, which is recorded when it begins.

    A resumed run is recorded after its checkpoint was restored with the recipe: one of another run
    is refused there, and must not replace the recipe in the folder.
    """
    if not resumes:
        record()
    first = next(steps, None)
    if resumes:
        record()
    if first is not None:
        yield first
        yield from steps


def _shown(now: Step, last: Mapping[str, float]) -> str:
    """Return the last validation's metrics, the losses, the throughput and the compute."""
    metrics = f'[bold]{_numbers(last)}[/bold]  ' if last else ''
    # Weights of tasks that MT2ST has reduced.
    reduced = {k: v for k, v in now.controls.items() if k.startswith('gamma/') and v < 1}
    parts = (_numbers(now.losses), _numbers(reduced), f'{now.images_per_s:.1f} images/s')
    return metrics + '  '.join(filter(None, parts)) + f'  {now.spent_gmacs / 1e3:.2f} TMAC'


def _numbers(values: Mapping[str, float]) -> str:
    return '  '.join(f'{name} {value:.3f}' for name, value in values.items())


def _with_remote_labels(
    plan: Recipe,
    sets: tuple[SampleSet, ...],
    data: Path,
    classes: ClassMap,
    cache: Path,
    start: Path | None,
    console: Console,
) -> tuple[SampleSet, ...]:
    """Write missing labels of the remote teacher; return the sets with them."""
    from mt_perception.training.data.recipe_sets import read_sets
    from mt_perception.training.distillation.remote_teacher import write_remote_labels

    if start is None:
        raise click.UsageError('the recipe has a remote_teacher: give a model with --start')
    show_progress(console, 'remote teacher', write_remote_labels(plan, sets, data, classes, start))
    return read_sets(plan, data, classes, cache)


def _with_soft_labels(
    plan: Recipe,
    sets: tuple[SampleSet, ...],
    data: Path,
    classes: ClassMap,
    cache: Path,
    network: Multitask | None,
    console: Console,
) -> tuple[SampleSet, ...]:
    """Write missing soft labels, if the recipe has a pixel teacher; return the sets with them."""
    from mt_perception.training.data.recipe_sets import read_sets
    from mt_perception.training.distillation.soft_labels import write_soft_labels

    if plan.pixel_teacher is None:
        return sets
    if network is None:
        raise click.UsageError('the recipe has a pixel_teacher: give a finished run with --start')
    show_progress(console, 'soft labels', write_soft_labels(plan, sets, data, classes, network))
    # Soft labels decide how often an image is drawn.
    return read_sets(plan, data, classes, cache)
