# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints a model folder's accuracy on the validation parts of a recipe's data.

python benchmarks/accuracy.py models/cspnano --data ../shared/data
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mt_perception.pipeline import Pipeline
from mt_perception.training.figures import all_figures, depth_figures
from mt_perception.training.recipe import SetSpec, read_recipe

ROOT = Path(__file__).resolve().parent.parent
# Scenes that no training sees, where the data has them: name → folder, focal length in pixels.
UNSEEN = {'kitchen (unseen)': ('rgbd/nc_kitchen', 585.0)}


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--recipe', type=click.Path(exists=True, path_type=Path))
def main(model: Path, data: Path | None, recipe: Path | None) -> None:
    """Measure MODEL through the pipeline that runs on the robot."""
    data = data or ROOT.parent / 'shared' / 'data'
    plan = read_recipe(recipe or ROOT / 'recipes' / 'cspnano.yaml')
    pipeline = Pipeline.load(model)
    console = Console()
    with Progress(console=console) as progress:
        progress.add_task('measuring', total=None)
        figures = all_figures(pipeline, data, plan)
        for name, (folder, focal) in UNSEEN.items():
            if (data / folder).is_dir():
                spec = SetSpec(name, 'rgbd', folder, 0.0, focal_px=focal)
                unseen = depth_figures(pipeline, data, spec, split=None)
                figures |= {f'{key}/{name}': value for key, value in unseen.items()}
    table = Table('figure', 'value', title=str(model))
    for name, value in figures.items():
        table.add_row(name, f'{value:.3f}')
    console.print(table)


if __name__ == '__main__':
    main()
