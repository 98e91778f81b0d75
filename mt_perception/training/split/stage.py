# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the two stages of a cut's training have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mt_perception.training.distributed import Place
from mt_perception.training.split.recipe import CutRecipe, Stage

Batch = TypeVar('Batch')


class Losses(NamedTuple):
    """What a step costs, and what is told of it."""

    loss: Tensor
    error: float
    bits_per_pixel: float


class CutStage(Protocol[Batch]):
    """A stretch of training."""

    plan: Stage
    place: Place

    def groups(self) -> list[dict[str, Any]]:
        """What learns, and how fast: groups of `RelativeAdamW`."""

    def batches(self, steps: range) -> Iterator[Batch]:
        """The batches of some steps of the run."""

    def losses(self, batch: Batch, step: int) -> Losses:
        """What a batch costs at a step of the stage."""


def group(
    parameters: Iterable[nn.Parameter], rate: float, relative: bool = False
) -> dict[str, Any]:
    """A group of `RelativeAdamW`."""
    return {
        'params': list(parameters),
        'lr': rate,
        'peak': rate,
        'weight_decay': 0.0,
        'relative': relative,
    }


def draw_rates(recipe: CutRecipe, plan: Stage, count: int, step: int, place: Place) -> Tensor:
    """The rates of a step's images, (B,) int64.

    They depend on step and process alone, so that a run can be resumed; so does all that is drawn
    later.
    """
    torch.manual_seed((recipe.seed * 1_000_003 + step) * place.count + place.rank)
    shares = plan.rate_shares or (1.0,) * len(recipe.bit_prices)
    return torch.multinomial(torch.tensor(shares), count, replacement=True)
