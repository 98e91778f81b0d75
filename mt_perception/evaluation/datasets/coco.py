# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads COCO annotation files; a bad entry is skipped and counted, the others are kept."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.data_files import LARGE, read_json
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import (
    AnnotatedImage,
    Annotation,
    AnnotationSet,
    Skipped,
)

_LISTS = ('images', 'annotations', 'categories')
_MAX_COORDINATE = 1e6
# A box with NaN costs only its own annotation.
_LIMITS = replace(LARGE, finite=False)


def read_coco_file(path: Path) -> AnnotationSet:
    """Read an annotation file in COCO's format (object detection).

    Ids may be numbers or text and need not be consecutive. An annotation without a usable box,
    of an unlisted image or of an unlisted category is skipped and counted.

    Args:
        path: The JSON file.

    Raises:
        SourceError: The file cannot be read or lacks one of COCO's three lists.
    """
    lists = _load(path)
    skipped = Skipped()
    names = _categories(lists['categories'], skipped)
    rows = _images(lists['images'], skipped)
    objects: dict[Hashable, list[Annotation]] = {number: [] for number in rows}
    for index, row in enumerate(lists['annotations']):
        entry = f'annotation {row["id"] if isinstance(row, dict) and "id" in row else index}'
        if not isinstance(row, dict):
            skipped.add('not an object', entry)
        elif _id(row.get('image_id')) not in objects:
            skipped.add('image is not listed', entry)
        elif _id(row.get('category_id')) not in names:
            skipped.add('category is not listed', entry)
        else:
            annotation = _annotation(row, names[_id(row['category_id'])], entry, skipped)
            if annotation is not None:
                objects[_id(row['image_id'])].append(annotation)
    images = tuple(
        AnnotatedImage(
            row['file_name'],
            _size(row),
            str(row.get('split', row.get('coco_split', ''))),
            tuple(objects[number]),
        )
        for number, row in rows.items()
    )
    return AnnotationSet(path, tuple(dict.fromkeys(names.values())), images, skipped)


def is_coco_file(path: Path) -> bool:
    """Whether a JSON file has COCO's three lists."""
    try:
        _load(path)
    except SourceError:
        return False
    return True


def _load(path: Path) -> Mapping[str, list[Any]]:
    data = read_json(path, SourceError, _LIMITS)
    missing = [
        name
        for name in _LISTS
        if not isinstance(data, dict) or not isinstance(data.get(name), list)
    ]
    if missing:
        raise SourceError(
            f'{path} is not in COCO format: it has no list of {", ".join(missing)}; '
            'expected "images", "annotations" and "categories"'
        )
    lists: Mapping[str, list[Any]] = data
    return lists


def _categories(rows: list[Any], skipped: Skipped) -> dict[Hashable, str]:
    names: dict[Hashable, str] = {}
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or _id(row.get('id')) is None or 'name' not in row:
            skipped.add('category without id or name', f'category {index}')
        elif names.setdefault(_id(row['id']), str(row['name'])) != str(row['name']):
            skipped.add('category id is used twice', f'category {row["id"]}')
    return names


def _images(rows: list[Any], skipped: Skipped) -> dict[Hashable, dict[str, Any]]:
    found: dict[Hashable, dict[str, Any]] = {}
    files: set[str] = set()
    for index, row in enumerate(rows):
        number = _id(row.get('id')) if isinstance(row, dict) else None
        name = row.get('file_name') if isinstance(row, dict) else None
        if number is None or not isinstance(name, str) or not PurePosixPath(name).name:
            skipped.add('image without id or file name', f'image {index}')
        elif number in found or name in files:
            skipped.add('image is listed twice', name)
        else:
            found[number] = row
            files.add(name)
    return found


def _annotation(
    row: Mapping[str, Any], label: str, entry: str, skipped: Skipped
) -> Annotation | None:
    numbers = _numbers(row.get('bbox'))
    if len(numbers) != 4:
        skipped.add('box is not four finite numbers', entry)
        return None
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        skipped.add('box is empty', entry)
        return None
    area = _numbers([row.get('area')])
    return Annotation(
        label,
        np.array([x, y, x + width, y + height], np.float32),
        area[0] if area else width * height,
        row.get('iscrowd') == 1,
        _polygons(row.get('segmentation'), entry, skipped),
    )


def _polygons(value: Any, entry: str, skipped: Skipped) -> tuple[NDArray[np.float32], ...]:
    """Outlines of three points or more; run-length masks are not read."""
    polygons = []
    for ring in value if isinstance(value, list) else ():
        numbers = _numbers(ring)
        if len(numbers) < 6 or len(numbers) % 2:
            skipped.add('polygon is not three or more points', entry)
        else:
            polygons.append(np.array(numbers, np.float32).reshape(-1, 2))
    return tuple(polygons)


def _numbers(values: Any) -> list[float]:
    """The values as floats; empty if one of them is no finite number of a usable size."""
    if not isinstance(values, (list, tuple)):
        return []
    numbers = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return []
        # False for NaN too. A huge int is compared, because it does not fit into a float.
        if not -(_MAX_COORDINATE**2) < value < _MAX_COORDINATE**2:
            return []
        numbers.append(float(value))
    return numbers


def _id(value: Any) -> Hashable:
    """An id to compare: the text ``"7"`` and the number 7 are the same; None where unusable."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    numbers = _numbers([row.get('height'), row.get('width')])
    if len(numbers) != 2 or not all(1 <= number < _MAX_COORDINATE for number in numbers):
        return None
    return int(numbers[0]), int(numbers[1])
