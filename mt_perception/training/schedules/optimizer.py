# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a run moves: phases, learning rates, parameter groups, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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


class RelativeAdamW(torch.optim.AdamW):
    """AdamW whose steps, in groups marked `relative`, are shares of what each filter weighs.

    Adam's steps are as large as the rate, whatever the weight. With batch normalisation folded
    in, the filters of a pretrained trunk differ by a factor of a thousand (the stem reads 0 to
    255), and a rate that suits one destroys another: with one rate for all, the detector forgot
    everything within 200 steps. The step of a filter is therefore multiplied by the root mean
    square of its weights, that of a bias by its magnitude, both as they were at the beginning.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        for group in groups:
            # In the groups, so that they are saved and restored with the optimiser's state.
            group['scales'] = [_scale(p) for p in group['params']] if group['relative'] else []
        super().__init__(groups)

    def add_plain(self, parameters: Sequence[Tensor], rate: float) -> None:
        """Add weights that are none of the network's: an absolute rate, and no decay."""
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
    """Give the root mean square of each filter, or the magnitude of each bias."""
    value = parameter.detach()
    if value.ndim > 1:
        value = value.square().flatten(1).mean(dim=1).sqrt()
        value = value.reshape(-1, *[1] * (parameter.ndim - 1))
    return value.abs().clone()


def make_optimizer(network: Multitask, phase: Phase, weight_decay: float) -> RelativeAdamW:
    """Make the optimiser of the weights that a phase trains; the others need no gradient.

    Biases do not decay, and what has a relative rate does not either: it is not new.
    """
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
