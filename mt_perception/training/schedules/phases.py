# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A phase of training: its losses, learning rates and end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mt_perception.errors import ModelError
from mt_perception.training.recipe_fields import POSITIVE, build, mapping, number, suggestion
from mt_perception.training.schedules.mt2st import (
    TASKS,
    Plateau,
    TaskSchedule,
    read_plateau,
    read_task_schedule,
)
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

PARTS = ('trunk', *TASKS, 'policy', 'light_segmentation', 'light_depth')
"""Parts of the networks that learning rates refer to."""

TASK_OF = {
    'detection': DETECTION,
    'distillation': DETECTION,
    'teacher_boxes': DETECTION,
    'segmentation': SEGMENTATION,
    'dice': SEGMENTATION,
    'soft_labels': SEGMENTATION,
    'self_training': SEGMENTATION,
    'depth': DEPTH,
    'depth_gradient': DEPTH,
    'depth_shape': DEPTH,
    'relative_depth': DEPTH,
}
"""Loss → its task. Losses of the structure (sparsity) belong to no task."""


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; losses of weight zero are not computed."""

    detection: float = 0.0
    distillation: float = 0.0
    teacher_boxes: float = 0.0
    segmentation: float = 0.0
    dice: float = 0.0
    soft_labels: float = 0.0
    self_training: float = 0.0
    depth: float = 0.0
    depth_gradient: float = 0.0
    depth_shape: float = 0.0
    relative_depth: float = 0.0
    sparsity: float = 0.0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks with at least one loss; heads of other tasks do not run."""
        active = {task for loss, task in TASK_OF.items() if getattr(self, loss) > 0}
        return tuple(task for task in TASKS if task in active)


@dataclass(frozen=True)
class Phase:
    """A phase of training with its own losses and learning rates.

    Args:
        name: name in the log.
        steps: largest number of steps.
        batch_size: images per step and process.
        weights: weights of the losses.
        learning_rates: peak rate of each part (trunk, detection, segmentation, depth) or of a
            submodule; the longest matching prefix of a weight's name applies, 0 freezes.
        relative_rates: the same, relative to the magnitude of each filter; for pretrained parts.
            Parts in neither map are frozen.
        warmup: steps of linear rise of the rates.
        mt2st: schedule of the tasks' weights.
        stop: plateau at which the phase ends early.
        start_share: share of the start's weights in those at the end of the phase (WiSE-FT, arXiv
            2109.01903, eq. 1, with α = 1 - share).
    """

    name: str
    steps: int
    batch_size: int
    weights: Weights
    learning_rates: Mapping[str, float]
    relative_rates: Mapping[str, float] = field(default_factory=dict)
    warmup: int = 100
    mt2st: TaskSchedule = field(default_factory=TaskSchedule)
    stop: Plateau | None = None
    start_share: float = 0.0


def read_phase(data: Any) -> Phase:
    """Read one phase of a recipe."""
    values = mapping(data, 'phases')
    where = f'phase {values.get("name")}'
    losses = values.get('weights', {})
    limits = dict.fromkeys(mapping(losses, f'{where}: weights'), POSITIVE)
    values['weights'] = build(
        Weights, losses, f'{where}: weights', {'opinion': 'soft_labels'}, limits
    )
    if 'mt2st' in values:
        values['mt2st'] = read_task_schedule(values['mt2st'])
    if values.get('stop') is not None:
        values['stop'] = read_plateau(values['stop'], 'phases.stop')
    phase = build(Phase, values, 'phases', limits={'warmup': POSITIVE})
    if not any(losses.values()):
        raise ModelError(
            f'{where}: weights: no loss has a weight above 0; remove the phase, or name what it '
            f'trains, of {", ".join(TASK_OF)}'
        )
    for key in ('learning_rates', 'relative_rates'):
        rates = mapping(getattr(phase, key), f'{where}: {key}')
        for part, rate in rates.items():
            number(rate, f'{where}: {key}.{part}')
            first = str(part).partition('.')[0]
            if not any(known.startswith(first) for known in PARTS):
                raise ModelError(
                    f'{where}: {key} has {suggestion(first, PARTS)}; the parts of the network '
                    f'are {", ".join(PARTS)}'
                )
    number(phase.steps, f'{where}: steps', 1)
    number(phase.batch_size, f'{where}: batch_size', 1)
    if not number(phase.start_share, f'{where}: start_share') < 1:
        raise ModelError(f'{where}: start_share is in [0, 1), not {phase.start_share:g}')
    return phase
