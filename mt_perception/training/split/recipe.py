# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe of a cut: how a bottleneck is trained for a network that is there already."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mt_perception.data_files import read_yaml
from mt_perception.errors import ModelError
from mt_perception.training.recipe_fields import build, list_of, mapping


@dataclass(frozen=True)
class Stage:
    """A stretch of training.

    Args:
        steps: number of steps.
        batch_size: images per step.
        canvases: (height, width) of batches; every step takes one of them.
        learning_rate: peak rate of Adam for what is new.
        warmup: steps over which the rate rises; then it falls like a cosine.
        remote_rate: second stage: peak rate of trunk and heads, as a share of each filter's size.
        rate_shares: how often each rate is drawn, relative to the others; none draws all alike.
    """

    steps: int
    batch_size: int
    canvases: tuple[tuple[int, int], ...]
    learning_rate: float
    warmup: int = 50
    remote_rate: float = 0.0003
    rate_shares: tuple[float, ...] = ()

    def rate_factor(self, step: int) -> float:
        """The share of the peak rate at a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class ErrorWeights:
    """What kinds of errors weigh in the first stage.

    Args:
        pixels: of the decoder's image itself.
        backbone: of the network's features at strides 4, 8, 16 and 32.
        pyramid: of each of its pyramid's coarser levels.
        detector: of each of the detector's backbone's and pyramid's levels.
        answers: of the heads' answers.
    """

    pixels: float
    backbone: tuple[float, float, float, float]
    pyramid: float
    detector: float
    answers: float


@dataclass(frozen=True)
class CutRecipe:
    """A whole recipe.

    Args:
        images_of: recipe of the network, in the same folder, whose training images are used.
        seed: of everything random.
        threads: for torch.
        precision: float32 or bfloat16 (autocast).
        detector: PicoDet's checkpoint, a path in the data folder.
        bit_prices: for every rate, the cheapest first, what a bit per pixel costs in relative
            feature error; falling.
        weights: of the errors in the first stage.
        imitate: first stage.
        finish: second stage.
        widen: third stage.
        checkpoint_every: steps.
    """

    images_of: str
    seed: int
    threads: int
    precision: str
    detector: str
    bit_prices: tuple[float, ...]
    weights: ErrorWeights
    imitate: Stage
    finish: Stage
    widen: Stage
    checkpoint_every: int = 100

    @property
    def steps(self) -> int:
        """The number of steps of all stages."""
        return self.imitate.steps + self.finish.steps + self.widen.steps

    def autocast(self) -> torch.autocast:
        """The context in which networks compute."""
        precision = getattr(torch, self.precision)
        return torch.autocast('cpu', precision, enabled=precision != torch.float32)


def read_cut_recipe(path: Path) -> CutRecipe:
    """Read a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    root = mapping(read_yaml(path), str(path))
    for name in ('imitate', 'finish', 'widen'):
        root[name] = _stage(root.get(name), f'{path}: {name}')
    weights = mapping(root.get('weights'), f'{path}: weights')
    weights['backbone'] = tuple(list_of(weights, 'backbone'))
    root['weights'] = build(ErrorWeights, weights, f'{path}: weights')
    root['bit_prices'] = tuple(list_of(root, 'bit_prices'))
    recipe = build(CutRecipe, root, str(path))
    if sorted(recipe.bit_prices, reverse=True) != list(recipe.bit_prices):
        raise ModelError(f'{path}: bit_prices must fall: the cheapest rate comes first')
    return recipe


def _stage(data: Any, where: str) -> Stage:
    fields = mapping(data, where)
    sizes = [tuple(size) for size in list_of(fields, 'canvases')]
    if not sizes or any(len(size) != 2 or size[0] % 32 or size[1] % 32 for size in sizes):
        raise ModelError(f'{where}: canvases: expected [height, width] in multiples of 32')
    fields['canvases'] = tuple(sizes)
    if 'rate_shares' in fields:
        fields['rate_shares'] = tuple(list_of(fields, 'rate_shares'))
    return build(Stage, fields, where)
