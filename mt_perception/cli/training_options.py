# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options, output folders and progress bars that the training commands share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mt_perception.cli.new_path import NewPath
from mt_perception.evaluation.output import OutputFolder, lock
from mt_perception.model.folder import MANIFEST, read_manifest_data
from mt_perception.resources import find_model, list_models

CHECKPOINT = 'checkpoint.pt'
_RUN, _MODEL = ('the folder of a run or its checkpoint.pt', 'a model folder or its manifest.yaml')


class RunOrModel(click.Path):
    """A folder with one of some files; also named by the file, or as an installed model.

    Args:
        files: ``CHECKPOINT`` for the folder of a run, ``MANIFEST`` for a model folder, or both.
    """

    name = 'folder'

    def __init__(self, *files: str) -> None:
        super().__init__(path_type=Path)
        self._files = files

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> Any:
        """The folder of a run or a model."""
        path = Path(os.path.expanduser(value))
        if os.path.isdir(path):
            return path
        if os.path.isfile(path) and path.name in self._files:
            return path.parent
        is_model = MANIFEST in self._files
        if is_model and str(value) in list_models():
            return find_model(str(value))
        expected = [_RUN] if CHECKPOINT in self._files else []
        expected += [_MODEL, f'an installed model ({", ".join(list_models())})'] * is_model
        found = 'is a file' if os.path.isfile(path) else 'does not exist'
        raise click.BadParameter(
            f'{str(value)!r} {found}; expected {", or ".join(expected)}', context, param
        )


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = NewPath(file_okay=False)
RUN = RunOrModel(CHECKPOINT)
MODEL = RunOrModel(MANIFEST)
RUN_OR_MODEL = RunOrModel(CHECKPOINT, MANIFEST)

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


def run_output(run: Path, sources: Iterable[Path]) -> OutputFolder | None:
    """Check the folder of a run; None for a run that is resumed, whatever wrote it.

    Raises:
        OutputError: the folder is or holds an input, or has files of others.
    """
    known = any((run / name).is_file() for name in (CHECKPOINT, 'run.yaml'))
    return None if known else OutputFolder(run, sources)


def model_output(model: Path, sources: Iterable[Path]) -> OutputFolder | None:
    """Check a model folder to write; None for a model whose files are replaced.

    Raises:
        OutputError: the folder is or holds an input, or has files of others.
    """
    if (model / MANIFEST).is_file() and 'blocks' in read_manifest_data(model):
        return None
    return OutputFolder(model, sources)


def claimed(output: OutputFolder | None) -> AbstractContextManager[object]:
    """Return a context in which the first process marks the written files."""
    return output.claimed() if output is not None and first_process() else nullcontext()


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Keep a second training from writing into a run during the block; makes the folder.

    Raises:
        OutputError: another command trains into it.
    """
    run.mkdir(parents=True, exist_ok=True)
    folder = os.open(run, os.O_RDONLY)
    try:
        # The other processes of torchrun belong to the first one.
        if first_process():
            lock(folder, run)
        yield
    finally:
        os.close(folder)


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


def show_progress(console: Console, title: str, steps: Iterable[tuple[int, int]]) -> int:
    """Run steps that yield (done, total) behind a bar; return how many are done."""
    done = 0
    with training_bar(console) as bar:
        task = bar.add_task(title, total=None, shown='')
        for done, total in steps:
            bar.update(task, completed=done, total=total)
    return done
