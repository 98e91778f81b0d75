# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The policy: from a thumbnail of the frame to what may be skipped, and to the path to take."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.gates import Unit, owners
from mt_perception.network.multitask import TASKS
from mt_perception.network.trunk import Trunk

THUMBNAIL = (64, 80)
"""Height and width of the frame as the deployed policy sees it."""

_HIDDEN = 48
_ALL_ON = 3.0
_POOLED = 3 * (32 + 64)


def thumbnail(image: Tensor) -> Tensor:
    """Squeeze pictures (B, 3, H, W) of any size to the thumbnail."""
    return functional.interpolate(
        image, THUMBNAIL, mode='bilinear', antialias=True, align_corners=False
    )


class Glance(nn.Module):
    """The first stages of the full trunk on a thumbnail, pooled over the whole picture.

    The trunk's own early features know objects and scenes from far more pictures than a policy
    is trained on; they stand still. Mean, maximum and spread of every channel at strides 4 and 8
    do not depend on where things are. Later stages hold most of the weights, which a policy that
    is asked once a frame would have to fetch from memory every time.

    Args:
        trunk: the full network's.
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
        """Give the pooled features (B, 288) of thumbnails (B, 3, h, w), BGR, 0 to 255."""
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
        """Take the scale of every pooled feature from those (N, 288) of some pictures."""
        self.centre.copy_(pooled.mean(dim=0))
        self.spread.copy_(pooled.std(dim=0).clamp_min(1e-3))

    def read(self, pooled: Tensor) -> Tensor:
        """Give (B, 48) of pooled features."""
        hidden: Tensor = self.mix((pooled - self.centre) / self.spread)
        return functional.relu(hidden)

    def forward(self, image: Tensor) -> Tensor:
        """Give (B, 48) of thumbnails."""
        return self.read(self.pool(image))


class GatePolicy(nn.Module):
    """Keep-probabilities of every unit, for each task, at a wanted budget.

    Begins with everything on: the gates' logits start at 3 whatever the picture.

    Args:
        trunk: the full network's.
        units: what may be skipped.
    """

    says: Tensor

    def __init__(self, trunk: Trunk, units: Sequence[Unit]) -> None:
        super().__init__()
        self.glance = Glance(trunk)
        self.budget = nn.Linear(1, _HIDDEN)
        self.gates = nn.Linear(_HIDDEN, len(TASKS) * len(units))
        nn.init.normal_(self.gates.weight, std=0.01)
        nn.init.constant_(self.gates.bias, _ALL_ON)
        self.register_buffer('says', owners(units), persistent=False)

    def forward(self, image: Tensor, budget: Tensor) -> Tensor:
        """Give the logits (B, T, U).

        Args:
            image: (B, 3, H, W) BGR, 0 to 255, of any size.
            budget: (B,) share of the network's multiply-accumulates that is wanted.
        """
        seen = functional.relu(self.glance(thumbnail(image)) + self.budget(budget[:, None]))
        logits: Tensor = self.gates(seen).unflatten(1, (len(TASKS), -1))
        return logits


class PathScores(nn.Module):
    """Scores every path for a picture: what it would lose there, and what it costs.

    A path's score is −(Σ_t w_t loss_t(picture) / Σ_t w_t + λ(b) · cost): of all rules with the
    same mean cost, taking the highest score loses least on average (Lagrange), and a smaller
    budget never takes a dearer path. λ(b) = 2 (1 − b)³ falls to nothing at a budget of 1.

    Args:
        trunk: the full network's.
        costs: share of the multiply-accumulates of every path; the first is the full one's, 1.
    """

    costs: Tensor

    def __init__(self, trunk: Trunk, costs: Sequence[float]) -> None:
        super().__init__()
        self.glance = Glance(trunk)
        self.losses = nn.Linear(_HIDDEN, len(TASKS) * (len(costs) - 1))
        self.register_buffer('costs', torch.tensor(costs))

    def predict(self, image: Tensor) -> Tensor:
        """Give the losses (B, T, P) on thumbnails (B, 3, h, w), 0 for the full path."""
        return self.read(self.glance.pool(image))

    def read(self, pooled: Tensor) -> Tensor:
        """Give the losses (B, T, P) of what a glance pooled."""
        lighter: Tensor = self.losses(self.glance.read(pooled)).unflatten(1, (len(TASKS), -1))
        return functional.pad(lighter, (1, 0))

    def forward(self, image: Tensor, tasks: Tensor, budget: Tensor) -> Tensor:
        """Give the scores (B, P).

        Args:
            image: (B, h, w, 3) uint8 BGR thumbnails.
            tasks: (B, T) weights, 0 for a task that is not wanted.
            budget: (B, 1) in (0, 1].
        """
        losses = self.predict(image.permute(0, 3, 1, 2).float())
        loss = (tasks[:, :, None] * losses).sum(dim=1) / tasks.sum(dim=1, keepdim=True)
        return -(loss + 2 * (1 - budget) ** 3 * self.costs)
