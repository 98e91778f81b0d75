# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training samples: an image and the labels that exist for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import check_aspect
from mt_perception.evaluation.datasets.maps import MILLIMETRES, read_depth_map
from mt_perception.image.read import read_image


@dataclass(frozen=True)
class Boxes:
    """Labelled boxes of one image.

    Args:
        corners: (n, 4) float32 x1, y1, x2, y2 in pixels of the image.
        classes: (n,) int64 indices into the network's detection labels.
        complete: every object of every class is labelled. If False, unlabelled regions are
            unknown and must not count as background.
        scores: (n,) float32, scores of a teacher; None for labels.
    """

    corners: NDArray[np.float32]
    classes: NDArray[np.int64]
    complete: bool
    scores: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class NamedBox:
    """A labelled box with its data set's own name for the object.

    Args:
        name: of the category.
        left, top, width, height: in pixels of the stored image.
    """

    name: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Sample:
    """One image with the labels that exist for it; None means unlabelled, not empty.

    Args:
        name: unique over all sets, usable as a file name.
        image_path: the image file.
        size: (height, width) in pixels that the labels refer to.
        boxes: labelled boxes.
        semantic: returns class indices, (h, w) uint8, 255 unlabelled, stretched over the image.
        label_path: label image that `semantic` reads; None if there is no such file.
        depth_path: depth image along the optical axis, 0 unmeasured.
        depth_units: units of the depth image per metre.
        focal_px: focal length in pixels of the image; None if unknown.
        relative_depth_path: relative inverse depth of a teacher, uint16, unknown scale and shift.
        soft_label_path: class probabilities of a teacher times 255, .npy (h, w, C) uint8,
            stretched over the image.
        teacher_boxes_path: boxes of a teacher, .npy (n, 6) of x1, y1, x2, y2, class and score.
        objects: labelled boxes of every category, by name.
        zoom: largest magnification beyond that of other samples, as of a longer lens.
        tilt_deg: largest pitch and roll by which the camera is turned; needs `focal_px`.
    """

    name: str
    image_path: Path
    size: tuple[int, int]
    boxes: Boxes | None = None
    semantic: Callable[[], NDArray[np.uint8]] | None = field(default=None, repr=False)
    label_path: Path | None = None
    depth_path: Path | None = None
    depth_units: float = MILLIMETRES
    focal_px: float | None = None
    relative_depth_path: Path | None = None
    soft_label_path: Path | None = None
    teacher_boxes_path: Path | None = None
    objects: tuple[NamedBox, ...] = field(default=(), repr=False)
    zoom: float = 1.0
    tilt_deg: float = 0.0

    def image(self) -> NDArray[np.uint8]:
        """Read the image at the size that the labels refer to, (H, W, 3) BGR.

        Raises:
            ImageError: the file is missing, damaged or not an image.
            SourceError: the image has another aspect ratio than its labels.
        """
        image = read_image(self.image_path, self.size)
        if image.shape[:2] != self.size:
            height, width = self.size
            try:
                check_aspect((image.shape[0], image.shape[1]), self.size, str(self.image_path))
            except SourceError:
                raise SourceError(
                    f'{self.image_path} has {image.shape[1]}x{image.shape[0]} pixels, its labels '
                    f'are for {width}x{height}, which is another shape; scale the labels with the '
                    'image'
                ) from None
            image = np.asarray(cv2.resize(image, (width, height)), np.uint8)
        return image

    def teacher_boxes(self) -> Boxes | None:
        """Read the boxes of a teacher; None if there are none."""
        if self.teacher_boxes_path is None:
            return None
        rows = read_array(self.teacher_boxes_path)
        return Boxes(rows[:, :4], rows[:, 4].astype(np.int64), True, rows[:, 5])

    def depth(self) -> NDArray[np.float32] | None:
        """Read the depth in metres, (h, w), 0 unmeasured; None if there is none.

        Raises:
            SourceError: the file is damaged or has another aspect ratio than the image.
        """
        if self.depth_path is None:
            return None
        depth = read_depth_map(self.depth_path, self.depth_units)
        check_aspect((depth.shape[0], depth.shape[1]), self.size, str(self.depth_path))
        return np.nan_to_num(depth, nan=0.0)


def read_array(path: Path) -> NDArray[Any]:
    """Read a .npy file of the cache.

    Raises:
        SourceError: the file is missing or damaged.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (EOFError, OSError, ValueError) as error:
        raise SourceError(
            f'{path} of the cache is missing or damaged; remove it, then the next start writes it'
        ) from error


def count_pixels(samples: Iterable[Sample], classes: int) -> NDArray[np.int64]:
    """Count the labelled pixels of each class, (classes,)."""
    pixels = np.zeros(256, np.int64)
    for sample in samples:
        if sample.semantic is not None:
            pixels += np.bincount(sample.semantic().ravel(), minlength=256)
    return pixels[:classes]
