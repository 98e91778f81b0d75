# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options and output that `train`, `cut`, `export` and `quantize` share."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)

recipe_argument = click.argument('recipe', type=FILE)
data_option = click.option(
    '--data', type=FOLDER, required=True, help='Folder of the data sets that the recipe names.'
)
out_option = click.option(
    '--out',
    type=NEW_FOLDER,
    required=True,
    help='Folder of the run; an interrupted run in it is resumed.',
)
cache_option = click.option(
    '--cache',
    type=NEW_FOLDER,
    help="Folder of the teachers' cached predictions; default: cache beside the run.",
)


def first_process() -> bool:
    """Return whether this is the first of the processes that torchrun started."""
    return os.environ.get('RANK', '0') == '0'


def training_console() -> Console:
    """Return a console that is silent in all processes but the first.

    It also sets OMP_WAIT_POLICY, which must be set before torch starts its threads: threads that
    spin while they wait slow down a machine with few cores.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    return Console(quiet=not first_process())


def training_bar(console: Console) -> Progress:
    """Return a progress bar with the field `shown` at its end."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        TextColumn('{task.completed}/{task.total}'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[shown]}'),
        console=console,
    )
