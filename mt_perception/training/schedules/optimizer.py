# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Optimiser, learning rates and averaged weights of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.network.branched import Branched
from mt_perception.network.multitask import Multitask
from mt_perception.training.recipe import Phase
from mt_perception.training.recipe_fields import suggestion
from mt_perception.training.split.split_recipe import Stage

_FINAL_RATE = 0.02


def phase_at(phases: Sequence[Phase], step: int) -> tuple[Phase, int]:
    """Return the phase of a step and the step at which that phase begins."""
    begin = 0
    for phase in phases:
        if step < begin + phase.steps:
            return phase, begin
        begin += phase.steps
    raise IndexError(f'step {step} is beyond the last of {begin} steps')


def rate_factor(phase: Phase | Stage, step: int) -> float:
    """Return the learning rate at a step, relative to its peak: linear warm-up, half cosine."""
    if step < phase.warmup:
        return (step + 1) / phase.warmup
    done = (step - phase.warmup) / max(phase.steps - phase.warmup, 1)
    return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))


class RelativeAdamW(torch.optim.AdamW):
    """AdamW with steps relative to the magnitude of each filter, in groups marked `relative`.

    The size of Adam's steps is the learning rate, independent of the weight. With batch
    normalisation folded in, the filters of a pretrained trunk differ by a factor of 1000 (the
    stem reads 0 to 255), and with one rate for all, detection accuracy was lost within 200
    steps. The step of a filter is therefore multiplied by the root mean square of its initial
    weights, that of a bias by its initial magnitude.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        for group in groups:
            # Part of the groups, so that they are saved and restored with the optimiser's state.
            group['scales'] = [_scale(p) for p in group['params']] if group['relative'] else []
        super().__init__(groups)

    def add_plain(self, parameters: Sequence[Tensor], rate: float) -> None:
        """Add a group with an absolute rate and no decay."""
        self.add_param_group(
            {
                'params': list(parameters),
                'lr': rate,
                'peak': rate,
                'weight_decay': 0.0,
                'relative': False,
                'scales': [],
            }
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step."""
        relative = [group for group in self.param_groups if group['relative']]
        before = [torch._foreach_clone(group['params']) for group in relative]
        loss = super().step(closure)
        for group, olds in zip(relative, before, strict=True):
            for parameter, old, scale in zip(group['params'], olds, group['scales'], strict=True):
                parameter.copy_(torch.addcmul(old, parameter - old, scale))
        return loss


def _scale(parameter: Tensor) -> Tensor:
    """Return the root mean square of each filter, or the magnitude of each bias."""
    value = parameter.detach()
    if value.ndim > 1:
        value = value.square().flatten(1).mean(dim=1).sqrt()
        value = value.reshape(-1, *[1] * (parameter.ndim - 1))
    return value.abs().clone()


def make_optimizer(network: Multitask, phase: Phase, weight_decay: float) -> RelativeAdamW:
    """Create the optimiser of a phase; weights without a learning rate are frozen.

    Biases and weights with a relative rate have no weight decay.
    """
    _check_parts(network, phase)
    groups: dict[tuple[float, bool, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        absolute, relative = phase.learning_rates, phase.relative_rates
        known = [part for part in (*absolute, *relative) if name.startswith(part)]
        part = max(known, key=len, default='')
        rate = relative.get(part, absolute.get(part, 0.0))
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            key = (rate, part in relative, parameter.ndim > 1 and part not in relative)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise ModelError(
            f'phase {phase.name}: no part of the network has a learning rate above 0; set '
            'learning_rates or relative_rates'
        )
    return RelativeAdamW(
        [
            {
                'params': members,
                'lr': rate,
                'peak': rate,
                'weight_decay': weight_decay if decays else 0.0,
                'relative': relative,
            }
            for (rate, relative, decays), members in groups.items()
        ]
    )


def _check_parts(network: Multitask, phase: Phase) -> None:
    """Refuse learning rates of parts that the network does not have.

    Recipes of structures name the parts of trees and of gates; a network has one of the two.
    """
    if isinstance(network, Branched):
        return
    names = [name for name, _ in network.named_parameters()]
    modules = {name for name, _ in network.named_modules()}
    for part in (*phase.learning_rates, *phase.relative_rates):
        if not any(name.startswith(part) for name in names):
            raise ModelError(
                f'phase {phase.name}: the network has no part {suggestion(part, modules)}'
            )


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate relative to its peak."""
    for group in optimizer.param_groups:
        group['lr'] = group['peak'] * factor


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Update the exponential moving average of the weights; it is faster at first."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = [*average.parameters()]
    theirs: list[Tensor] = [*network.parameters()]
    torch._foreach_lerp_(ours, theirs, share)
