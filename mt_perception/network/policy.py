# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Policies on a thumbnail of the frame: gates for training, and path scores for deployment."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.gates import Unit
from mt_perception.network.multitask import TASKS
from mt_perception.network.trunk import Trunk

THUMBNAIL = (64, 80)
"""Height and width of the policy's input."""

_HIDDEN = 48
_ALL_ON = 3.0
_POOLED = 3 * (32 + 64)


def thumbnail(image: Tensor) -> Tensor:
    """Resize images (B, 3, H, W) to (B, 3, 64, 80)."""
    return functional.interpolate(
        image, THUMBNAIL, mode='bilinear', antialias=True, align_corners=False
    )


class Glance(nn.Module):
    """Features of a thumbnail: the first stages of the trunk, pooled over the image.

    The stages are frozen, because they were trained on far more images than the policy. Mean,
    maximum and standard deviation of every channel at strides 4 and 8 do not depend on positions.
    Later stages are left out: their weights would have to be loaded into the cache every frame.

    Args:
        trunk: trunk of the full network.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        stages = (trunk.stem, trunk.stage2, trunk.stage3)
        self.stages = copy.deepcopy(nn.ModuleList(stages)).requires_grad_(False)
        self.register_buffer('centre', torch.zeros(_POOLED))
        self.register_buffer('spread', torch.ones(_POOLED))
        self.mix = nn.Linear(_POOLED, _HIDDEN)

    @torch.no_grad()
    def pool(self, image: Tensor) -> Tensor:
        """Return pooled features (B, 288) of thumbnails (B, 3, h, w) BGR, 0 to 255."""
        s4 = self.stages[1](self.stages[0](image))
        s8 = self.stages[2](s4)
        pooled = []
        for level in (s4, s8):
            mean = level.mean(dim=(2, 3), keepdim=True)
            pooled += [mean.flatten(1), level.amax(dim=(2, 3))]
            pooled.append(((level - mean) ** 2).mean(dim=(2, 3)).sqrt())
        return torch.cat(pooled, dim=1)

    @torch.no_grad()
    def fit(self, pooled: Tensor) -> None:
        """Set the normalisation from pooled features (N, 288)."""
        self.centre.copy_(pooled.mean(dim=0))
        self.spread.copy_(pooled.std(dim=0).clamp_min(1e-3))

    def read(self, pooled: Tensor) -> Tensor:
        """Return hidden features (B, 48) of pooled features (B, 288)."""
        hidden: Tensor = self.mix((pooled - self.centre) / self.spread)
        return functional.relu(hidden)

    def forward(self, image: Tensor) -> Tensor:
        """Return hidden features (B, 48) of thumbnails."""
        return self.read(self.pool(image))


class GatePolicy(nn.Module):
    """Keep-probabilities of every unit for each task, at a requested budget.

    Initially all units are kept: the logits start at 3.

    Args:
        trunk: trunk of the full network.
        units: the skippable units.
    """

    def __init__(self, trunk: Trunk, units: Sequence[Unit]) -> None:
        super().__init__()
        self.glance = Glance(trunk)
        self.budget = nn.Linear(1, _HIDDEN)
        self.gates = nn.Linear(_HIDDEN, len(TASKS) * len(units))
        nn.init.normal_(self.gates.weight, std=0.01)
        nn.init.constant_(self.gates.bias, _ALL_ON)

    def forward(self, image: Tensor, budget: Tensor) -> Tensor:
        """Return the logits (B, T, U).

        Args:
            image: (B, 3, H, W) BGR, 0 to 255, of any size.
            budget: (B,) requested share of the network's multiply-accumulates.
        """
        hidden = functional.relu(self.glance(thumbnail(image)) + self.budget(budget[:, None]))
        logits: Tensor = self.gates(hidden).unflatten(1, (len(TASKS), -1))
        return logits


class PathScores(nn.Module):
    """Scores every path for an image, by its predicted loss and its cost.

    score = −(Σ_t w_t loss_t(image) / Σ_t w_t + λ(b) · cost), λ(b) = 2 (1 − b)³. Among all rules of
    equal mean cost, the highest score has the least mean loss (Lagrange), and a smaller budget
    never selects a more expensive path. λ is 0 at a budget of 1.

    Args:
        trunk: trunk of the full network.
        costs: relative multiply-accumulates of every path; the first is the full path's, 1.
    """

    costs: Tensor

    def __init__(self, trunk: Trunk, costs: Sequence[float]) -> None:
        super().__init__()
        self.glance = Glance(trunk)
        self.losses = nn.Linear(_HIDDEN, len(TASKS) * (len(costs) - 1))
        self.register_buffer('costs', torch.tensor(costs))

    def predict(self, image: Tensor) -> Tensor:
        """Return losses (B, T, P) for thumbnails (B, 3, h, w), 0 for the full path."""
        return self.read(self.glance.pool(image))

    def read(self, pooled: Tensor) -> Tensor:
        """Return losses (B, T, P) for pooled features (B, 288)."""
        lighter: Tensor = self.losses(self.glance.read(pooled)).unflatten(1, (len(TASKS), -1))
        return functional.pad(lighter, (1, 0))

    def forward(self, image: Tensor, tasks: Tensor, budget: Tensor) -> Tensor:
        """Return the scores (B, P).

        Args:
            image: (B, h, w, 3) uint8 BGR thumbnails.
            tasks: (B, T) weights of the tasks, 0 for tasks that are not requested.
            budget: (B, 1) in (0, 1].
        """
        losses = self.predict(image.permute(0, 3, 1, 2).float())
        loss = (tasks[:, :, None] * losses).sum(dim=1) / tasks.sum(dim=1, keepdim=True)
        return -(loss + 2 * (1 - budget) ** 3 * self.costs)
