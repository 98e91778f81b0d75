# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads YOLO label files: one text file an image, one object a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.data_files import LARGE, read_text
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import (
    AnnotatedImage,
    Annotation,
    AnnotationSet,
    Skipped,
    inside,
    key_of,
)


def read_yolo_labels(
    folder: Path, file_names: Iterable[str], names: Mapping[int, str]
) -> AnnotationSet:
    """Read YOLO labels: ``class cx cy width height`` or ``class x y x y …``, in fractions.

    An image without a text file has no objects. A line that cannot be used is skipped.

    Args:
        folder: The folder of text files, named like the images.
        file_names: The images, as paths inside their folder.
        names: Class id → class name.

    Raises:
        SourceError: A text file cannot be read.
    """
    skipped = Skipped()
    images = []
    there = {path.relative_to(folder).as_posix() for path in folder.rglob('*.txt')}
    for file_name in file_names:
        name = f'{key_of(file_name)}.txt'
        path = inside(folder, name)
        lines = read_text(path, SourceError, LARGE).splitlines() if name in there else []
        there.discard(name)
        annotations = []
        for number, line in enumerate(lines, 1):
            if line.strip():
                annotation = _annotation(line, names, f'{path.name}:{number}', skipped)
                annotations += [] if annotation is None else [annotation]
        images.append(AnnotatedImage(file_name, (1, 1), '', tuple(annotations)))
    for name in sorted(there - {'classes.txt', 'labels.txt'}):
        skipped.add('no image has the name of the label file', name)
    return AnnotationSet(folder, tuple(dict.fromkeys(names.values())), tuple(images), skipped)


def _annotation(
    line: str, names: Mapping[int, str], entry: str, skipped: Skipped
) -> Annotation | None:
    try:
        number, *values = (float(word) for word in line.split())
    except ValueError:
        skipped.add('line is not numbers', entry)
        return None
    if not math.isfinite(number) or number != int(number) or int(number) not in names:
        skipped.add('class id has no name', entry)
        return None
    if not all(-1 <= value <= 2 for value in values):
        skipped.add('coordinates are not fractions of the image', entry)
        return None
    if len(values) == 4:
        polygons: tuple[NDArray[np.float32], ...] = ()
        x, y, width, height = values
        box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)
    elif len(values) >= 6 and len(values) % 2 == 0:
        polygon = np.array(values, np.float32).reshape(-1, 2)
        polygons = (polygon,)
        box = np.concatenate([polygon.min(axis=0), polygon.max(axis=0)])
    else:
        skipped.add('line is neither a box nor a polygon', entry)
        return None
    if not (box[2:] > box[:2]).all():
        skipped.add('box is empty', entry)
        return None
    return Annotation(
        names[int(number)], box, float(np.prod(box[2:] - box[:2])), polygons=polygons
    )
