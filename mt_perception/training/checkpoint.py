# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: tensors and plain data, loaded without executing code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mt_perception.data_files import replacing
from mt_perception.errors import ModelError
from mt_perception.training.schedules.optimizer import phase_at
from mt_perception.training.schedules.phases import Phase

FILE = 'checkpoint.pt'


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an interruption leaves either the old or the new one."""
    with replacing(folder / FILE) as partial:
        torch.save(state, partial)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read the checkpoint of a run.

    Raises:
        ModelError: there is none, or the file is something else.
    """
    path = folder / FILE
    if not path.exists():
        raise ModelError(f'{path}: no checkpoint; expected the folder of a training run')
    state = torch.load(path, map_location='cpu', weights_only=True)
    if not isinstance(state, dict):
        raise ModelError(f'{path}: expected a checkpoint, found {type(state).__name__}')
    return state


def phase_of(state: Mapping[str, Any], phases: Sequence[Phase]) -> tuple[int, int]:
    """Return the index of a checkpoint's phase, and the step at which the phase began.

    Checkpoints without this entry are from runs in which every phase had its full length.
    """
    if 'phase' in state:
        return int(state['phase']), int(state['begun'])
    step = int(state['step'])
    whole = sum(phase.steps for phase in phases)
    if step >= whole:
        return len(phases), whole
    phase, begun = phase_at(phases, step)
    return tuple(phases).index(phase), begun
