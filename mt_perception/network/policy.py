# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The policy: from a thumbnail of the frame to what may be skipped, and to the path to take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.gates import Unit, owners
from mt_perception.network.multitask import TASKS

THUMBNAIL = (96, 128)
"""Height and width of the frame as the deployed policy sees it."""

_WIDTHS = (16, 24, 32, 48)
_HIDDEN = 64
_ALL_ON = 3.0


class Glance(nn.Module):
    """A few strided convolutions and, over the whole picture, the mean and the maximum.

    What is pooled does not depend on the picture's size, so that any resolution works.
    """

    def __init__(self) -> None:
        super().__init__()
        sides = zip((3, *_WIDTHS[:-1]), _WIDTHS, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in sides)
        self.mix = nn.Linear(2 * _WIDTHS[-1], _HIDDEN)

    def forward(self, image: Tensor) -> Tensor:
        """Give (B, 64) of an image (B, 3, H, W), BGR, 0 to 255."""
        x = image / 128 - 1
        for layer in self.layers:
            x = functional.relu(layer(x))
        pooled = torch.cat((x.mean(dim=(2, 3)), x.amax(dim=(2, 3))), dim=1)
        return functional.relu(self.mix(pooled))


class GatePolicy(nn.Module):
    """Keep-probabilities of every unit, for each task, at a wanted budget.

    Begins with everything on: the gates' logits start at 3 whatever the picture.

    Args:
        units: what may be skipped.
    """

    says: Tensor

    def __init__(self, units: Sequence[Unit]) -> None:
        super().__init__()
        self.glance = Glance()
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
        seen = functional.relu(self.glance(image) + self.budget(budget[:, None]))
        logits: Tensor = self.gates(seen).unflatten(1, (len(TASKS), -1))
        return logits
