# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a run: networks, optimiser, balancing, and position in the phases."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.network.branched import describe
from mt_perception.network.interrogate import GatedTrunk
from mt_perception.network.multitask import TASKS, Multitask, build
from mt_perception.network.pretrained import load_yolox
from mt_perception.training.checkpoint import (
    NETWORK,
    load_checkpoint,
    load_weights,
    phase_of,
    save_checkpoint,
)
from mt_perception.training.data.batches import Batch, SampleSet, draw
from mt_perception.training.data.samples import count_pixels
from mt_perception.training.distributed import (
    Process,
    broadcast_bool,
    mean_gradients,
)
from mt_perception.training.losses.balancing import GradNorm, SharedGradients, make_balance
from mt_perception.training.losses.objective import (
    Teachers,
    by_task,
    check_finite,
    losses,
    without_inactive,
)
from mt_perception.training.losses.segmentation import class_weights
from mt_perception.training.mac_counter import MacCounter
from mt_perception.training.recipe import Phase, Recipe
from mt_perception.training.schedules.optimizer import (
    RelativeAdamW,
    make_optimizer,
    rate_factor,
    set_rates,
    update_average,
)

_COUNTED = 600  # samples for the class weights
_CLIP = 10.0


@dataclass(frozen=True)
class StepResult:
    """Result of a step.

    Args:
        losses: unweighted losses by name, of this process's part of the batch.
        controls: scheduled and balanced task weights.
        macs: multiply-accumulates of all processes, forward and backward, with teachers.
    """

    losses: Mapping[str, float]
    controls: Mapping[str, float]
    macs: int


class RunState:
    """Network, averaged weights, teachers, optimiser and current phase of a run.

    Args:
        recipe: the recipe.
        sets: the data.
        labels: detection and segmentation class names.
        initial_weights: YOLOX checkpoint, or None for random weights.
        network: network to train in place of a new one. Without initial weights, detections are
            distilled from a copy of it.
        process: this process.
        kept_tasks: tasks that the network can do already.
    """

    def __init__(
        self,
        recipe: Recipe,
        sets: Sequence[SampleSet],
        labels: tuple[Sequence[str], Sequence[str]],
        initial_weights: Path | None,
        network: Multitask | None,
        process: Process,
        kept_tasks: Sequence[str] = (),
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.labels = labels
        self.tasks = tuple(t for t in TASKS if t in (*recipe.tasks, *kept_tasks))
        self.process = process
        if network is None or initial_weights is not None:
            original = build(recipe.network, len(labels[0]), len(labels[1]))
        else:
            original = copy.deepcopy(network)
        if initial_weights is not None:
            load_yolox(original, initial_weights)
        self.network = copy.deepcopy(original if network is None else network)
        for parameter in (*original.parameters(), *self.network.parameters()):
            # The CPU's bfloat16 kernels are fast in channels-last layout.
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
        self.network.to(process.device)
        original.to(process.device).requires_grad_(False).eval()
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.teachers = Teachers(original, self.average, recipe.confidence)
        self.class_weights = count_classes(sets, recipe, len(labels[1])).to(process.device)
        self.balance = make_balance(recipe.balancing).to(process.device)
        self.meter = MacCounter((self.network, self.average, original))
        self.optimizer: RelativeAdamW | None = None
        self.phase = 0  # index of the current phase
        self.begun = 0  # step of the run at which it began
        self.switched = False
        self.history: list[dict[str, float]] = []  # metrics of the phase's validations
        self.macs = 0
        self.validation_due = False  # a validation of the saved step has not finished

    def begin(self, phase: Phase) -> None:
        """Prepare the first step of a phase."""
        self.optimizer = make_optimizer(self.network, phase, self.recipe.weight_decay)
        learned = list(self.balance.parameters())
        if learned:
            self.optimizer.add_plain(learned, self.recipe.balancing.rate)
        self._reset_frozen_to_average()

    def end_phase(self, step: int) -> None:
        """Continue with the next phase, which begins at a step of the run."""
        self._mix_with_start(self.recipe.phases[self.phase].start_share)
        self.phase += 1
        self.begun = step
        self.switched = False
        self.history = []

    @torch.no_grad()
    def _mix_with_start(self, share: float) -> None:
        """Set all weights to the mean of averaged and original weights, the latter by `share`."""
        if not share:
            return
        for ours, averaged, original in zip(
            self.network.parameters(),
            self.average.parameters(),
            self.teachers.original.parameters(),
            strict=True,
        ):
            averaged.lerp_(original, share)
            ours.copy_(averaged)

    def switch_if_due(self, phase: Phase, step: int) -> None:
        """Apply the phase's MT2ST switch before a step of the phase, if it is due."""
        switch = phase.mt2st.switch
        if switch is None or self.switched:
            return
        due = switch.due(step, self.history)
        # Only the first process has validation metrics.
        if broadcast_bool(due, self.process) if switch.plateau is not None else due:
            self.switched = True
            self._freeze_other_tasks(phase)

    def _freeze_other_tasks(self, phase: Phase) -> None:
        switch = phase.mt2st.switch
        assert switch is not None
        frozen = [self.network.get_submodule(task) for task in TASKS if task not in switch.to]
        if switch.trunk == 'frozen':
            frozen.append(self.network.trunk)
        for module in frozen:
            module.requires_grad_(False)
        self._reset_frozen_to_average()

    def _reset_frozen_to_average(self) -> None:
        # Frozen weights take their averaged values, which were validated. Otherwise the fast first
        # steps of the average would replace these by the raw weights.
        for ours, averaged in zip(
            self.network.parameters(), self.average.parameters(), strict=True
        ):
            if not ours.requires_grad:
                ours.grad = None
                ours.data.copy_(averaged)

    def step(self, batch: Batch, phase: Phase, step: int) -> StepResult:
        """Train one step of a phase."""
        assert self.optimizer is not None
        set_rates(self.optimizer, rate_factor(phase, step))
        for trunk in (self.network.trunk, self.average.trunk):
            if isinstance(trunk, GatedTrunk):
                trunk.gates.tighten((step + 1) / phase.steps)
        factors = phase.mt2st.factors(step, self.switched)
        weights = without_inactive(phase.weights, factors)
        trains_trunk = any(p.requires_grad for p in self.network.trunk.parameters())
        shared = None
        if trains_trunk and isinstance(self.balance, GradNorm):
            shared = SharedGradients()
        self.optimizer.zero_grad(set_to_none=True)
        with self.meter.counting():
            found = losses(
                self.network,
                batch.to(self.process.device),
                weights,
                self.teachers,
                self.class_weights,
                getattr(torch, self.recipe.precision),
                trains_trunk,
                shared,
            )
            check_finite(found)
            if found:
                self._backward(by_task(found, weights), factors, shared)
        trained = [*self.network.parameters(), *self.balance.parameters()]
        mean_gradients(trained)
        nn.utils.clip_grad_norm_(
            [p for p in self.network.parameters() if p.grad is not None], _CLIP
        )
        self.optimizer.step()
        update_average(self.average, self.network, self.recipe.ema_decay, step)
        macs = self.meter.macs * self.process.count
        self.macs += macs
        return StepResult(
            {name: float(loss.detach()) for name, loss in found.items()},
            self._controls(phase, factors),
            macs,
        )

    def _backward(
        self,
        sums: Mapping[str, Tensor],
        factors: Mapping[str, float],
        shared: SharedGradients | None,
    ) -> None:
        """Run the backward pass of the balanced losses, weighted by γ."""
        tasks = {task: loss for task, loss in sums.items() if task in TASKS}
        balanced = self.balance(tasks)
        terms = [factors[task] * loss for task, loss in balanced.items()]
        terms += [loss for name, loss in sums.items() if name not in TASKS]
        total = torch.stack(terms).sum()
        if not total.requires_grad:
            # No image of the batch has a label of these losses.
            return
        torch.autograd.backward(total)
        if shared is not None and isinstance(self.balance, GradNorm):
            # GradNorm sees norms without γ, or it would compensate the schedule.
            norms = {task: norm / factors[task] for task, norm in shared.norms().items()}
            shared.backward()
            self.balance.observe(norms, tasks)

    def _controls(self, phase: Phase, factors: Mapping[str, float]) -> dict[str, float]:
        controls = {}
        if phase.mt2st.diminish or phase.mt2st.switch is not None:
            controls = {f'gamma/{task}': value for task, value in factors.items()}
        return controls | {f'balance/{task}': v for task, v in self.balance.weights().items()}

    def save(self, run: Path, step: int) -> None:
        """Write the checkpoint."""
        assert self.optimizer is not None
        save_checkpoint(
            run,
            {
                'step': step,
                'phase': self.phase,
                'begun': self.begun,
                'switched': self.switched,
                'history': self.history,
                'macs': self.macs,
                'network': self.network.state_dict(),
                'average': self.average.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'balance': self.balance.state_dict(),
                'name': self.recipe.network,
                'structure': describe(self.network),
                'detection_labels': list(self.labels[0]),
                'segmentation_labels': list(self.labels[1]),
                'tasks': list(self.tasks),
                'validation_due': self.validation_due,
            },
        )

    def resume(self, run: Path) -> int:
        """Restore a checkpoint and return its step."""
        saved = load_checkpoint(run, (*NETWORK, 'network', 'optimizer', 'step'))
        ours = [list(names) for names in self.labels]
        if ours != [saved['detection_labels'], saved['segmentation_labels']]:
            raise ModelError(
                f'{run}: the run was started with other classes; use another folder for --out'
            )
        load_weights(self.network, saved, 'network')
        load_weights(self.average, saved, 'average')
        load_weights(self.balance, {'balance': {}, **saved}, 'balance')
        step = int(saved['step'])
        self.phase, self.begun = phase_of(saved, self.recipe.phases)
        self.history = list(saved.get('history', []))
        self.macs = int(saved.get('macs', 0))
        self.validation_due = bool(saved.get('validation_due', False))
        if self.phase < len(self.recipe.phases) and step > self.begun:
            self._resume_phase(saved)
        return step

    def _resume_phase(self, saved: Mapping[str, Any]) -> None:
        phase = self.recipe.phases[self.phase]
        self.begin(phase)
        assert self.optimizer is not None
        load_weights(self.optimizer, saved, 'optimizer')
        self.switched = bool(saved.get('switched', False))
        if self.switched:
            self._freeze_other_tasks(phase)


def count_classes(sets: Sequence[SampleSet], recipe: Recipe, classes: int) -> Tensor:
    """Return segmentation class weights from the pixels of one set, or of the first samples."""
    if 'segmentation' not in recipe.tasks:
        return torch.ones(max(classes, 1))
    if recipe.classes_from:
        samples = [s for group in sets if group.name == recipe.classes_from for s in group.samples]
    else:
        samples = [draw(sets, recipe.seed, position) for position in range(_COUNTED)]
    return class_weights(torch.from_numpy(count_pixels(samples, classes)))
