# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Balancing of the tasks' losses: fixed weights, uncertainty, or GradNorm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.network.multitask import TASKS
from mt_perception.network.trunk import Features
from mt_perception.training.distributed import mean_over_processes
from mt_perception.training.recipe import Balancing


class Balance(nn.Module):
    """Fixed weights: the recipe's own."""

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms of the objective, one for each task's loss."""
        return dict(losses)

    def weights(self) -> dict[str, float]:
        """Return every task's learned weight, for the log."""
        return {}


class Uncertainty(Balance):
    """Kendall, Gal and Cipolla, arXiv 1705.07115: learns each task's noise σ².

    Depth regresses, exp(−s) L / 2 + s / 2 (equation 7); detection and segmentation classify,
    exp(−s) L + s / 2 (equation 10); s = log σ². For a constant loss the optimum is σ² = L and
    σ² = 2 L.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(len(TASKS)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms of the objective, one for each task's loss."""
        found = {}
        for task, loss in losses.items():
            s = self.log_variance[TASKS.index(task)]
            share = 0.5 if task == 'depth' else 1.0
            found[task] = share * torch.exp(-s) * loss + 0.5 * s
        return found

    def weights(self) -> dict[str, float]:
        """Return the factor of every task's loss."""
        values = torch.exp(-self.log_variance.detach()).tolist()
        return {
            task: (0.5 if task == 'depth' else 1.0) * value
            for task, value in zip(TASKS, values, strict=True)
        }


class GradNorm(Balance):
    """Chen et al., arXiv 1711.02257: task weights w_i that equalise training rates.

    The target of G_i, the norm of the gradient of w_i L_i, is the tasks' mean times r_i^α, where
    r_i is the relative inverse training rate of L_i (equation 2). Two differences from the paper:
    norms are of the gradients of the shared features, which the backward pass computes anyway,
    instead of the last shared weights (the bound of Sener and Koltun, arXiv 1810.04650, section
    3.3); and w_i ← w_i (target_i / G_i)^rate, which has the same fixed point as Adam on the sum
    of |G_i − target_i|, stays positive and has no state.

    Args:
        alpha: strength with which slower tasks are favoured; 0 equalises the norms.
        rate: learning rate of the weights.
    """

    weight: Tensor
    first: Tensor

    def __init__(self, alpha: float, rate: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.rate = rate
        self.register_buffer('weight', torch.ones(len(TASKS)))
        # Initial loss of each task; zero before its first step.
        self.register_buffer('first', torch.zeros(len(TASKS)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms of the objective, one for each task's loss."""
        return {task: self.weight[TASKS.index(task)] * loss for task, loss in losses.items()}

    def weights(self) -> dict[str, float]:
        """Return every task's weight."""
        return dict(zip(TASKS, self.weight.tolist(), strict=True))

    @torch.no_grad()
    def observe(self, norms: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> None:
        """Update the weights.

        Args:
            norms: task → G_i, (), of the tasks of this step.
            losses: task → L_i without its weight.
        """
        # A norm of exactly zero means that the batch has no label of the task.
        index = [TASKS.index(task) for task, norm in norms.items() if float(norm) > 0]
        if len(index) < 2:
            return
        pace = torch.stack([mean_over_processes(losses[TASKS[i]].detach()) for i in index])
        pull = torch.stack([norms[TASKS[i]] for i in index])
        fresh = self.first[index] == 0
        self.first[index] = torch.where(fresh, pace, self.first[index])
        done = pace / self.first[index].clamp_min(1e-9)
        target = pull.mean() * (done / done.mean().clamp_min(1e-9)) ** self.alpha
        moved = self.weight[index] * (target.clamp_min(1e-9) / pull) ** self.rate
        self.weight[index] = moved * self.weight[index].sum() / moved.sum()


def make_balance(wanted: Balancing) -> Balance:
    """Create the balancing of a recipe."""
    if wanted.kind == 'uncertainty':
        return Uncertainty()
    if wanted.kind == 'gradnorm':
        return GradNorm(wanted.alpha, wanted.rate)
    return Balance()


class SharedGradients:
    """Splits the backward pass at the shared features, so that each task's gradient is known.

    Every head reads a detached copy of the features. After the heads' backward pass the sum of
    the copies' gradients goes through the trunk, as it would without the split.
    """

    def __init__(self) -> None:
        self._features: Features | None = None
        self._copies: dict[str, Features] = {}

    def split(self, features: object, tasks: Sequence[str]) -> dict[str, Features]:
        """Return the features for every task.

        Raises:
            ModelError: the tasks do not share all features.
        """
        if not isinstance(features, Features):
            raise ModelError('balancing by gradients needs one trunk that all tasks share')
        self._features = features
        self._copies = {
            task: Features(*(level.detach().requires_grad_() for level in features))
            for task in tasks
        }
        return self._copies

    def norms(self) -> dict[str, Tensor]:
        """Return the norm of every task's gradient over the whole batch, ()."""
        found = {}
        for task, copy in self._copies.items():
            squares = [
                level.grad.float().square().sum() for level in copy if level.grad is not None
            ]
            if squares:
                found[task] = mean_over_processes(torch.stack(squares).sum()).sqrt()
        return found

    def backward(self) -> None:
        """Run the trunk's backward pass with the sum of the tasks' gradients."""
        assert self._features is not None
        reached, gradients = [], []
        for index, level in enumerate(self._features):
            parts = [
                copy[index].grad for copy in self._copies.values() if copy[index].grad is not None
            ]
            if parts and level.requires_grad:
                reached.append(level)
                gradients.append(torch.stack([part for part in parts if part is not None]).sum(0))
        torch.autograd.backward(reached, gradients)
