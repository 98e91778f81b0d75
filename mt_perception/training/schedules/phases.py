# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A stretch of training: its losses, its learning rates, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mt_perception.training.recipe_fields import build, mapping
from mt_perception.training.schedules.mt2st import Fading, Plateau, read_fading, read_plateau


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; a loss whose weight is zero is not computed."""

    detection: float = 0.0
    distillation: float = 0.0
    segmentation: float = 0.0
    dice: float = 0.0
    soft_labels: float = 0.0
    self_training: float = 0.0
    depth: float = 0.0
    depth_gradient: float = 0.0
    relative_depth: float = 0.0
    sparsity: float = 0.0


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own losses and learning rates.

    Args:
        name: for the log.
        steps: number of steps, at most.
        batch_size: images per step, on every process.
        weights: of the losses.
        learning_rates: peak rate of each part (trunk, detection, segmentation, depth) or part
            of a part: the longest beginning of a weight's name counts, 0 freezes.
        relative_rates: the same, as a share of each tensor's own size; for parts that come from
            a checkpoint. A part that neither map names is frozen.
        warmup: steps over which the rates rise.
        mt2st: tasks that fade, or leave the phase.
        stop: the plateau at which the phase ends early.
    """

    name: str
    steps: int
    batch_size: int
    weights: Weights
    learning_rates: Mapping[str, float]
    relative_rates: Mapping[str, float] = field(default_factory=dict)
    warmup: int = 100
    mt2st: Fading = field(default_factory=Fading)
    stop: Plateau | None = None


def read_phase(data: Any) -> Phase:
    """Read one phase of a recipe."""
    values = mapping(data, 'phases')
    values['weights'] = build(Weights, values.get('weights', {}), 'phases.weights')
    if 'mt2st' in values:
        values['mt2st'] = read_fading(values['mt2st'])
    if values.get('stop') is not None:
        values['stop'] = read_plateau(values['stop'], 'phases.stop')
    return build(Phase, values, 'phases')
