# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception import``: makes a model folder of ONNX networks from other projects."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from mt_perception.cli.new_path import NewPath
from mt_perception.errors import ModelError, OutputError
from mt_perception.evaluation.baselines.labels import COCO
from mt_perception.evaluation.output import MARKER, check_sources
from mt_perception.first_run import FirstRun, first_run
from mt_perception.model.folder import MANIFEST, read_manifest
from mt_perception.model.importers.choice import (
    AUTO,
    DEPTH_OUTPUTS,
    KEEP,
    Card,
    Channels,
    Choice,
)
from mt_perception.model.importers.label_files import read_labels
from mt_perception.model.importers.presets import PRESETS
from mt_perception.model.input_spec import FITS
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

if TYPE_CHECKING:
    from mt_perception.model.importers.import_plan import ImportedTask

PICTURE = 'import.png'
_TASKS = (DETECTION, SEGMENTATION, DEPTH)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_Command = Callable[..., None]


def _per_task(name: str, help_: str, metavar: str) -> Callable[[_Command], _Command]:
    return click.option(name, multiple=True, metavar=f'[TASK=]{metavar}', help=help_)


@click.command()
@click.argument('folder', type=NewPath(), metavar='MODEL_DIR')
@click.option('--detection', type=_FILE, help='ONNX file of a detector.')
@click.option('--segmentation', type=_FILE, help='ONNX file of a segmentation network.')
@click.option('--depth', type=_FILE, help='ONNX file of a depth network.')
@click.option(
    '--labels',
    multiple=True,
    type=_FILE,
    help='Class names: text, YAML or JSON; for detection first, then for segmentation. A detector '
    'without labels has those of its metadata, or of COCO.',
)
@click.option(
    '--depth-kind', type=click.Choice(list(DEPTH_OUTPUTS)), help='Meaning of the depth output.'
)
@click.option('--test', type=_FILE, help=f'Image to run; results are drawn in {PICTURE}.')
@_per_task('--decode', f'Family of the network: {AUTO} or {", ".join(PRESETS)}.', 'NAME')
@_per_task(
    '--mean',
    'Mean of the channels, one number or three, in units of 0 to 255; of 0 to 1 if all of '
    '--std (without it, of --mean) are below 1.',
    'M',
)
@_per_task('--std', 'Standard deviation of the channels, in the same units.', 'S')
@_per_task('--fit', f'How the image fills the input: {", ".join((*FITS, KEEP))}.', 'FIT')
@_per_task('--size', 'Input size of a network that takes any, such as 640x480.', 'WxH')
@_per_task('--output', 'Name of the output with the map (segmentation, depth).', 'NAME')
@click.option('--rgb/--bgr', default=None, help='Channel order.')
@click.option('--nchw/--nhwc', default=None, help='Axes of the input.')
@click.option('--version', default='1', help='Version of the weights.')
@click.option('--licence', default=Card.licence, help="SPDX identifier of the weights' licence.")
@click.option(
    '--description', default='', show_default=False, help='One sentence about the model.'
)
@click.option('--force', is_flag=True, help='Replace an existing model folder.')
def import_(folder: Path, test: Path | None, force: bool, **given: Any) -> None:
    """Make the model folder MODEL_DIR from ONNX networks for one or several tasks.

    The networks stay as they are; two small graphs around each adapt its input and outputs. The
    folder is run once, on the test image or on noise, before it replaces MODEL_DIR.
    """
    console = Console()
    inputs = [given[task] for task in _TASKS] + [*given['labels'], test]
    check_sources(folder, [path for path in inputs if path is not None])
    _check_target(folder, force)
    choices = _choices(given)
    # The package `onnx` is needed only here, so --help and errors in the arguments come first.
    from mt_perception.model.importers.folder_writer import write_model_folder
    from mt_perception.model.importers.import_plan import plan_import

    tasks = plan_import(choices, COCO)
    for task in tasks:
        console.print(str(task), highlight=False, markup=False, soft_wrap=True)
    card = Card(
        Path(os.path.realpath(folder)).name,
        given['version'],
        given['licence'],
        given['description'],
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.import-', dir=folder.parent) as unfinished:
            new = Path(unfinished) / folder.name
            new.mkdir()
            warnings = [*_licence_warning(card), *write_model_folder(new, tasks, card)]
            run = first_run(new, test, None if test is None else new / PICTURE)
            _check_run(run, tasks)
            # Files may have come into the folder since the first check.
            _check_target(folder, force)
            _swap(new, folder)
    except OSError as error:
        raise OutputError(f'cannot write {folder}: {error.strerror}') from error
    for warning in (*warnings, *run.warnings):
        console.print(f'[yellow]warning:[/] {escape(warning)}', highlight=False)
    if test is None:
        console.print('No --test image was given: the results were not checked.')
    else:
        drawn = escape(str(folder / PICTURE))
        console.print(f'{run.total_ms:.0f} ms; see the results in {drawn}', highlight=False)
    console.print(f'[green]✓[/] {escape(str(folder))}', highlight=False)


def _check_target(folder: Path, force: bool) -> None:
    """Only an empty folder is replaced, or with --force a model folder without other files.

    Raises:
        OutputError: The folder must not be replaced.
    """
    if folder.is_symlink():
        raise OutputError(f'{folder} is a symbolic link; name the folder itself')
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (force and (folder / MANIFEST).is_file()):
        raise OutputError(
            f'{folder} exists and is not empty; name another folder, or replace a model folder '
            'with --force'
        )
    foreign = _foreign_files(folder)
    if foreign:
        more = f' and {len(foreign) - 1} more' if len(foreign) > 1 else ''
        raise OutputError(
            f'{folder} has files that its manifest does not name: {foreign[0]}{more}; move them, '
            'or name another folder'
        )


def _foreign_files(folder: Path) -> list[str]:
    """Files below a model folder that belong to no model.

    Raises:
        ModelError: The manifest is not valid.
    """
    manifest = read_manifest(folder)
    names = {MANIFEST, MARKER, PICTURE, *(str(file.path) for file in manifest.files.values())}
    cut = manifest.cut
    if cut is not None:
        parts = (cut.encoder_file, cut.tables, *cut.files.values())
        names.update(str(file.path) for file in parts)
    own = {folder / name for name in names}
    return sorted(
        str(entry.relative_to(folder))
        for entry in folder.rglob('*')
        if entry not in own and (entry.is_symlink() or not entry.is_dir())
    )


def _swap(new: Path, folder: Path) -> None:
    """Put a new folder in the place of an old one, which is deleted last.

    A process that is killed in between leaves both folders.
    """
    if not folder.exists():
        new.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f'{folder.name}.old-', dir=folder.parent))
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _licence_warning(card: Card) -> list[str]:
    if card.licence != Card.licence:
        return []
    return ['the licence of the weights is not known; name it with --licence']


def _check_run(run: FirstRun, tasks: Sequence[ImportedTask]) -> None:
    if run.problems:
        presets = ', '.join(f'{task.choice.task}={task.preset}' for task in tasks)
        raise ModelError(
            f'the imported model does not run: {"; ".join(run.problems)}. Check --labels, and '
            f'name the families with --decode (now: {presets})'
        )


def _choices(given: dict[str, Any]) -> list[Choice]:
    files = {task: given[task] for task in _TASKS if given[task] is not None}
    labels = dict(zip((task for task in files if task != DEPTH), given['labels'], strict=False))
    if len(labels) < len(given['labels']):
        raise click.UsageError(
            f'{len(given["labels"])} --labels for {len(labels)} networks with classes'
        )
    if SEGMENTATION in files and SEGMENTATION not in labels:
        raise click.UsageError('--segmentation needs --labels; with --detection, a second one')
    values = {
        name: _by_task(name, given[name], files)
        for name in ('decode', 'mean', 'std', 'fit', 'size', 'output')
    }
    return [
        Choice(
            task=task,
            path=path,
            labels=read_labels(labels[task]) if task in labels else (),
            decode=values['decode'].get(task, AUTO),
            depth_kind=given['depth_kind'] or '',
            **_normalisation(values['mean'].get(task), values['std'].get(task)),
            rgb=given['rgb'],
            channels_last=None if given['nchw'] is None else not given['nchw'],
            fit=_fit(values['fit'].get(task, '')),
            size=_size(values['size'].get(task)),
            output=values['output'].get(task, ''),
        )
        for task, path in files.items()
    ]


def _by_task(name: str, values: Sequence[str], files: dict[str, Path]) -> dict[str, str]:
    """Task → value of an option; a value without a task needs one network only."""
    found = {}
    for value in values:
        task, separator, rest = value.partition('=')
        if not separator or task not in _TASKS:
            if len(files) > 1:
                raise click.UsageError(
                    f'--{name} {value}: with several networks, name the task: '
                    f'--{name} {next(iter(files))}={value}'
                )
            task, rest = next(iter(files), DETECTION), value
        found[task] = rest
    return found


def _normalisation(mean: str | None, std: str | None) -> dict[str, Channels]:
    """Mean and deviation in units of 0–255; both below 1 means units of 255."""
    found = {'mean': _channels('mean', mean), 'std': _channels('std', std)}
    given = {name: values for name, values in found.items() if values is not None}
    fractions = 'std' in given and max(given['std']) < 1
    if fractions or ('std' not in given and 'mean' in given and 0 < max(given['mean']) < 1):
        given = {
            name: (values[0] * 255, values[1] * 255, values[2] * 255)
            for name, values in given.items()
        }
    return given


def _channels(name: str, text: str | None) -> Channels | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(',')]
    except ValueError:
        values = []
    values = values * 3 if len(values) == 1 else values
    low = 0 if name == 'std' else -math.inf
    if len(values) != 3 or not all(math.isfinite(v) and v > low for v in values):
        above = ' above 0' if name == 'std' else ''
        raise click.UsageError(
            f'--{name} must be one finite number or three{above}, such as 123.7,116.3,103.5; '
            f'found {text!r}'
        )
    return values[0], values[1], values[2]


def _fit(text: str) -> str:
    if text and text not in (*FITS, KEEP):
        raise click.UsageError(f'--fit must be one of {", ".join((*FITS, KEEP))}, found {text!r}')
    return text


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r'(\d{1,4})x(\d{1,4})', text)
    if found is None or '0' in found.groups():
        raise click.UsageError(f'--size must be WIDTHxHEIGHT, such as 640x480, found {text!r}')
    return int(found[2]), int(found[1])
