# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the heads leave the trunk: what each task asks of the shared features, told apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.network.trunk import Features
from mt_perception.training.distributed import mean_over_processes


class Junction:
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

    def pass_on(self) -> None:
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
