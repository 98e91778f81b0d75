# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Balances of the tasks' losses: as the recipe says, by uncertainty, or by gradients."""

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
    """The recipe's weights as they are."""

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the terms whose sum is minimised, one for every task's loss."""
        return dict(losses)

    def weights(self) -> dict[str, float]:
        """Give every task's weight, for the log; none where they stand in the recipe."""
        return {}


class Uncertainty(Balance):
    """Kendall, Gal and Cipolla, arXiv 1705.07115: each task's noise σ² is learned beside it.

    Depth regresses, exp(−s) L / 2 + s / 2 (equation 7); detection and segmentation classify,
    exp(−s) L + s / 2 (equation 10); s = log σ². For a loss that stands still the optimum is
    σ² = L and σ² = 2 L.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(len(TASKS)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the terms whose sum is minimised, one for every task's loss."""
        found = {}
        for task, loss in losses.items():
            s = self.log_variance[TASKS.index(task)]
            share = 0.5 if task == 'depth' else 1.0
            found[task] = share * torch.exp(-s) * loss + 0.5 * s
        return found

    def weights(self) -> dict[str, float]:
        """Give every task's weight: what its loss is multiplied by."""
        values = torch.exp(-self.log_variance.detach()).tolist()
        return {
            task: (0.5 if task == 'depth' else 1.0) * value
            for task, value in zip(TASKS, values, strict=True)
        }


class GradNorm(Balance):
    """Chen et al., arXiv 1711.02257: weights w_i for which all tasks train at one pace.

    G_i, the norm of what w_i L_i asks of the shared features, is drawn to the tasks' mean times
    r_i^α, r_i being how far L_i has come compared with the others (equation 2). Two departures:
    norms are of the features' gradients, which the backward pass computes anyway, not of the
    last shared weights' (the bound of Sener and Koltun, arXiv 1810.04650, section 3.3); and the
    w_i move by w_i ← w_i (target_i / G_i)^rate, which has the same fixed point as Adam on the
    sum of |G_i − target_i|, stays positive and keeps no state.

    Args:
        alpha: how much more a task is pulled that lags behind; 0 asks for equal norms.
        rate: of the weights.
    """

    weight: Tensor
    first: Tensor

    def __init__(self, alpha: float, rate: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.rate = rate
        self.register_buffer('weight', torch.ones(len(TASKS)))
        # The loss that each task began with; zero before it has been seen.
        self.register_buffer('first', torch.zeros(len(TASKS)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the terms whose sum is minimised, one for every task's loss."""
        return {task: self.weight[TASKS.index(task)] * loss for task, loss in losses.items()}

    def weights(self) -> dict[str, float]:
        """Give every task's weight."""
        return dict(zip(TASKS, self.weight.tolist(), strict=True))

    @torch.no_grad()
    def observe(self, norms: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> None:
        """Move the weights.

        Args:
            norms: task → G_i, () each, of the tasks that ran.
            losses: task → L_i without its weight.
        """
        # What is exactly zero has no label in this batch: it says nothing about pace.
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
    """Make the balance that a recipe asks for."""
    if wanted.kind == 'uncertainty':
        return Uncertainty()
    if wanted.kind == 'gradnorm':
        return GradNorm(wanted.alpha, wanted.rate)
    return Balance()


class SharedGradients:
    """Gives each head a leaf of its own to read, and hands the sum of the gradients on.

    That is what backward does anyway; here it stops at the junction, so that the norm of every
    task's gradient can be seen, at no further cost.
    """

    def __init__(self) -> None:
        self._features: Features | None = None
        self._leaves: dict[str, Features] = {}

    def open(self, features: object, tasks: Sequence[str]) -> dict[str, Features]:
        """Give every task's leaf.

        Raises:
            ModelError: the tasks share no features, so there is no junction.
        """
        if not isinstance(features, Features):
            raise ModelError('balancing by gradients needs one trunk that all tasks share')
        self._features = features
        self._leaves = {
            task: Features(*(level.detach().requires_grad_() for level in features))
            for task in tasks
        }
        return self._leaves

    def norms(self) -> dict[str, Tensor]:
        """Give the norm of every task's gradient, over the whole batch of all processes."""
        found = {}
        for task, leaf in self._leaves.items():
            squares = [
                level.grad.float().square().sum() for level in leaf if level.grad is not None
            ]
            if squares:
                found[task] = mean_over_processes(torch.stack(squares).sum()).sqrt()
        return found

    def backward(self) -> None:
        """Run the trunk backward with the sum of what the heads asked for."""
        assert self._features is not None
        reached, gradients = [], []
        for index, level in enumerate(self._features):
            parts = [
                leaf[index].grad for leaf in self._leaves.values() if leaf[index].grad is not None
            ]
            if parts and level.requires_grad:
                reached.append(level)
                gradients.append(torch.stack([part for part in parts if part is not None]).sum(0))
        torch.autograd.backward(reached, gradients)
