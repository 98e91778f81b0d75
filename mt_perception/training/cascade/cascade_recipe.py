# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe of a cascade: the second network and the training of its dense head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mt_perception.data_files import read_yaml
from mt_perception.errors import ModelError
from mt_perception.training.recipe import MACHINE, Recipe, read_recipe
from mt_perception.training.recipe_fields import build, check_choice, mapping
from mt_perception.training.split.split_recipe import Stage, read_stage


@dataclass(frozen=True)
class CascadeRecipe:
    """A complete recipe.

    Args:
        images_of: recipe of the network, in the same folder; its training images are used, and
            the part `choose` of its `parts` fits calibration and gates.
        detector: PicoDet's checkpoint inside the data folder.
        detector_share: share of the checkpoint's weights in their mean with the weights that
            `cut` trained further; 1 without a cut.
        seed: seed of all random numbers.
        threads: threads of torch.
        precision: float32 or bfloat16 (autocast).
        dense_head: training of the wide dense head; both networks are frozen.
        checkpoint_every: steps between checkpoints.
    """

    images_of: str
    detector: str
    detector_share: float
    seed: int
    threads: int
    precision: str
    dense_head: Stage
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.detector_share <= 1:
            raise ModelError(f'detector_share must be from 0 to 1, found {self.detector_share}')


def read_cascade_recipe(path: Path) -> CascadeRecipe:
    """Read a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    root = mapping(read_yaml(path), str(path))
    root['dense_head'] = read_stage(root.get('dense_head'), f'{path}: dense_head')
    recipe = build(CascadeRecipe, root, str(path), limits=MACHINE)
    check_choice(recipe.precision, ('float32', 'bfloat16'), f'{path}: precision')
    return recipe


def images_recipe(recipe: CascadeRecipe, beside: Path) -> Recipe:
    """Read the recipe of the images, with the sets and labels that teach segmentation.

    Raises:
        ModelError: it has no `parts`; calibration and gates need images without training.
    """
    path = beside / recipe.images_of
    read = read_recipe(path)
    if read.parts is None:
        raise ModelError(f'{path}: a cascade needs `parts`: images that are not used in training')
    sets = tuple(
        replace(
            one,
            voc_labels=False,
            teacher_boxes=False,
            relative_depth=False,
            object_depth=False,
            by_distance=False,
        )
        for one in read.sets
        if one.kind != 'rgbd' or one.names or one.ground
    )
    return replace(read, sets=sets)
