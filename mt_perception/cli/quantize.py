# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception quantize`: writes an 8-bit model folder and says what it costs and brings."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument('folder', type=click.Path(file_okay=False, path_type=Path))
@click.option(
    '--data',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help='Folder of the data sets that the recipe names.',
)
@click.option(
    '--recipe',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help='The recipe of the model: its training images calibrate, its validation measures.',
)
@click.option(
    '--blocks',
    help='Blocks to quantise, separated by commas; default: all.',
)
@click.option(
    '--calibration',
    type=click.Choice(['minmax', 'percentile', 'entropy']),
    default='percentile',
    show_default=True,
    help='How the range of the activations is found.',
)
@click.option('--images', default=32, show_default=True, help='Number of calibration images.')
@click.option('--int8-stem', is_flag=True, help='Quantise the first convolution too.')
@click.option(
    '--float-parts',
    default='trunk.stage2,trunk.stage3',
    show_default=True,
    help='Parts that stay in floats, separated by commas: what is sensitive.',
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
    from mt_perception.training.export.quantize import Quantisation, quantize_folder
    from mt_perception.training.export.quantized_figures import calibration_images, measure_both
    from mt_perception.training.recipe import read_recipe

    console = Console()
    plan = read_recipe(recipe)
    every = tuple(open_model(model).manifest.graph.blocks)
    chosen = every if blocks is None else tuple(blocks.split(','))
    shown = calibration_images(plan, data, recipe.parent, images)
    parts = tuple(filter(None, float_parts.split(',')))
    how = Quantisation(chosen, calibration, not int8_stem, parts)
    quantize_folder(model, folder, shown, how)
    console.print(f'{folder}: written; {", ".join(chosen)} in 8 bits, by {calibration}')
    if not measure:
        return
    table = Table('', 'float', '8 bits', 'relative loss or ratio')
    for row in measure_both(model, folder, plan, data):
        table.add_row(row.name, f'{row.before:.4g}', f'{row.after:.4g}', row.told)
    console.print(table)
