# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One data set of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mt_perception.errors import ModelError
from mt_perception.training.recipe_fields import build

KINDS = ('coco', 'regions', 'rgbd', 'segmentation')


@dataclass(frozen=True)
class SetSpec:
    """One data set of a recipe.

    Args:
        name: for the log.
        kind: coco (boxes, perhaps pixels), regions (boxes as weak pixels), rgbd (depth, perhaps
            pixels) or segmentation (pixels).
        folder: inside the data folder.
        weight: how often its images are drawn, relative to the other sets.
        split: coco: keep images with this `coco_split`, or, where there is none, train.
        pixels: coco: keep images whose pixels come from "panoptic" images or "polygons".
        focal_px: rgbd: focal length in pixels of the stored images.
        names: rgbd, segmentation: class names of the label images' ids; segmentation: without them
            the one YAML file of the folder says them.
        ground: rgbd: label the ground and the walls, which the depth images show.
        voc_labels: fill unlabelled pixels with the VOC teacher's opinion.
        relative_depth: ask the relative depth teacher.
        opinions: ask the pixel teacher about what is not labelled.
        complete: regions: classes of which every instance has a box; where no box of the class
            is, the pixel teacher's opinion of it does not count.
        balanced: draw images with rare classes more often.
    """

    name: str
    kind: str
    folder: str
    weight: float
    split: str | None = None
    pixels: str | None = None
    focal_px: float | None = None
    names: Mapping[int, str] | None = None
    ground: bool = False
    voc_labels: bool = False
    relative_depth: bool = False
    opinions: bool = False
    complete: tuple[str, ...] = ()
    balanced: bool = False


def read_set(data: Any) -> SetSpec:
    """Read one set of a recipe."""
    spec = build(SetSpec, data, 'sets')
    if spec.kind not in KINDS:
        raise ModelError(f'set {spec.name}: a set is {", ".join(KINDS)}, not {spec.kind!r}')
    return spec
