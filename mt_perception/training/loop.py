# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: phases, teachers, averaged weights, checkpoints, a log in CSV."""

from __future__ import annotations

import copy
import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.network.branched import describe
from mt_perception.network.multitask import Multitask, build
from mt_perception.network.pretrained import load_yolox
from mt_perception.training.batches import Batch, SampleSet, batches, draw
from mt_perception.training.checkpoint import FILE, load_checkpoint, save_checkpoint
from mt_perception.training.losses.segmentation import class_weights
from mt_perception.training.objective import Teachers, losses, total
from mt_perception.training.recipe import Phase, Recipe
from mt_perception.training.schedule import (
    make_optimizer,
    phase_at,
    rate_factor,
    set_rates,
    update_average,
)

LOG = 'log.csv'
_COUNTED = 600  # samples over which the classes are counted
_CLIP = 10.0


@dataclass(frozen=True)
class Progress:
    """What the loop tells after every step."""

    step: int
    steps: int
    phase: str
    losses: Mapping[str, float]
    images_per_s: float
    figures: Mapping[str, float] | None = None


Validate = Callable[[Multitask], Mapping[str, float]]


def train(
    recipe: Recipe,
    sets: Sequence[SampleSet],
    labels: tuple[Sequence[str], Sequence[str]],
    initial_weights: Path | None,
    run: Path,
    validate: Validate | None = None,
    network: Multitask | None = None,
) -> Iterator[Progress]:
    """Train, or go on with a run that was interrupted; yield after every step.

    The same recipe, data and number of threads give the same weights, in one go or in pieces.

    Args:
        recipe: what to do.
        sets: the data.
        labels: detection and segmentation class names, kept in the checkpoint.
        initial_weights: YOLOX checkpoint, or None for random weights.
        run: folder of the run: checkpoint.pt and log.csv.
        validate: gives figures for the averaged weights.
        network: what to train; else the network that the recipe names, from `initial_weights`.
            Those are in any case what the detections are distilled from.
    """
    torch.set_num_threads(recipe.threads)
    # OpenCV's own threads would fight with torch's for the same cores.
    cv2.setNumThreads(1)
    run.mkdir(parents=True, exist_ok=True)
    state = _State(recipe, sets, labels, initial_weights, network)
    step = state.resume(run) if (run / FILE).exists() else 0
    while step < recipe.steps:
        phase, begin = phase_at(recipe.phases, step)
        if step == begin:
            state.begin(phase)
        for batch in batches(
            sets, recipe.canvases, phase.batch_size, recipe.seed, range(step, begin + phase.steps)
        ):
            started = time.perf_counter()
            values = state.step(batch, phase, step - begin)
            step += 1
            speed = phase.batch_size / (time.perf_counter() - started)
            last = step == recipe.steps
            figures = None
            if validate is not None and (step % recipe.validate_every == 0 or last):
                figures = validate(state.average)
            _log(run, step, phase.name, values, figures)
            if step % recipe.checkpoint_every == 0 or last:
                state.save(run, step)
            yield Progress(step, recipe.steps, phase.name, values, speed, figures)


class _State:
    """The network, its average, its teachers and its optimiser."""

    def __init__(
        self,
        recipe: Recipe,
        sets: Sequence[SampleSet],
        labels: tuple[Sequence[str], Sequence[str]],
        initial_weights: Path | None,
        network: Multitask | None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.labels = labels
        original = build(recipe.network, len(labels[0]), len(labels[1]))
        if initial_weights is not None:
            load_yolox(original, initial_weights)
        self.network = copy.deepcopy(original if network is None else network)
        for parameter in (*original.parameters(), *self.network.parameters()):
            # Channels last is the layout in which the CPU's bfloat16 kernels are fast.
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
        original.requires_grad_(False).eval()
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.teachers = Teachers(original, self.average, recipe.confidence)
        self.class_weights = count_classes(sets, recipe, len(labels[1]))
        self.optimizer: torch.optim.Optimizer | None = None

    def begin(self, phase: Phase) -> None:
        self.optimizer = make_optimizer(self.network, phase, self.recipe.weight_decay)
        # What a phase freezes stands still at its average, which is what was validated; else the
        # quick first steps of the average would replace it by the raw weights.
        for ours, averaged in zip(
            self.network.parameters(), self.average.parameters(), strict=True
        ):
            if not ours.requires_grad:
                ours.data.copy_(averaged)

    def step(self, batch: Batch, phase: Phase, step: int) -> dict[str, float]:
        assert self.optimizer is not None
        set_rates(self.optimizer, rate_factor(phase, step))
        found = losses(
            self.network,
            batch,
            phase.weights,
            self.teachers,
            self.class_weights,
            getattr(torch, self.recipe.precision),
            'trunk' in {*phase.learning_rates, *phase.relative_rates},
        )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total(found, phase.weights))
        trained = [p for p in self.network.parameters() if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(trained, _CLIP)
        self.optimizer.step()
        update_average(self.average, self.network, self.recipe.ema_decay, step)
        return {name: float(value.detach()) for name, value in found.items()}

    def save(self, run: Path, step: int) -> None:
        assert self.optimizer is not None
        save_checkpoint(
            run,
            {
                'step': step,
                'network': self.network.state_dict(),
                'average': self.average.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'name': self.recipe.network,
                'structure': describe(self.network),
                'detection_labels': list(self.labels[0]),
                'segmentation_labels': list(self.labels[1]),
            },
        )

    def resume(self, run: Path) -> int:
        saved = load_checkpoint(run)
        ours = [list(names) for names in self.labels]
        if ours != [saved['detection_labels'], saved['segmentation_labels']]:
            raise ModelError(f'{run}: the run was started with other classes; use another folder')
        self.network.load_state_dict(saved['network'])
        self.average.load_state_dict(saved['average'])
        step = int(saved['step'])
        _forget_log_after(run, step)
        if step < self.recipe.steps:
            phase, begin = phase_at(self.recipe.phases, step)
            self.begin(phase)
            if step > begin:
                assert self.optimizer is not None
                self.optimizer.load_state_dict(saved['optimizer'])
        return step


def count_classes(sets: Sequence[SampleSet], recipe: Recipe, classes: int) -> Tensor:
    """Weigh the segmentation classes by the pixels of the sequence's first samples."""
    pixels = np.zeros(256, np.int64)
    for position in range(_COUNTED):
        sample = draw(sets, recipe.seed, position)
        if sample.semantic is not None:
            pixels += np.bincount(sample.semantic().ravel(), minlength=256)
    return class_weights(torch.from_numpy(pixels[:classes]))


def _forget_log_after(run: Path, step: int) -> None:
    """Drop what was logged after the checkpoint: those steps are done again."""
    path = run / LOG
    rows = path.read_text(encoding='utf-8').splitlines(keepends=True) if path.exists() else []
    kept = [row for row in rows if int(row.partition(',')[0]) <= step]
    path.write_text(''.join(kept), encoding='utf-8')


def _log(
    run: Path,
    step: int,
    phase: str,
    values: Mapping[str, float],
    figures: Mapping[str, float] | None,
) -> None:
    with (run / LOG).open('a', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        for name, value in {**values, **(figures or {})}.items():
            rows.writerow((step, phase, name, f'{value:.6g}'))
