# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Object annotations of a data set as plain data, whatever file format they come from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError

MAX_FILE_BYTES = 1 << 30
"""Annotation files and maps larger than this are refused."""

_EXAMPLES = 3
_EXAMPLE_LENGTH = 200


@dataclass(frozen=True, eq=False)
class Annotation:
    """One annotated object.

    Attributes:
        label: Class name in the data set.
        box: float32 (4,): x0, y0, x1, y1.
        area: Area of the mask where the file has one, else of the box.
        crowd: Whether one region marks a group of objects (COCO's ``iscrowd``).
        polygons: float32 (n, 2) outlines; empty where the file has none.
        track: Identity in the recording; None where the file has none.
    """

    label: str
    box: NDArray[np.float32]
    area: float
    crowd: bool = False
    polygons: tuple[NDArray[np.float32], ...] = ()
    track: int | None = None


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image with its annotations, in the coordinates of the file.

    Attributes:
        file_name: Path inside the folder of images, with ``/``.
        size: (height, width) in pixels that the coordinates refer to; None where the file does
            not say; (1, 1) where coordinates are fractions of the image (YOLO).
        split: Name of the split, or empty.
        annotations: The objects.
    """

    file_name: str
    size: tuple[int, int] | None
    split: str
    annotations: tuple[Annotation, ...]

    def in_pixels(self, size: tuple[int, int]) -> tuple[Annotation, ...]:
        """The annotations in pixels of an image of (height, width).

        Raises:
            SourceError: The annotations are for an image of another aspect ratio.
        """
        if self.size is None or self.size == size:
            return self.annotations
        if self.size != (1, 1):
            check_aspect(self.size, size, f'the annotation of {self.file_name}')
        y_scale, x_scale = size[0] / self.size[0], size[1] / self.size[1]
        scale = np.array([x_scale, y_scale], np.float32)
        return tuple(
            replace(
                annotation,
                box=annotation.box * np.tile(scale, 2),
                area=annotation.area * x_scale * y_scale,
                polygons=tuple(polygon * scale for polygon in annotation.polygons),
            )
            for annotation in self.annotations
        )


@dataclass
class Skipped:
    """Entries of a file that were left out: a count and a few names for each reason."""

    counts: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, entry: object) -> None:
        """Count one entry, named by its id, file or line."""
        self.counts[reason] += 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(str(entry)[:_EXAMPLE_LENGTH])

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each reason."""
        return tuple(
            f'{count} skipped, {reason}: {", ".join(self._examples[reason])}'
            f'{" …" if count > _EXAMPLES else ""}'
            for reason, count in self.counts.items()
        )


@dataclass(frozen=True, eq=False)
class AnnotationSet:
    """All annotations of a data set.

    Attributes:
        path: The file or folder they come from.
        labels: Names of the classes that are annotated, in the file's order.
        images: The annotated images; those without objects included.
        skipped: Entries that were left out.
    """

    path: Path
    labels: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    skipped: Skipped


def key_of(file_name: str) -> str:
    """The key of an image: its path inside the folder, without the suffix."""
    return str(PurePosixPath(file_name).with_suffix(''))


def inside(folder: Path, name: str) -> Path:
    """A file of a folder by the name that a data set gives it; links are followed.

    Raises:
        SourceError: The name leads out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or '\0' in name:
        raise SourceError(f'file name {name!r} leads out of {folder}; refused')
    return folder / path


def check_aspect(found: tuple[int, int], size: tuple[int, int], what: str) -> None:
    """Make sure that something of (height, width) can show the same view as an image of ``size``.

    Raises:
        SourceError: The aspect ratios differ by more than rounding.
    """
    height, width = found
    # Rounding of a thumbnail's size is fine; a crop or another camera is not.
    if abs(height * size[1] - width * size[0]) > 2 * max(height, width, *size):
        raise SourceError(
            f'{what} has {width}x{height} pixels, which is another shape than the image of '
            f'{size[1]}x{size[0]}; register it to the image first'
        )
