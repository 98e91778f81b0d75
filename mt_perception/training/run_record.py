# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run was, written beside its weights: recipe, versions, seed, data, machine."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from mt_perception import __version__
from mt_perception.training.batches import SampleSet
from mt_perception.training.recipe import Recipe

RECIPE = 'recipe.yaml'
RECORD = 'run.yaml'
_PACKAGES = ('torch', 'numpy', 'opencv-python-headless', 'onnxruntime')


def record_run(run: Path, recipe_file: Path, recipe: Recipe, sets: Sequence[SampleSet]) -> None:
    """Write the recipe as it is, and one more entry of what it was run with.

    A run that goes on after a pause gets an entry for each start, so that a change of versions
    or of data in between can be seen.

    Args:
        run: folder of the run; made where it is missing.
        recipe_file: the recipe.
        recipe: what was read from it.
        sets: the data.
    """
    run.mkdir(parents=True, exist_ok=True)
    text = recipe_file.read_text(encoding='utf-8')
    (run / RECIPE).write_text(text, encoding='utf-8')
    path = run / RECORD
    starts = yaml.safe_load(path.read_text(encoding='utf-8')) if path.exists() else []
    starts.append(_start(text, recipe, sets))
    unfinished = path.with_suffix('.part')
    unfinished.write_text(yaml.safe_dump(starts, sort_keys=False), encoding='utf-8')
    unfinished.replace(path)


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
    """A fingerprint of which images a set has, in which order."""
    return hashlib.sha256('\n'.join(s.name for s in found.samples).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'unknown'
