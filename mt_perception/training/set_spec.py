# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One data set of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mt_perception.errors import ModelError
from mt_perception.training.recipe_fields import (
    build,
    check_choice,
    list_of,
    mapping,
)

KINDS = ('coco', 'regions', 'rgbd', 'segmentation')


@dataclass(frozen=True)
class SetSpec:
    """One data set of a recipe.

    Args:
        name: name in the log.
        kind: coco (boxes, perhaps pixels), regions (boxes as weak pixels), rgbd (depth, perhaps
            pixels) or segmentation (pixels).
        folder: path inside the data folder.
        weight: how often its images are drawn, relative to the other sets.
        split: coco: keep images with this `coco_split`, or, where there is none, train. rgbd:
            train, which is the default, or all. segmentation: as rgbd.
        pixels: coco: keep images whose pixels come from "panoptic" images or "polygons".
        focal_px: rgbd: focal length in pixels of the stored images; without it, meta.json of the
            folder gives the camera of each image.
        annotations: coco: name of a COCO file in the folder; empty for the usual names.
        without: keys of images to leave out.
        names: rgbd, segmentation: class name of each id in the label images; segmentation reads
            them from the folder's only YAML file if this is absent.
        ground: rgbd: label ground and walls as planes in the depth images.
        voc_labels: fill unlabelled pixels with predictions of the VOC teacher.
        relative_depth: use predictions of the relative depth teacher.
        object_depth: coco, regions: metric depth from objects of known size and the relative
            depth teacher; needs `relative_depth`.
        by_distance: draw near and far images equally often.
        soft_labels: label the remaining pixels with probabilities of the pixel teacher or of the
            remote teacher.
        teacher_boxes: coco, regions: use detections of the remote teacher.
        complete: regions: classes of which every instance has a box. Outside these boxes, soft
            labels of the class are discarded.
        balanced: draw images with rare classes more often.
        zoom: largest magnification of crops beyond that of other sets, as of a longer lens.
        tilt_deg: rgbd: largest pitch and roll in degrees by which the camera is turned.
    """

    name: str
    kind: str
    folder: str
    weight: float
    split: str | None = None
    pixels: str | None = None
    focal_px: float | None = None
    annotations: str = ''
    without: tuple[str, ...] = ()
    names: Mapping[int, str] | None = None
    ground: bool = False
    voc_labels: bool = False
    relative_depth: bool = False
    object_depth: bool = False
    by_distance: bool = False
    soft_labels: bool = False
    teacher_boxes: bool = False
    complete: tuple[str, ...] = ()
    balanced: bool = False
    zoom: float = 1.0
    tilt_deg: float = 0.0


def read_set(data: Any) -> SetSpec:
    """Read one set of a recipe."""
    values = mapping(data, 'sets')
    if 'without' in values:
        values['without'] = tuple(map(str, list_of(values, 'without')))
    limits = {
        'weight': (0.0, 1e9),
        'focal_px': (1e-3, 1e6),
        'zoom': (1.0, 32.0),
        'tilt_deg': (0.0, 60.0),
    }
    spec = build(SetSpec, values, 'sets', {'opinions': 'soft_labels'}, limits)
    check_choice(spec.kind, KINDS, f'set {spec.name}: kind')
    wrong = [key for key in spec.names or () if not 0 <= key < 1 << 16]
    if wrong:
        raise ModelError(
            f'set {spec.name}: names: {wrong[0]} is no pixel value; they have 16 bits'
        )
    if spec.tilt_deg and spec.kind != 'rgbd':
        raise ModelError(f'set {spec.name}: tilt_deg needs kind: rgbd, whose cameras are known')
    if spec.tilt_deg and (spec.soft_labels or spec.relative_depth):
        raise ModelError(f'set {spec.name}: a set with tilt_deg cannot have labels of a teacher')
    if spec.object_depth and not spec.relative_depth:
        raise ModelError(f'set {spec.name}: object_depth needs relative_depth: true')
    return spec
