# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of gates and lighter paths (AdaMTL): policy, policy and weights, then static paths."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.network.gated import GatedNetwork
from mt_perception.network.gates import (
    UnitCosts,
    budget_loss,
    count_unit_costs,
    gating,
    kept_by_any_task,
    sample_gates,
)
from mt_perception.network.multitask import TASKS, Multitask, Outputs
from mt_perception.network.policy import thumbnail
from mt_perception.training.checkpoint import FILE, load_checkpoint, load_weights, save_checkpoint
from mt_perception.training.cpu_bfloat16 import autocast
from mt_perception.training.data.batches import Batch, SampleSet, batches, make_batch
from mt_perception.training.export.write_model import REFERENCE_SIZE
from mt_perception.training.gating.masks import Mask, Shrink, gather_masks, read_masks, shrink
from mt_perception.training.gating.path_distillation import (
    full_predictions,
    path_losses,
    predictions_at,
)
from mt_perception.training.loop import Progress, count_classes
from mt_perception.training.recipe import Recipe
from mt_perception.training.schedules.optimizer import (
    make_optimizer,
    phase_at,
    rate_factor,
    set_rates,
    update_average,
)
from mt_perception.training.schedules.phases import Phase

_CLIP = 10.0
_POLICY_BATCHES = 8
_BUDGETS = 5
_VIEWS = 2


def train_gates(
    recipe: Recipe,
    sets: Sequence[SampleSet],
    labels: tuple[Sequence[str], Sequence[str]],
    full: Multitask,
    run: Path,
) -> Iterator[Progress]:
    """Train, or resume an interrupted run; yield after every step.

    Phases that train the policy sample gates for a random budget and random tasks. When the first
    phase without the policy begins, masks are computed, and its steps train the masked paths.

    Args:
        recipe: a recipe with a section `gating`.
        sets: the data.
        labels: detection and segmentation class names.
        full: the full network; not changed.
        run: folder of the run.
    """
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)
    run.mkdir(parents=True, exist_ok=True)
    state = _State(recipe, sets, labels, full)
    step = state.resume(run) if (run / FILE).exists() else 0
    while step < recipe.steps:
        phase, begin = phase_at(recipe.phases, step)
        if step == begin:
            state.begin(phase)
        steps = range(step, begin + phase.steps)
        for batch in batches(sets, recipe.canvases, phase.batch_size, recipe.seed, steps):
            started = time.perf_counter()
            values = state.step(batch, phase, step - begin, step)
            step += 1
            speed = phase.batch_size / (time.perf_counter() - started)
            if step % recipe.checkpoint_every == 0 or step == recipe.steps:
                state.save(run, step)
            yield Progress(step, recipe.steps, phase.name, values, speed)


class _State:
    """The full network, the lighter network, its averaged weights and optimiser."""

    def __init__(
        self,
        recipe: Recipe,
        sets: Sequence[SampleSet],
        labels: tuple[Sequence[str], Sequence[str]],
        full: Multitask,
    ) -> None:
        if recipe.gating is None:
            raise ModelError('the recipe has no section `gating`')
        torch.manual_seed(recipe.seed)
        self.recipe, self.sets, self.labels = recipe, sets, labels
        self.gating = recipe.gating
        self.full = copy.deepcopy(full).requires_grad_(False).eval()
        self.prices = count_unit_costs(full, REFERENCE_SIZE)
        self.network = GatedNetwork(full, self.prices)
        for parameter in (*self.full.parameters(), *self.network.parameters()):
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
        self._fit_thumbnail_features()
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.class_weights = count_classes(sets, recipe, len(labels[1]))
        self.noisy = sum(p.steps for p in recipe.phases if _trains_policy(p))
        self.masks: tuple[Mask, ...] = ()
        self.optimizer: torch.optim.Optimizer | None = None

    def begin(self, phase: Phase) -> None:
        self.optimizer = make_optimizer(self.network, phase, self.recipe.weight_decay)
        if not _trains_policy(phase) and not self.masks:
            self.masks = self._compute_masks()

    def step(self, batch: Batch, phase: Phase, step: int, position: int) -> dict[str, float]:
        assert self.optimizer is not None
        rng = np.random.default_rng((self.recipe.seed, position, 3))
        torch.manual_seed(int(rng.integers(2**31)))
        set_rates(self.optimizer, rate_factor(phase, step))
        noisy = _trains_policy(phase)
        trained = phase.weights.tasks
        tasks = _draw_tasks(rng, trained) if noisy else trained
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.recipe.precision):
            teacher = full_predictions(self.full, batch, tasks)
        values: dict[str, float] = {}
        paths = self._draw_paths(rng, noisy)
        for path in paths:
            found, logged = self._path_losses(batch, phase, teacher, path, tasks, position, rng)
            torch.autograd.backward(torch.stack([*found.values()]).sum() / len(paths))
            logged |= {name: float(value.detach()) for name, value in found.items()}
            values |= {n: values.get(n, 0.0) + v / len(paths) for n, v in logged.items()}
        trained_weights = [p for p in self.network.parameters() if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(trained_weights, _CLIP)
        self.optimizer.step()
        update_average(self.average, self.network, self.recipe.ema_decay, position)
        return values

    def _path_losses(
        self,
        batch: Batch,
        phase: Phase,
        full: Outputs,
        path: int,
        tasks: tuple[str, ...],
        position: int,
        rng: np.random.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Compute the losses of one path on a batch: reduced heads, and gates of all other units.

        Returns:
            The weighted losses, and the requested and used budget.
        """
        noisy = _trains_policy(phase)
        light = () if noisy else self.masks[path].light
        how = Shrink((batch.image.shape[2], batch.image.shape[3]), self.gating.paths[path].scale)
        small = shrink(batch, how)
        keep, budget = self._gates(small.image, path, tasks, position, rng, noisy)
        gated = [n for n, unit in enumerate(self.prices.units) if unit.owner not in light]
        units = [self.prices.units[n] for n in gated]
        network = self.network.with_light(light)
        with autocast(self.recipe.precision), gating(network, units, keep[:, gated]):
            teacher = predictions_at(full, self.full, small, how, tasks)
            found = path_losses(
                network,
                small,
                teacher,
                phase.weights,
                self.class_weights,
                tasks,
                self.gating.distillation,
            )
        spent = self.prices.cost(keep, tasks)
        if noisy:
            found['budget'] = self.gating.budget * budget_loss(spent, budget)
        return found, {'spent': float(spent.detach().mean()), 'wanted': float(budget.mean())}

    def _draw_paths(self, rng: np.random.Generator, noisy: bool) -> list[int]:
        """Draw the paths of a step: one with gates, or two that differ from the full network.

        The full network's prediction, which both share, costs as much as the two paths.
        """
        paths = range(len(self.gating.paths))
        if noisy:
            return [int(rng.integers(len(paths)))]
        changed = [n for n in paths if any(self.masks[n].changes)]
        if not changed:
            raise ModelError(
                'gating.paths: all paths differ from the full network in scale only; lower the '
                'compute of one or give it reduced heads (light)'
            )
        return [int(n) for n in rng.permutation(changed)[:_VIEWS]]

    def _gates(
        self,
        image: Tensor,
        path: int,
        tasks: tuple[str, ...],
        position: int,
        rng: np.random.Generator,
        noisy: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the gates (B, U) and the budgets (B,) of a step."""
        images = len(image)
        if not noisy:
            keep = _kept(self.prices, self.masks[path]).expand(images, -1)
            return keep, torch.full((images,), self.gating.paths[path].compute)
        first, last = self.gating.temperatures
        temperature = first * (last / first) ** (position / max(self.noisy - 1, 1))
        drawn = rng.uniform(self.gating.least_budget, 1.0, images).astype(np.float32)
        budget = torch.from_numpy(drawn)
        logits = self.network.policy(image, budget)
        wanted = torch.tensor([[float(task in tasks) for task in TASKS]]).expand(images, -1)
        keep = kept_by_any_task(sample_gates(logits, temperature), self.prices.units, wanted)
        return keep, budget

    @torch.no_grad()
    def _fit_thumbnail_features(self) -> None:
        glance = self.network.policy.glance
        images = [batch.image for batch in self._policy_batches()]
        glance.fit(torch.cat([glance.pool(thumbnail(image.float())) for image in images]))

    def _policy_batches(self) -> Iterator[Batch]:
        """Yield batches that differ from those of all steps."""
        seed = self.recipe.seed + 1
        for step in range(_POLICY_BATCHES):
            yield make_batch(self.sets, self.recipe.canvases[:1], 8, seed, step)

    @torch.no_grad()
    def _compute_masks(self) -> tuple[Mask, ...]:
        """Compute masks from mean keep-probabilities over images and budgets."""
        policy = self.average.policy
        kept = []
        for batch in self._policy_batches():
            for value in np.linspace(self.gating.least_budget, 1.0, _BUDGETS):
                budget = torch.full((len(batch.image),), float(value))
                keep = policy(batch.image.float(), budget).sigmoid()
                wanted = torch.ones(len(batch.image), len(TASKS))
                kept.append(kept_by_any_task(keep, self.prices.units, wanted).mean(dim=0))
        return gather_masks(self.prices, torch.stack(kept).mean(dim=0), self.gating.paths)

    def save(self, run: Path, step: int) -> None:
        assert self.optimizer is not None
        save_checkpoint(
            run,
            {
                'step': step,
                'network': self.network.state_dict(),
                'average': self.average.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'full': self.full.state_dict(),
                'name': self.recipe.network,
                'detection_labels': list(self.labels[0]),
                'segmentation_labels': list(self.labels[1]),
                'paths': [asdict(mask) for mask in self.masks],
            },
        )

    def resume(self, run: Path) -> int:
        saved = load_checkpoint(run, ('full', 'network', 'average', 'optimizer', 'step'))
        load_weights(self.network, saved, 'network')
        load_weights(self.average, saved, 'average')
        self.masks = read_masks(saved)
        step = int(saved['step'])
        if step < self.recipe.steps:
            phase, begin = phase_at(self.recipe.phases, step)
            self.begin(phase)
            if step > begin:
                assert self.optimizer is not None
                load_weights(self.optimizer, saved, 'optimizer')
        return step


def _kept(prices: UnitCosts, mask: Mask) -> Tensor:
    return torch.tensor([[float(unit.name not in mask.skipped) for unit in prices.units]])


def _trains_policy(phase: Phase) -> bool:
    return 'policy' in phase.learning_rates


def _draw_tasks(rng: np.random.Generator, tasks: tuple[str, ...]) -> tuple[str, ...]:
    """Draw the requested tasks: all of them, or a single one, with equal probability."""
    return tasks if rng.random() < 0.5 else (tasks[int(rng.integers(len(tasks)))],)
