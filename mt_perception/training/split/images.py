# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs of a split's training: images of the network's recipe, and a second detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.image.letterbox import fit
from mt_perception.network.picodet import PicoDet
from mt_perception.network.pretrained import load_picodet
from mt_perception.training.data.batches import SampleSet, draw
from mt_perception.training.export.write_model import INPUT
from mt_perception.training.recipe import Recipe, read_recipe
from mt_perception.training.split.split_recipe import SplitRecipe


def read_network_recipe(recipe: SplitRecipe, beside: Path) -> Recipe:
    """Read the network's recipe, without the teachers that a split does not need.

    Soft labels replace predictions of the VOC teacher, and depth is distilled from the network.

    Args:
        recipe: the split's recipe.
        beside: folder of the split's recipe.
    """
    network = read_recipe(beside / recipe.images_of)
    sets = tuple(replace(s, voc_labels=False, relative_depth=False) for s in network.sets)
    return replace(network, sets=sets)


def read_detector(recipe: SplitRecipe, data: Path, classes: int) -> PicoDet:
    """Read the remote network's second detector.

    Args:
        recipe: the split's recipe.
        data: the data folder.
        classes: number of classes of the robot's detector.

    Raises:
        ModelError: the checkpoint is not a PicoDet-S with this number of classes.
    """
    detector = PicoDet(classes)
    load_picodet(detector, data / recipe.detector)
    return detector


def network_images(
    sets: Sequence[SampleSet], count: int, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield training images as network inputs, (1, H, W, 3) BGR."""
    for position in range(count):
        image = draw(sets, seed, position).image()
        letterbox = fit(image.shape[:2], INPUT.size, INPUT.multiple)
        yield letterbox.network_image(image, INPUT.pad_value)
