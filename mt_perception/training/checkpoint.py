# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: everything that resuming needs, and nothing that executes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mt_perception.errors import ModelError

FILE = 'checkpoint.pt'


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint so that an interruption leaves either the old or the new one."""
    unfinished = folder / f'{FILE}.part'
    torch.save(state, unfinished)
    unfinished.replace(folder / FILE)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read the checkpoint of a run.

    Raises:
        ModelError: there is none.
    """
    path = folder / FILE
    if not path.exists():
        raise ModelError(f'{path}: no checkpoint; expected the folder of a training run')
    state = torch.load(path, map_location='cpu', weights_only=True)
    if not isinstance(state, dict):
        raise ModelError(f'{path}: expected a checkpoint, found {type(state).__name__}')
    return state
