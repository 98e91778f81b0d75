# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training samples: an image and the labels that exist for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError


@dataclass(frozen=True)
class Boxes:
    """Labelled boxes of one image.

    Args:
        corners: (n, 4) float32 x1, y1, x2, y2 in pixels of the stored image.
        classes: (n,) int64 indices into the network's detection labels.
        complete: every object of every class is labelled. If False, unlabelled regions are
            unknown and must not count as background.
    """

    corners: NDArray[np.float32]
    classes: NDArray[np.int64]
    complete: bool


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
        size: (height, width) of the stored image.
        boxes: labelled boxes.
        semantic: returns class indices, (h, w) uint8, 255 unlabelled, stretched over the image.
        depth_path: uint16 millimetres along the optical axis, 0 unmeasured.
        focal_px: focal length in pixels of the stored image; None if unknown.
        relative_depth_path: relative inverse depth of a teacher, uint16, unknown scale and shift.
        soft_label_path: class probabilities of a teacher times 255, .npy (h, w, C) uint8,
            stretched over the image.
        objects: labelled boxes of every category, by name.
    """

    name: str
    image_path: Path
    size: tuple[int, int]
    boxes: Boxes | None = None
    semantic: Callable[[], NDArray[np.uint8]] | None = field(default=None, repr=False)
    depth_path: Path | None = None
    focal_px: float | None = None
    relative_depth_path: Path | None = None
    soft_label_path: Path | None = None
    objects: tuple[NamedBox, ...] = field(default=(), repr=False)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) BGR.

    Raises:
        SourceError: the file is missing or not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f'{path}: expected an image file')
    return image.astype(np.uint8, copy=False)


def read_map(path: Path) -> NDArray[np.generic]:
    """Read a label or depth image with its own dtype, (H, W).

    Raises:
        SourceError: the file is missing, not an image, or has several channels.
    """
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2:
        raise SourceError(f'{path}: expected an image file with one channel')
    return values


def read_depth(path: Path) -> NDArray[np.float32]:
    """Read depth in metres, (H, W) float32, 0 unmeasured."""
    return (read_map(path).astype(np.float32) * np.float32(1e-3)).astype(np.float32)


def count_pixels(samples: Iterable[Sample], classes: int) -> NDArray[np.int64]:
    """Count the labelled pixels of each class, (classes,)."""
    pixels = np.zeros(256, np.int64)
    for sample in samples:
        if sample.semantic is not None:
            pixels += np.bincount(sample.semantic().ravel(), minlength=256)
    return pixels[:classes]
