# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception export`: writes a trained network as a model folder."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mt_perception.cli.training_options import FOLDER, NEW_FOLDER, RUN, claimed, model_output

FULL = 'full'


@click.command()
@click.argument('run', type=RUN)
@click.argument('model', type=NEW_FOLDER)
@click.option(
    '--data',
    type=FOLDER,
    help='Folder of the data sets: measure the exported model and record its accuracy.',
)
@click.option('--version', default='0.1.0', help='Version of the weights.')
@click.option('--licence', default='Apache-2.0', help='SPDX identifier.')
@click.option(
    '--as-task',
    help='Add the detector of RUN to the existing MODEL as one more task of this name; --data '
    "is then the task's data set.",
)
@click.option(
    '--only',
    type=click.Choice(('detection', 'segmentation', 'depth', FULL)),
    help='Replace the head of this task in the MODEL that is there, or its light variant where '
    'RUN trained lighter paths; nothing else changes. full: replace trunk and heads; light heads '
    'and remote networks stay.',
)
@click.option(
    '--share',
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="With --only full: share of RUN's weights; the rest is MODEL's.",
)
def export(
    run: Path,
    model: Path,
    data: Path | None,
    version: str,
    licence: str,
    as_task: str | None,
    only: str | None,
    share: float,
) -> None:
    """Write the network of RUN, a folder of a training run, as the model folder MODEL.

    The averaged weights are exported, as one ONNX file for each block, and compared with torch.
    If the recipe of RUN has `gating`, the lighter paths are added to the existing MODEL.
    """
    from mt_perception.training.add_task import add_task
    from mt_perception.training.export.publish_model import publish_model
    from mt_perception.training.export.replace_head import replace_full, replace_head
    from mt_perception.training.gating.add_paths import has_paths
    from mt_perception.training.gating.train_path_policy import add_paths

    console = Console()
    if share < 1 and only != FULL:
        raise click.UsageError('--share goes with --only full')
    if only is not None:
        if data is not None or as_task is not None:
            raise click.UsageError('--only goes with neither --data nor --as-task')
        if only == FULL:
            paths = replace_full(run, model, version, share)
        else:
            paths = (replace_head(run, model, only, version),)
        for path in paths:
            console.print(f'{path}: written, and equal to torch at two sizes', markup=False)
        return
    if has_paths(run):
        metrics = add_paths(run, model, data)
    elif as_task is None:
        with claimed(model_output(model, [run, *([] if data is None else [data])])):
            metrics = publish_model(run, model, data, version, licence)
    else:
        metrics = add_task(run, model, as_task, data)
    console.print(f'{model}: written, and equal to torch at two sizes', markup=False)
    if metrics:
        table = Table('metric', 'value')
        for name, value in metrics.items():
            table.add_row(name, f'{value:.3f}')
        console.print(table)
