# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception cut`: splits a trained network between robot and remote host."""

from __future__ import annotations

from pathlib import Path

import click

from mt_perception.cli.training_options import (
    FOLDER,
    RUN,
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


@click.command()
@recipe_argument
@click.option('--network', type=RUN, required=True, help='The run that trained the network.')
@data_option
@out_option
@click.option(
    '--model', type=FOLDER, help='Model folder of the network, to which the cut is added.'
)
@click.option(
    '--images', default=400, help='Number of images for the symbol statistics of the codec.'
)
@cache_option
def cut(
    recipe: Path,
    network: Path,
    data: Path,
    out: Path,
    model: Path | None,
    images: int,
    cache: Path | None,
) -> None:
    """Split a trained network by RECIPE: an encoder for the robot, the rest for a remote host.

    Several processes train together under torchrun.
    """
    console = training_console()
    from mt_perception.pipeline import Pipeline
    from mt_perception.training.checkpoint import NETWORK, load_checkpoint
    from mt_perception.training.data.recipe_sets import network_classes, read_sets
    from mt_perception.training.distillation.soft_labels import write_soft_labels
    from mt_perception.training.export.model_metrics import main_validation
    from mt_perception.training.export.publish_model import averaged
    from mt_perception.training.split.images import (
        network_images,
        read_detector,
        read_network_recipe,
    )
    from mt_perception.training.split.score_calibration import calibrate
    from mt_perception.training.split.split_recipe import read_split_recipe
    from mt_perception.training.split.train_split import SplitNetwork, train_split
    from mt_perception.training.split.write_split import export_split

    output = run_output(out, [network, data, recipe])
    plan = read_split_recipe(recipe)
    whole = averaged(load_checkpoint(network, NETWORK))
    images_of = read_network_recipe(plan, recipe.parent)
    classes = network_classes(images_of, data)
    cache = cache or out.parent / 'cache'
    sets = read_sets(images_of, data, classes, cache)
    soft_labels = write_soft_labels(images_of, sets, data, classes, whole)
    if show_progress(console, 'soft labels', soft_labels):
        # Soft labels decide how often an image is drawn.
        sets = read_sets(images_of, data, classes, cache)
    with training_bar(console) as bar:
        task = bar.add_task('start', total=plan.steps, shown='')
        detector = read_detector(plan, data, len(classes.detection))
        with exclusive(out), claimed(output):
            for now in train_split(plan, whole, detector, sets, out):
                shown = f'error {now.error:.3f}  {now.bits_per_pixel:.3f} bits/pixel'
                shown += f'  {now.images_per_s:.1f} images/s'
                bar.update(task, completed=now.step, description=now.stage, shown=shown)
    if model is not None and first_process():
        trained = SplitNetwork(whole, plan)
        trained.load_state_dict(load_checkpoint(out)['cut'])
        calibrate(trained, Pipeline.load(model), *main_validation(images_of, data))
        export_split(trained, list(network_images(sets, images, plan.seed)), model)
        console.print(f'{model}: cut added, and equal to torch at two sizes', markup=False)
