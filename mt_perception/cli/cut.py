# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception cut`: trains a cut for a network, and adds it to its model folder."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@click.command()
@click.argument('recipe', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    '--network',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help='Folder of the run that trained the network.',
)
@click.option(
    '--data',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help='Folder of the data sets whose images are used.',
)
@click.option(
    '--out',
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help='Folder of the run; an interrupted run in it goes on.',
)
@click.option(
    '--model',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='Model folder of the network, to which the cut is added.',
)
@click.option('--images', default=400, show_default=True, help='Images to count symbols in.')
@click.option(
    '--cache',
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the pixel teacher's opinions; default: cache beside the run.",
)
def cut(
    recipe: Path,
    network: Path,
    data: Path,
    out: Path,
    model: Path | None,
    images: int,
    cache: Path | None,
) -> None:
    """Cut a trained network in two by RECIPE: an encoder for the robot, the rest for a host.

    With several processes, under torchrun.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    from mt_perception.pipeline import Pipeline
    from mt_perception.training.checkpoint import load_checkpoint
    from mt_perception.training.data.recipe_sets import network_classes
    from mt_perception.training.distillation.soft_labels import ask_pixel_teacher
    from mt_perception.training.export.publish_model import averaged
    from mt_perception.training.split.export import export_cut
    from mt_perception.training.split.images import (
        detector_of,
        image_sets,
        images_recipe,
        network_images,
        validation_part,
    )
    from mt_perception.training.split.recipe import read_cut_recipe
    from mt_perception.training.split.score_calibration import calibrate
    from mt_perception.training.split.train import CutNetwork, train_cut

    # Of several processes the first one tells, and exports.
    first = os.environ.get('RANK', '0') == '0'
    console = Console(quiet=not first)
    plan = read_cut_recipe(recipe)
    whole = averaged(load_checkpoint(network))
    theirs = images_recipe(plan, recipe.parent)
    cache = cache or out.parent / 'cache'
    sets = image_sets(plan, data, recipe.parent, cache)
    with Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        TextColumn('{task.completed}/{task.total}'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[shown]}'),
        console=console,
    ) as bar:
        classes = network_classes(theirs, data, recipe.parent)
        task = bar.add_task('pixels', total=None, shown='')
        asked = 0
        for asked, everything in ask_pixel_teacher(theirs, sets, data, classes, network):
            bar.update(task, completed=asked, total=everything)
        if asked:
            # How often an image is drawn depends on what the teacher sees in it.
            sets = image_sets(plan, data, recipe.parent, cache)
        bar.reset(task, description='start', total=plan.steps)
        detector = detector_of(plan, data, len(classes.detection))
        for now in train_cut(plan, whole, detector, sets, out):
            shown = f'error {now.error:.3f}  {now.bits_per_pixel:.3f} bits a pixel'
            shown += f'  {now.images_per_s:.1f} images/s'
            bar.update(task, completed=now.step, description=now.stage, shown=shown)
    if model is not None and first:
        trained = CutNetwork(whole, plan)
        trained.load_state_dict(load_checkpoint(out)['cut'])
        calibrate(trained, Pipeline.load(model), *validation_part(plan, data, recipe.parent))
        export_cut(trained, list(network_images(sets, images, plan.seed)), model)
        console.print(f'{model}: cut added, and equal to torch at two sizes')
