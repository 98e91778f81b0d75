# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe of a split: how a bottleneck is trained for a network that is already trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mt_perception.data_files import read_yaml
from mt_perception.errors import ModelError
from mt_perception.training.recipe import MACHINE
from mt_perception.training.recipe_fields import (
    COUNT,
    POSITIVE,
    build,
    canvases_of,
    check_choice,
    list_of,
    mapping,
)

# Earlier names of the stages and the names that replace them; both are read.
_RENAMED = {'imitate': 'bottleneck', 'finish': 'decoder', 'widen': 'dense_head'}


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Args:
        steps: number of steps.
        batch_size: images per step.
        canvases: sizes (height, width) of batches, drawn uniformly.
        learning_rate: peak rate of Adam for new layers.
        warmup: steps of linear rise, before the rate falls like a cosine.
        remote_rate: stage 2: peak rate of trunk and heads, relative to each filter's size.
        rate_shares: how often each compression rate is drawn, relative to the others; empty
            draws all equally often.
    """

    steps: int
    batch_size: int
    canvases: tuple[tuple[int, int], ...]
    learning_rate: float
    warmup: int = 50
    remote_rate: float = 0.0003
    rate_shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class ErrorWeights:
    """Weights of the distillation errors in stage 1.

    Args:
        pixels: error of the decoded image.
        backbone: errors of the network's features at strides 4, 8, 16 and 32.
        pyramid: error of each coarser level of the network's pyramid.
        detector: error of each level of the detector's backbone and pyramid.
        answers: errors of the heads' outputs.
    """

    pixels: float
    backbone: tuple[float, float, float, float]
    pyramid: float
    detector: float
    answers: float


@dataclass(frozen=True)
class SplitRecipe:
    """A complete recipe.

    Args:
        images_of: recipe of the network, in the same folder; its training images are used.
        seed: seed of all random numbers.
        threads: threads of torch.
        precision: float32 or bfloat16 (autocast).
        detector: PicoDet's checkpoint inside the data folder.
        bit_prices: for each compression rate, cheapest first, the price of one bit per pixel in
            units of the relative feature error; falling.
        weights: weights of the errors in stage 1.
        bottleneck: stage 1: encoder, entropy model and decoder.
        decoder: stage 2: decoder and remote network, with the encoder frozen.
        dense_head: stage 3: the remote network's additional dense head.
        checkpoint_every: steps between checkpoints.
    """

    images_of: str
    seed: int
    threads: int
    precision: str
    detector: str
    bit_prices: tuple[float, ...]
    weights: ErrorWeights
    bottleneck: Stage
    decoder: Stage
    dense_head: Stage
    checkpoint_every: int = 100

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
        return self.bottleneck.steps + self.decoder.steps + self.dense_head.steps


def read_split_recipe(path: Path) -> SplitRecipe:
    """Read a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    root = mapping(read_yaml(path), str(path))
    root = {_RENAMED.get(name, name): value for name, value in root.items()}
    for name in _RENAMED.values():
        root[name] = read_stage(root.get(name), f'{path}: {name}')
    weights = mapping(root.get('weights'), f'{path}: weights')
    weights['backbone'] = tuple(list_of(weights, 'backbone'))
    root['weights'] = build(ErrorWeights, weights, f'{path}: weights')
    root['bit_prices'] = tuple(list_of(root, 'bit_prices'))
    recipe = build(SplitRecipe, root, str(path), limits=MACHINE)
    check_choice(recipe.precision, ('float32', 'bfloat16'), f'{path}: precision')
    if sorted(recipe.bit_prices, reverse=True) != list(recipe.bit_prices):
        raise ModelError(f'{path}: bit_prices must fall: the cheapest rate comes first')
    return recipe


def read_stage(data: Any, where: str) -> Stage:
    """Read a stage from the data of a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    fields = mapping(data, where)
    fields['canvases'] = canvases_of(fields, where)
    if 'rate_shares' in fields:
        fields['rate_shares'] = tuple(list_of(fields, 'rate_shares'))
    limits = {'steps': COUNT, 'batch_size': COUNT, 'learning_rate': POSITIVE, 'warmup': POSITIVE}
    limits |= {'remote_rate': POSITIVE, 'rate_shares': POSITIVE}
    return build(Stage, fields, where, limits=limits)
