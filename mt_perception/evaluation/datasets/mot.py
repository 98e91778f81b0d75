# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads true tracks in MOTChallenge's text format.

A line is ``frame,id,x,y,width,height,active[,class[,visibility]]``: the frame counts from 1, ``x``
and ``y`` are the left and upper edge, counted from 1 too, and an object with ``active`` 0 is
ignored. (Milan et al., arXiv 1603.00831.)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mt_perception.data_files import LARGE, read_text
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import (
    AnnotatedImage,
    Annotation,
    AnnotationSet,
    Skipped,
)

PEDESTRIAN = 1

_CLASS_NAMES: Mapping[int, str] = {
    PEDESTRIAN: 'person',
    3: 'car',
    4: 'bicycle',
    5: 'motorcycle',
}
"""Names of the MOT16 classes that count as objects."""

_LIKE_PEDESTRIANS = (2, 7, 8, 12)
"""Ignored classes: people on vehicles, static people, distractors and reflections."""

_MOST_FRAMES = 1_000_000

_MOST = 1e9
"""Largest value: a coordinate fits float32 and an identity int64."""


def find_tracks(folder: Path) -> Path | None:
    """The file of tracks of a folder: ``gt/gt.txt`` as downloaded, or ``gt.txt``."""
    return next((p for p in (folder / 'gt' / 'gt.txt', folder / 'gt.txt') if p.is_file()), None)


def frame_key(number: int) -> str:
    """The key of a frame by its number, which counts from 1."""
    return f'{number:06d}'


def read_tracks(path: Path, class_names: Mapping[int, str] | None = None) -> AnnotationSet:
    """Read the tracks of one recording; a line that cannot be used is skipped.

    Args:
        path: The text file.
        class_names: Class id → class name; None for those of MOT16. A file without classes has
            people only.

    Returns:
        An image for every frame up to the last annotated one, with the key ``frame_key``.
        Annotated exhaustively are the classes of active objects.

    Raises:
        SourceError: The file cannot be read.
    """
    names = _CLASS_NAMES if class_names is None else class_names
    skipped = Skipped()
    frames: dict[int, list[Annotation]] = {}
    for number, line in enumerate(read_text(path, SourceError, LARGE).splitlines(), 1):
        if line.strip():
            entry = f'{path.name}:{number}'
            frame, annotation = _annotation(line, names, class_names is None, entry, skipped)
            if annotation is not None:
                frames.setdefault(frame, []).append(annotation)
    required = {one.label for each in frames.values() for one in each if not one.crowd}
    images = tuple(
        AnnotatedImage(f'{frame_key(n)}.jpg', None, '', tuple(frames.get(n, ())))
        for n in range(1, max(frames, default=0) + 1)
    )
    return AnnotationSet(path, tuple(sorted(required)), images, skipped)


def _annotation(
    line: str, names: Mapping[int, str], is_default: bool, entry: str, skipped: Skipped
) -> tuple[int, Annotation | None]:
    """The frame and the object of a line; None for one that is left out."""
    try:
        values = [float(word) for word in line.split(',')]
    except ValueError:
        values = []
    # A NaN is not within the limit either.
    if len(values) < 6 or not all(abs(value) <= _MOST for value in values):
        skipped.add('line is not six or more numbers within ±1e9', entry)
        return 0, None
    frame, track, x, y, width, height = values[:6]
    if not 1 <= frame <= _MOST_FRAMES or frame != int(frame) or track != int(track):
        skipped.add('frame or identity is not a whole number, or frame not in 1 to 1e6', entry)
        return 0, None
    if width <= 0 or height <= 0:
        skipped.add('box is empty', entry)
        return 0, None
    class_id = int(values[7]) if len(values) > 7 and values[7] > 0 else PEDESTRIAN
    ignored = len(values) > 6 and values[6] == 0
    if is_default and class_id in _LIKE_PEDESTRIANS:
        class_id, ignored = PEDESTRIAN, True
    if class_id not in names:
        skipped.add('class id has no name', entry)
        return 0, None
    box = np.array([x - 1, y - 1, x - 1 + width, y - 1 + height], np.float32)
    return int(frame), Annotation(
        names[class_id], box, width * height, crowd=ignored, track=int(track)
    )
