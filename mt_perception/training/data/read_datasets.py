# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the data sets into samples: COCO-style folders, RGB-D folders, boxes as weak regions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.data_files import read_json
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import inside
from mt_perception.evaluation.datasets.dataset_folder import held_out
from mt_perception.evaluation.datasets.recording import META_FILE, read_recording
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_class_names
from mt_perception.training.data.plane_segmentation import room_masks
from mt_perception.training.data.samples import (
    Boxes,
    NamedBox,
    Sample,
    read_depth,
    read_image,
    read_map,
)
from mt_perception.training.losses.segmentation import EXCLUDED
from mt_perception.types import UNLABELLED

# A pixel that boxes of different classes claim.
_CONFLICT = 254

INSTANCES_FILE = 'instances.json'

Kept = Callable[[str], bool]
"""Whether to keep the image of a key, its name without the suffix."""


def everything(key: str) -> bool:
    """Keep every image."""
    return True


def category_names(path: Path) -> dict[int, str]:
    """Give the category names of a COCO-style annotation file by id, in the file's order."""
    return {c['id']: c['name'] for c in _read_json(path)['categories']}


def read_coco(
    folder: Path,
    classes: ClassMap,
    split: str | None = None,
    pixels: str | None = None,
    annotations: str = INSTANCES_FILE,
    kept: Kept = everything,
) -> list[Sample]:
    """Read a COCO-style folder: images/, instances.json and, where present, semantic/.

    The labels are complete where the file knows every class of the detector; a file of persons
    only says nothing about chairs. Pixels come from the panoptic image where there is one, else
    from polygons, which leave what is no thing unlabelled.

    Args:
        folder: the data set.
        classes: the network's classes.
        split: keep only images whose `coco_split` is this; where the file has none, "train"
            or "held_out".
        pixels: keep only images whose pixels come from "panoptic" images or "polygons".
        annotations: name of the annotation file.
        kept: whether to keep an image of a key.
    """
    index = _read_index(folder, annotations)
    names = {c['id']: c['name'] for c in index['categories']}
    complete = classes.exhaustive(names.values()) == frozenset(range(len(classes.detection)))
    position = {number: classes.detection_id(name) for number, name in names.items()}
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in index['annotations']:
        by_image[annotation['image_id']].append(annotation)
    files = sorted(image['file_name'] for image in index['images'])
    parts = {name: 'held_out' if held_out(i) else 'train' for i, name in enumerate(files)}
    table = _panoptic_table(folder, classes)
    samples = []
    for image in index['images']:
        if split is not None and split != image.get('coco_split', parts[image['file_name']]):
            continue
        stem = Path(image['file_name']).stem
        if not kept(stem):
            continue
        found = by_image[image['id']]
        known = [a for a in found if not a.get('iscrowd') and position[a['category_id']] >= 0]
        panoptic = folder / 'semantic' / f'{stem}.png'
        polygons = [a for a in found if _has_polygons(a)]
        semantic = source = None
        if panoptic.exists():
            semantic, source = partial(_lookup, panoptic, table), 'panoptic'
        elif polygons:
            source = 'polygons'
            areas = [
                (classes.segmentation_id(names[a['category_id']]), a['segmentation'])
                for a in sorted(polygons, key=lambda a: -_area(a))
            ]
            semantic = partial(_fill, (image['height'], image['width']), areas)
        if pixels is not None and source != pixels:
            continue
        samples.append(
            Sample(
                f'{folder.name}_{stem}',
                inside(folder / 'images', image['file_name']),
                (image['height'], image['width']),
                Boxes(
                    _corners([a['bbox'] for a in known]),
                    np.array([position[a['category_id']] for a in known], np.int64),
                    complete,
                ),
                semantic,
                objects=_named_boxes(found, names),
            )
        )
    return samples


def read_regions(folder: Path, classes: ClassMap, shrink: float = 0.15) -> list[Sample]:
    """Read boxes of classes the detector has not (doors) as weak regions of pixels.

    The inside of a box, shrunk on each side, is taken for its class; where boxes of different
    classes overlap nothing is said. Classes that are not listed by name are left out.
    """
    index = _read_index(folder)
    names = {c['id']: c['name'] for c in index['categories']}
    by_image: dict[int, list[tuple[int, list[float]]]] = defaultdict(list)
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in index['annotations']:
        rows[annotation['image_id']].append(annotation)
        name = names[annotation['category_id']]
        if classes.taxonomy.gather(name) is not None:
            region = (classes.segmentation_id(name), annotation['bbox'])
            by_image[annotation['image_id']].append(region)
    return [
        Sample(
            f'{folder.name}_{Path(image["file_name"]).stem}',
            inside(folder / 'images', image['file_name']),
            (image['height'], image['width']),
            semantic=partial(
                _paint, (image['height'], image['width']), by_image[image['id']], shrink
            )
            if by_image[image['id']]
            else None,
            objects=_named_boxes(rows[image['id']], names),
        )
        for image in index['images']
    ]


def read_rgbd(
    folder: Path,
    classes: ClassMap,
    focal_px: float | None = None,
    part: str = 'train',
    names: Mapping[int, str] | None = None,
    ground: bool = False,
    kept: Kept = everything,
) -> list[Sample]:
    """Read an RGB-D folder: rgb/, depth_mm/ and, where present, label/ and meta.json.

    Args:
        folder: the data set.
        classes: the network's classes.
        focal_px: the camera's focal length in pixels of the stored images; without it meta.json
            gives the camera of each image.
        part: train, held_out or all.
        names: class names of the label images' ids; other ids are `rest`, 0 is unlabelled.
        ground: label ground and walls, which the depth shows, where there are no label images.
        kept: whether to keep an image of a key.

    Raises:
        SourceError: an image has no depth, or its focal length is nowhere.
    """
    images = sorted((folder / 'rgb').iterdir())
    if not images:
        raise SourceError(f'{folder}/rgb: expected images')
    recording = read_recording(folder)
    table = None
    if names is not None:
        # An id without a name is some object; 0 is unlabelled.
        table = classes.segmentation_table({**dict.fromkeys(range(1, 256), 'object'), **names})
    samples = []
    for index, path in enumerate(images):
        if part != 'all' and held_out(index) != (part == 'held_out'):
            continue
        if not kept(path.stem):
            continue
        label = folder / 'label' / f'{path.stem}.png'
        depth = folder / 'depth_mm' / f'{path.stem}.png'
        if not depth.exists():
            raise SourceError(f'{depth}: expected the depth of {path.name}, uint16 millimetres')
        height, width = read_image(path).shape[:2]
        focal = focal_px
        if focal is None and recording is not None:
            camera = recording.intrinsics(path.stem, (height, width))
            focal = None if camera is None else (camera.fx + camera.fy) / 2
        if focal is None:
            raise SourceError(
                f'{path}: its focal length is unknown; expected focal_px in the recipe, or fx and '
                f'fy in {folder / META_FILE}'
            )
        semantic = None
        if table is not None:
            semantic = partial(_lookup, label, table)
        elif ground:
            ids = (classes.segmentation_id('ground'), classes.segmentation_id('wall'))
            semantic = partial(_room, depth, focal / width, ids)
        samples.append(
            Sample(
                f'{folder.name}_{path.stem}',
                path,
                (height, width),
                semantic=semantic,
                depth_path=depth,
                focal_px=focal,
            )
        )
    return samples


@lru_cache(maxsize=1024)
def _room(depth_path: Path, focal_per_width: float, ids: tuple[int, int]) -> NDArray[np.uint8]:
    depth = read_depth(depth_path)
    label = np.full(depth.shape, UNLABELLED, np.uint8)
    ground, walls, above = room_masks(depth, focal_per_width * depth.shape[1])
    label[ground], label[walls], label[above] = ids[0], ids[1], EXCLUDED + ids[0]
    return label


def _read_json(path: Path) -> Any:
    if not path.exists():
        raise SourceError(f'{path}: expected a COCO-style annotation file')
    return read_json(path, SourceError)


def _read_index(folder: Path, name: str = INSTANCES_FILE) -> Any:
    """Read an annotation file, and check that it has what every reader needs."""
    path = inside(folder, name)
    index = _read_json(path)
    wanted = {
        'images': {'id', 'file_name', 'height', 'width'},
        'annotations': {'image_id', 'category_id', 'bbox'},
        'categories': {'id', 'name'},
    }
    for part, keys in wanted.items():
        rows = index.get(part) if isinstance(index, dict) else None
        if not isinstance(rows, list):
            raise SourceError(f'{path} is not in COCO format: it has no list of {part}')
        for row in rows:
            if not isinstance(row, dict) or keys - row.keys():
                raise SourceError(f'{path}: each of its {part} needs {sorted(keys)}; one is {row}')
    known = {row['id'] for row in index['categories']}
    strange = {row['category_id'] for row in index['annotations']} - known
    if strange:
        raise SourceError(f'{path}: annotations have categories that it does not list: {strange}')
    return index


def _has_polygons(annotation: Mapping[str, Any]) -> bool:
    """Whether pixels can be drawn from it; run lengths, which some tools write, are left out."""
    shape = annotation.get('segmentation')
    return isinstance(shape, list) and bool(shape) and not annotation.get('iscrowd')


def _named_boxes(
    rows: Sequence[Mapping[str, Any]], names: Mapping[int, str]
) -> tuple[NamedBox, ...]:
    return tuple(
        NamedBox(names[row['category_id']], *(float(value) for value in row['bbox']))
        for row in rows
        if not row.get('iscrowd')
    )


def _area(annotation: Mapping[str, Any]) -> float:
    return float(annotation.get('area', annotation['bbox'][2] * annotation['bbox'][3]))


def _corners(boxes: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Turn x, y, width, height into x1, y1, x2, y2."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    return array


def _panoptic_table(folder: Path, classes: ClassMap) -> NDArray[np.uint8]:
    path = folder / 'panoptic_classes.yaml'
    if not path.exists():
        return np.full(256, UNLABELLED, np.uint8)
    return classes.segmentation_table(read_class_names(path))


def _lookup(path: Path, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return table[read_map(path).astype(np.uint8)]


def _fill(size: tuple[int, int], areas: list[tuple[int, list[list[float]]]]) -> NDArray[np.uint8]:
    """Draw polygons, the largest first, so that what lies on a thing is not covered by it."""
    label = np.full(size, UNLABELLED, np.uint8)
    for index, polygons in areas:
        rings = [np.round(np.array(ring, np.float32).reshape(-1, 2)) for ring in polygons]
        cv2.fillPoly(label, [ring.astype(np.int32) for ring in rings], index)
    return label


def _paint(
    size: tuple[int, int], boxes: list[tuple[int, list[float]]], shrink: float
) -> NDArray[np.uint8]:
    label = np.full(size, UNLABELLED, np.uint8)
    for index, (x, y, width, height) in boxes:
        left, right = round(x + shrink * width), round(x + (1 - shrink) * width)
        top, bottom = round(y + shrink * height), round(y + (1 - shrink) * height)
        region = label[max(top, 0) : bottom, max(left, 0) : right]
        region[...] = np.where((region == UNLABELLED) | (region == index), index, _CONFLICT)
    label[label == _CONFLICT] = UNLABELLED
    return label
