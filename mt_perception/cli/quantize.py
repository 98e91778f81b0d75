# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception quantize`: writes a model folder that computes in 8 bits."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mt_perception.cli.training_options import (
    FILE,
    MODEL,
    NEW_FOLDER,
    claimed,
    data_option,
    model_output,
)


@click.command()
@click.argument('model', type=MODEL)
@click.argument('folder', type=NEW_FOLDER)
@data_option
@click.option(
    '--recipe',
    type=FILE,
    required=True,
    help="The model's recipe: its training images calibrate, its validation data measure.",
)
@click.option('--blocks', help='Blocks to quantise, separated by commas; default: all.')
@click.option(
    '--calibration',
    type=click.Choice(['minmax', 'percentile', 'entropy']),
    default='percentile',
    help='Method that determines the range of activations.',
)
@click.option('--images', default=32, help='Number of calibration images.')
@click.option('--int8-stem', is_flag=True, help='Quantise the first convolution too.')
@click.option(
    '--float-parts',
    default='trunk.stage2,trunk.stage3',
    help='Sensitive parts that stay in float, separated by commas.',
)
@click.option('--measure/--no-measure', default=True, help='Print accuracy and latency of both.')
def quantize(
    model: Path,
    folder: Path,
    data: Path,
    recipe: Path,
    blocks: str | None,
    calibration: str,
    images: int,
    int8_stem: bool,
    float_parts: str,
    measure: bool,
) -> None:
    """Write MODEL as the model folder FOLDER whose blocks compute in 8 bits."""
    from mt_perception.model.folder import open_model
    from mt_perception.training.export.quantization import (
        Quantisation,
        calibration_images,
        measure_both,
        quantize_folder,
    )
    from mt_perception.training.recipe import read_recipe

    console = Console()
    output = model_output(folder, [model, data, recipe])
    plan = read_recipe(recipe)
    every = tuple(open_model(model).manifest.graph.blocks)
    chosen = every if blocks is None else tuple(blocks.split(','))
    parts = tuple(filter(None, float_parts.split(',')))
    settings = Quantisation(chosen, calibration, not int8_stem, parts)
    with claimed(output):
        quantize_folder(model, folder, calibration_images(plan, data, images), settings)
    console.print(
        f'{folder}: written; {", ".join(chosen)} in 8 bits, by {calibration}', markup=False
    )
    if not measure:
        return
    table = Table('', 'float', '8 bits', 'relative loss or ratio')
    for row in measure_both(model, folder, plan, data):
        table.add_row(row.name, f'{row.before:.4g}', f'{row.after:.4g}', row.change)
    console.print(table)
