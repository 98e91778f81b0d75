# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe of a cut: how a bottleneck is trained for a network that is there already."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from mt_perception.errors import ModelError
from mt_perception.training.recipe_fields import build, mapping


@dataclass(frozen=True)
class Stage:
    """A stretch of training.

    Args:
        steps: number of steps.
        batch_size: images per step.
        learning_rate: peak rate of Adam for what is new.
        warmup: steps over which the rate rises; then it falls like a cosine.
        remote_rate: second stage: peak rate of trunk and heads, as a share of each filter's size.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 50
    remote_rate: float = 0.0003

    def rate_factor(self, step: int) -> float:
        """The share of the peak rate at a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class CutRecipe:
    """A whole recipe.

    Args:
        images_of: recipe of the network, in the same folder, whose training images are used.
        seed: of everything random.
        threads: for torch.
        precision: float32 or bfloat16 (autocast).
        canvas: (height, width) of the batches.
        bit_prices: for every rate, the cheapest first, what a bit per pixel costs in relative
            feature error; falling.
        stage_weights: of the errors at strides 4, 8, 16 and 32.
        imitate: first stage.
        finish: second stage.
        checkpoint_every: steps.
    """

    images_of: str
    seed: int
    threads: int
    precision: str
    canvas: tuple[int, int]
    bit_prices: tuple[float, ...]
    stage_weights: tuple[float, float, float, float]
    imitate: Stage
    finish: Stage
    checkpoint_every: int = 100

    @property
    def steps(self) -> int:
        """The number of steps of both stages."""
        return self.imitate.steps + self.finish.steps


def read_cut_recipe(path: Path) -> CutRecipe:
    """Read a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    root = mapping(yaml.safe_load(path.read_text(encoding='utf-8')), str(path))
    for stage in ('imitate', 'finish'):
        root[stage] = build(Stage, root.get(stage), stage)
    for name in ('canvas', 'bit_prices', 'stage_weights'):
        if not isinstance(root.get(name), list):
            raise ModelError(f'{path}: {name}: expected a list')
        root[name] = tuple(root[name])
    recipe = build(CutRecipe, root, str(path))
    if sorted(recipe.bit_prices, reverse=True) != list(recipe.bit_prices):
        raise ModelError(f'{path}: bit_prices must fall: the cheapest rate comes first')
    return recipe
