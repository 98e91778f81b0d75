# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a cut is trained with: the images of its network's recipe, and a detector."""

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
from mt_perception.training.data.recipe_sets import network_classes, read_sets
from mt_perception.training.data.samples import read_image
from mt_perception.training.export.export import INPUT
from mt_perception.training.recipe import Recipe, read_recipe
from mt_perception.training.split.recipe import CutRecipe


def images_recipe(recipe: CutRecipe, beside: Path) -> Recipe:
    """Read the recipe that a cut's recipe names, as far as a cut needs it.

    Args:
        recipe: of the cut.
        beside: the folder of the recipe.
    """
    theirs = read_recipe(beside / recipe.images_of)
    # The pixel teacher knows more than this one, and depth is imitated.
    plain = tuple(replace(s, voc_labels=False, relative_depth=False) for s in theirs.sets)
    return replace(theirs, sets=plain)


def image_sets(recipe: CutRecipe, data: Path, beside: Path, cache: Path) -> tuple[SampleSet, ...]:
    """Read the sets of the recipe that a cut's recipe names.

    Args:
        recipe: of the cut.
        data: the data folder.
        beside: the folder of the recipe.
        cache: folder of the pixel teacher's opinions, where it has one.
    """
    theirs = images_recipe(recipe, beside)
    return read_sets(theirs, data, network_classes(theirs, data, beside), cache)


def validation_part(recipe: CutRecipe, data: Path, beside: Path) -> tuple[Path, str]:
    """Give the folder with boxes of every class, and its part that no network learns from."""
    theirs = read_recipe(beside / recipe.images_of)
    return (data / theirs.detection_labels).parent, theirs.validation_split


def detector_of(recipe: CutRecipe, data: Path, classes: int) -> PicoDet:
    """Read the detector that the remote half has besides.

    Args:
        recipe: of the cut.
        data: the data folder.
        classes: that the robot's network tells apart.

    Raises:
        ModelError: the checkpoint is no PicoDet-S of so many classes.
    """
    detector = PicoDet(classes)
    load_picodet(detector, data / recipe.detector)
    return detector


def network_images(
    sets: Sequence[SampleSet], count: int, seed: int
) -> Iterator[NDArray[np.uint8]]:
    """Give images as the network sees them, (1, H, W, 3): what the tables are counted from."""
    for position in range(count):
        image = read_image(draw(sets, seed, position).image_path)
        letterbox = fit(image.shape[:2], INPUT.size, INPUT.multiple)
        yield letterbox.network_image(image, INPUT.pad_value)
