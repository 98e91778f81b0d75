# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a run moves: phases, learning rates, parameter groups, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mt_perception.network.multitask import Multitask
from mt_perception.training.recipe import Phase

_FINAL_RATE = 0.02


def phase_at(phases: Sequence[Phase], step: int) -> tuple[Phase, int]:
    """Give the phase of a step and the step at which that phase begins."""
    begin = 0
    for phase in phases:
        if step < begin + phase.steps:
            return phase, begin
        begin += phase.steps
    raise IndexError(f'step {step} lies behind the last of {begin}')


def rate_factor(phase: Phase, step: int) -> float:
    """Give the share of the peak learning rate at a step of a phase: linear rise, half cosine."""
    if step < phase.warmup:
        return (step + 1) / phase.warmup
    done = (step - phase.warmup) / max(phase.steps - phase.warmup, 1)
    return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(network: Multitask, phase: Phase, weight_decay: float) -> torch.optim.Optimizer:
    """Make AdamW over the parts that a phase trains; the others' gradients are switched off.

    Biases do not decay.
    """
    groups = []
    for name, part in network.named_children():
        rate = phase.learning_rates.get(name)
        part.requires_grad_(rate is not None)
        if rate is None:
            continue
        for decayed in (True, False):
            members = [p for p in part.parameters() if (p.ndim > 1) == decayed]
            decay = weight_decay if decayed else 0.0
            groups.append({'params': members, 'lr': rate, 'peak': rate, 'weight_decay': decay})
    return torch.optim.AdamW(groups)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to a share of its peak."""
    for group in optimizer.param_groups:
        group['lr'] = group['peak'] * factor


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's; quickly at first."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = [*average.parameters()]
    theirs: list[Tensor] = [*network.parameters()]
    torch._foreach_lerp_(ours, theirs, share)
