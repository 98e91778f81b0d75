# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: tensors and plain data, loaded without executing code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mt_perception.data_files import replacing
from mt_perception.errors import ModelError
from mt_perception.training.schedules.optimizer import phase_at
from mt_perception.training.schedules.phases import Phase

FILE = 'checkpoint.pt'


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an interruption leaves either the old or the new one."""
    with replacing(folder / FILE) as partial:
        torch.save(state, partial)


NETWORK = ('name', 'detection_labels', 'segmentation_labels', 'average')
"""Entries of the checkpoint of `train`, from which a network can be built."""


def load_checkpoint(folder: Path, entries: Sequence[str] = ()) -> dict[str, Any]:
    """Read the checkpoint of a run.

    Args:
        folder: the run.
        entries: entries that it must have; runs of other commands have others.

    Raises:
        ModelError: there is none, or the file is damaged or something else.
    """
    path = folder / FILE
    if not path.exists():
        raise ModelError(f'{path}: no checkpoint; expected the folder of a training run')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:
        # torch raises whatever its readers of archives, pickles and tensors raise.
        raise ModelError(
            f'{path} is damaged, or no checkpoint of tensors and plain data '
            f'({type(error).__name__}); copy it again, or remove it and train anew'
        ) from error
    if not isinstance(state, dict):
        raise ModelError(f'{path}: expected a checkpoint, found {type(state).__name__}')
    missing = [name for name in entries if name not in state]
    if missing:
        raise ModelError(
            f'{path} has no {", ".join(missing)}: it is of a run of another command or recipe; '
            'name the run of `mt_perception train` that is meant, or use another folder'
        )
    return state


def load_weights(module: nn.Module | Optimizer, state: Mapping[str, Any], name: str) -> None:
    """Restore a part of a checkpoint into a module or an optimiser.

    Raises:
        ModelError: the part is missing, or belongs to another network or other parts of it.
    """
    try:
        module.load_state_dict(state[name])
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f'"{name}" of the checkpoint does not fit ({" ".join(str(error).split()):.120}); it '
            'was written with another network, structure or other phases. Use the recipe of that '
            'run, or another folder'
        ) from error


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
