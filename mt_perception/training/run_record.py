# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Records of a run: the log, and recipe, versions, seed, data and machine."""

from __future__ import annotations

import csv
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from mt_perception import __version__
from mt_perception.data_files import read_yaml, replace_text
from mt_perception.errors import ModelError
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.recipe import Recipe

LOG = 'log.csv'
BOARD = 'tensorboard'


class RunLog:
    """The log of a run, continued after its last checkpoint.

    Args:
        run: folder of the run.
        step: step of the checkpoint; later rows are deleted, because these steps are repeated.
        board: write TensorBoard files too.

    Raises:
        ModelError: `board` is set and TensorBoard is not installed.
    """

    def __init__(self, run: Path, step: int, board: bool = False) -> None:
        self._path = run / LOG
        rows = []
        if self._path.exists():
            rows = self._path.read_text(encoding='utf-8', errors='replace').splitlines(True)
        replace_text(self._path, ''.join(row for row in rows if _is_before(row, step)))
        self._board: Any = None
        if board:
            if find_spec('tensorboard') is None:
                raise ModelError('TensorBoard is not installed: pip install tensorboard')
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run / BOARD), purge_step=step + 1)

    def add(self, step: int, phase: str, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        with self._path.open('a', newline='', encoding='utf-8') as file:
            rows = csv.writer(file)
            for name, value in values.items():
                rows.writerow((step, phase, name, f'{value:.6g}'))
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the files."""
        if self._board is not None:
            self._board.close()


def _is_before(row: str, step: int) -> bool:
    """Return whether a row is whole and not after a step; a full disk leaves parts of rows."""
    number = row.partition(',')[0]
    return row.endswith('\n') and number.isdecimal() and int(number) <= step


RECIPE = 'recipe.yaml'
RECORD = 'run.yaml'
_PACKAGES = ('torch', 'numpy', 'opencv-python-headless', 'onnxruntime')


def record_run(run: Path, recipe_file: Path, recipe: Recipe, sets: Sequence[SampleSet]) -> None:
    """Write the recipe, taxonomy and parts, and one more entry of versions, data and machine.

    A resumed run gets an entry for each start, which shows changes of versions or data.

    Args:
        run: folder of the run; created if missing.
        recipe_file: the recipe's file.
        recipe: its content.
        sets: the data.
    """
    run.mkdir(parents=True, exist_ok=True)
    text = recipe_file.read_text(encoding='utf-8')
    replace_text(run / RECIPE, text)
    for file in (recipe.taxonomy, None if recipe.parts is None else recipe.parts.file):
        if file is not None and file.is_relative_to(recipe_file.parent):
            copy = run / file.relative_to(recipe_file.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    path = run / RECORD
    starts = read_yaml(path) if path.exists() else []
    if not isinstance(starts, list):
        raise ModelError(f'{path}: expected a list of starts; it is damaged, remove it')
    starts.append(_start(text, recipe, sets))
    replace_text(path, yaml.safe_dump(starts, sort_keys=False))


def _start(text: str, recipe: Recipe, sets: Sequence[SampleSet]) -> dict[str, Any]:
    return {
        'started': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'recipe_sha256': hashlib.sha256(text.encode()).hexdigest(),
        'seed': recipe.seed,
        'data': {s.name: {'images': len(s.samples), 'names_sha256': _names(s)} for s in sets},
        'versions': {
            'mt_perception': __version__,
            'python': platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        'machine': {
            'processor': platform.machine(),
            'device': recipe.device,
            'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else 'none',
            'threads': recipe.threads,
            'processes': int(os.environ.get('WORLD_SIZE', '1')),
        },
    }


def _names(found: SampleSet) -> str:
    """Return a hash of the names of a set's images, in order."""
    return hashlib.sha256('\n'.join(s.name for s in found.samples).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'unknown'
