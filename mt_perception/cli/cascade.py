# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception cascade`: adds a second network and gates to a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from mt_perception.cli.training_options import (
    MODEL,
    NEW_FOLDER,
    cache_option,
    claimed,
    data_option,
    exclusive,
    first_process,
    model_output,
    out_option,
    recipe_argument,
    run_output,
    show_progress,
    training_bar,
    training_console,
)

if TYPE_CHECKING:
    from mt_perception.training.cascade.fit_gates import Comparison


@click.command()
@recipe_argument
@click.option('--start', type=MODEL, required=True, help='Model whose network is the first stage.')
@data_option
@out_option
@click.option('--model', type=NEW_FOLDER, required=True, help='Model folder to write.')
@click.option('--version', default='0.1.0', help='Version of the weights.')
@cache_option
def cascade(
    recipe: Path,
    start: Path,
    data: Path,
    out: Path,
    model: Path,
    version: str,
    cache: Path | None,
) -> None:
    """Add a second detector, a wide dense head and gates to a model by RECIPE.

    The gates decide for each frame whether the second stage runs. Several processes train
    together under torchrun.
    """
    console = training_console()
    from mt_perception.training.cascade.cascade_recipe import images_recipe, read_cascade_recipe
    from mt_perception.training.cascade.train_dense_head import (
        cut_weights,
        start_cascade,
        train_dense_head,
    )
    from mt_perception.training.cascade.write_cascade import write_cascade
    from mt_perception.training.cascade.write_gates import calibrate_and_add_gates
    from mt_perception.training.data.recipe_sets import network_classes, read_sets
    from mt_perception.training.distillation.remote_teacher import write_remote_labels
    from mt_perception.training.start import read_start, start_network

    plan = read_cascade_recipe(recipe)
    images = images_recipe(plan, recipe.parent)
    assert images.parts is not None
    classes = network_classes(images, data)
    cache = cache or out.parent / 'cache'
    sets = read_sets(images, data, classes, cache)
    if images.remote_teacher:
        soft_labels = write_remote_labels(images, sets, data, classes, start)
        show_progress(console, 'remote teacher', soft_labels)
        # Soft labels determine how often an image is drawn.
        sets = read_sets(images, data, classes, cache)
    begun = read_start(start)
    labels = (classes.detection, classes.segmentation)
    network = start_network(begun, images.network, labels).network
    remote = start_cascade(network, plan, data, cut_weights(start))
    output, written = run_output(out, [start, data, recipe]), model_output(model, [start, data])
    with exclusive(out), claimed(output), training_bar(console) as bar:
        task = bar.add_task('dense head', total=plan.dense_head.steps, shown='')
        for now in train_dense_head(plan, remote, sets, out):
            shown = f'loss {now.loss:.3f}  {now.images_per_s:.1f} images/s'
            bar.update(task, completed=now.step, shown=shown)
    if not first_process():
        return
    with claimed(written):
        write_cascade(remote, start, model, version)
        found = calibrate_and_add_gates(model, data, images.parts)
    console.print(f'{model}: written, and equal to torch at two sizes', markup=False)
    _print(found, console)


def _print(found: Mapping[str, Comparison], console: Console) -> None:
    table = Table('task', 'rule', 'metric', title='Second stage for 30 % of the images')
    for task, one in found.items():
        rows = {'first stage alone': one.first, 'both stages': one.both, 'random': one.random}
        for rule, value in rows.items():
            table.add_row(task, rule, f'{value:.4f}')
        for name, value in one.named().items():
            table.add_row(task, name, f'{value:.4f}')
    console.print(table)
