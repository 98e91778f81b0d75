# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a path leaves out: masks of units, gathered from how often the gates keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mt_perception.network.gates import Prices
from mt_perception.training.gating import PathSpec

Changes = tuple[tuple[str, ...], tuple[str, ...]]
"""What a path changes but the size: the units that it skips, the tasks with a light head."""


@dataclass(frozen=True)
class Mask:
    """A path after the gates were gathered.

    Args:
        name: of the path.
        scale: of the long side of the full network's input.
        skipped: the units that are left out.
        light: the tasks that have their light head.
    """

    name: str
    scale: float
    skipped: tuple[str, ...]
    light: tuple[str, ...] = ()

    @property
    def changes(self) -> Changes:
        """What differs from the full network but the size; empty where nothing does."""
        return self.skipped, self.light


def gather_masks(prices: Prices, keep: Tensor, paths: Sequence[PathSpec]) -> tuple[Mask, ...]:
    """Turn how often units are kept into nested masks.

    Units leave in the order in which the policy keeps them least, so that every mask lies
    within those of more compute, until a path costs no more than it may.

    Args:
        prices: the units and their prices.
        keep: (U,) mean keep-probability of every unit.
        paths: PathSpec, most expensive first.
    """
    order = torch.argsort(keep, stable=True).tolist()
    masks = []
    for path in paths:
        gates, skipped = torch.ones(1, len(prices.units)), []
        for index in order:
            if float(prices.cost(gates)) <= path.compute + 1e-6:
                break
            gates[0, index] = 0
            # A light head has none of the units of the one that it stands for.
            if prices.units[index].owner not in path.light:
                skipped.append(prices.units[index].name)
        masks.append(Mask(path.name, path.scale, tuple(sorted(skipped)), tuple(path.light)))
    return tuple(masks)


def read_masks(saved: Mapping[str, Any]) -> tuple[Mask, ...]:
    """Read the masks of a checkpoint."""
    return tuple(
        Mask(m['name'], m['scale'], tuple(m['skipped']), tuple(m['light'])) for m in saved['paths']
    )
