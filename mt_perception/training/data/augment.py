# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation: a random view, flip and colour distortion of a sample and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.maps import read_label_map
from mt_perception.training.data.samples import Boxes, Sample, read_array
from mt_perception.training.data.tilt import Tilt, random_tilt
from mt_perception.types import UNLABELLED

_Scalar = TypeVar('_Scalar', np.uint8, np.float32)

PAD_VALUE = 114
LABEL_STRIDE = 4
# Boxes with a smaller visible share are dropped.
_MIN_VISIBLE = 0.25
_MIN_SIDE_PX = 3.0


@dataclass(frozen=True)
class View:
    """Placement of a stored image on the network's canvas: scale, shift, then flip.

    Args:
        scale: canvas pixels per pixel of the stored image.
        left: canvas x of the image's left edge, negative where it is cropped.
        top: canvas y of the image's upper edge.
        flip: mirror the canvas afterwards.
        size: (height, width) of the canvas.
    """

    scale: float
    left: int
    top: int
    flip: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class Example:
    """One training example. Maps are at stride 4 of the canvas.

    Args:
        clean: (H, W, 3) uint8 BGR, input of the teachers.
        image: (H, W, 3) uint8 BGR, the same view with distorted colours, blur and noise.
        boxes: boxes in canvas pixels, or None.
        semantic: (H/4, W/4) uint8, 255 unlabelled.
        depth_per_focal: (H/4, W/4) float32, metres over canvas focal length, 0 unmeasured.
        relative_depth: (H/4, W/4) float32, inverse depth of a teacher, negative where unknown.
        inside: (H/4, W/4) bool, True on the image, False on the border.
        soft_labels: (C, H/4, W/4) uint8, probabilities of a teacher times 255, or None.
        teacher_boxes: boxes of a teacher in canvas pixels, with scores, or None.
    """

    clean: NDArray[np.uint8]
    image: NDArray[np.uint8]
    boxes: Boxes | None
    semantic: NDArray[np.uint8]
    depth_per_focal: NDArray[np.float32]
    relative_depth: NDArray[np.float32]
    inside: NDArray[np.bool_]
    soft_labels: NDArray[np.uint8] | None = None
    teacher_boxes: Boxes | None = None


def random_view(
    stored: tuple[int, int],
    canvas: tuple[int, int],
    rng: np.random.Generator,
    zoom: float = 1.0,
) -> View:
    """Draw a view between the whole image with a wide border and a crop that fills the canvas.

    With `zoom`, crops are magnified up to that factor.
    """
    fits = [have / need for have, need in zip(canvas, stored, strict=True)]
    low, high = 0.8 * min(fits), 1.3 * max(*fits, 1.15 * min(fits)) * zoom
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    top, left = (
        int(rng.integers(min(0, room), max(0, room) + 1))
        for room in (
            have - max(1, round(need * scale)) for have, need in zip(canvas, stored, strict=True)
        )
    )
    return View(scale, left, top, bool(rng.random() < 0.5), canvas)


def make_example(sample: Sample, canvas: tuple[int, int], rng: np.random.Generator) -> Example:
    """Read a sample and apply a random view."""
    view = random_view(sample.size, canvas, rng, sample.zoom)
    size = sample.size
    tilt = random_tilt(sample.tilt_deg, sample.focal_px, size, rng)
    clean = _place_image(tilt.image(sample.image(), PAD_VALUE), view)
    semantic = sample.semantic() if sample.semantic else np.full((1, 1), UNLABELLED, np.uint8)
    semantic = tilt.map(semantic, UNLABELLED)
    inside = _place_map(tilt.map(np.ones((1, 1), np.uint8), 0), size, view, 0) > 0
    taught = sample.teacher_boxes()
    rows, columns = _extent(view, size)
    image = clean.copy()
    # The border keeps the padding value of deployment.
    image[rows, columns] = distort(clean[rows, columns], rng)
    return Example(
        clean=clean,
        image=image,
        boxes=None if sample.boxes is None else place_boxes(sample.boxes, view, size),
        semantic=_place_map(semantic, size, view, UNLABELLED),
        depth_per_focal=_depth_per_focal(sample, view, tilt),
        relative_depth=_relative_depth(sample, view),
        inside=inside,
        soft_labels=_soft_labels(sample, view),
        teacher_boxes=None if taught is None else place_boxes(taught, view, size),
    )


def place_boxes(boxes: Boxes, view: View, stored: tuple[int, int]) -> Boxes:
    """Transform boxes to the canvas, clip them, and drop boxes that are mostly out of view."""
    height, width = view.size
    moved = boxes.corners * view.scale + np.array([view.left, view.top] * 2, np.float32)
    if view.flip:
        moved = np.stack([width - moved[:, 2], moved[:, 1], width - moved[:, 0], moved[:, 3]], 1)
    clipped = np.clip(moved, 0, np.array([width, height] * 2, np.float32))
    sides = clipped[:, 2:] - clipped[:, :2]
    area = np.prod(moved[:, 2:] - moved[:, :2], axis=1)
    keep = (np.prod(sides, axis=1) >= _MIN_VISIBLE * area) & (sides.min(axis=1) >= _MIN_SIDE_PX)
    scores = None if boxes.scores is None else boxes.scores[keep]
    return Boxes(clipped[keep].astype(np.float32), boxes.classes[keep], boxes.complete, scores)


def distort(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change exposure, contrast, white balance and saturation; sometimes add blur or noise."""
    ramp = np.linspace(0, 1, 256)
    curves = [
        np.clip(rng.uniform(0.9, 1.1) * gain * ramp**gamma + offset, 0, 1) * 255
        for gain, gamma, offset in [
            (rng.uniform(0.7, 1.3), np.exp(rng.uniform(-0.35, 0.35)), rng.uniform(-0.08, 0.08))
        ]
        * 3
    ]
    out = cv2.LUT(image, np.stack(curves, axis=-1).astype(np.uint8)[None])
    saturation = 0.0 if rng.random() < 0.08 else rng.uniform(0.5, 1.5)
    grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    out = cv2.addWeighted(out, saturation, grey, 1 - saturation, 0)
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.25:
        noise = rng.standard_normal(out.shape, np.float32) * rng.uniform(2, 14)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    return out.astype(np.uint8, copy=False)


def _place_image(image: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    scaled_size = tuple(max(1, round(n * view.scale)) for n in image.shape[1::-1])
    how = cv2.INTER_AREA if view.scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, scaled_size, interpolation=how)
    canvas = np.full((*view.size, 3), PAD_VALUE, np.uint8)
    (top, row), (left, column) = (
        (max(shift, 0), max(-shift, 0)) for shift in (view.top, view.left)
    )
    part = scaled[row : row + view.size[0] - top, column : column + view.size[1] - left]
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return np.ascontiguousarray(canvas[:, ::-1]) if view.flip else canvas


def _extent(view: View, stored: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of the canvas that the image covers."""
    ends = [
        (max(shift, 0), min(shift + max(1, round(n * view.scale)), have))
        for shift, n, have in zip((view.top, view.left), stored, view.size, strict=True)
    ]
    rows, columns = (slice(a, b) for a, b in ends)
    if view.flip:
        columns = slice(view.size[1] - columns.stop, view.size[1] - columns.start)
    return rows, columns


def _place_map(
    values: NDArray[_Scalar], stored: tuple[int, int], view: View, border: float
) -> NDArray[_Scalar]:
    """Warp a map that is stretched over the stored image to stride 4 of the canvas.

    Nearest neighbour: interpolation would mix classes, and depths across an edge.
    """
    placed = cv2.warpAffine(
        values,
        _to_labels(values.shape, stored, view),
        tuple(n // LABEL_STRIDE for n in view.size[::-1]),
        flags=cv2.INTER_NEAREST,
        borderValue=border,
    )
    return np.asarray(placed, values.dtype)


def _to_labels(shape: tuple[int, ...], stored: tuple[int, int], view: View) -> NDArray[np.float64]:
    """Return the 2x3 matrix from a map stretched over the stored image to the label grid."""
    scales = (have * view.scale / n for have, n in zip(stored, shape[:2], strict=True))
    sy, sx = (scale / LABEL_STRIDE for scale in scales)
    dx, dy = view.left / LABEL_STRIDE, view.top / LABEL_STRIDE
    # Pixel centres lie at halves: x' + 0.5 = s (x + 0.5) + d.
    matrix = np.array([[sx, 0, 0.5 * sx + dx - 0.5], [0, sy, 0.5 * sy + dy - 0.5]])
    if view.flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += view.size[1] // LABEL_STRIDE - 1
    return matrix


def _depth_per_focal(sample: Sample, view: View, tilt: Tilt) -> NDArray[np.float32]:
    shape = tuple(n // LABEL_STRIDE for n in view.size)
    measured = sample.depth()
    if measured is None or sample.focal_px is None:
        return np.zeros(shape, np.float32)
    depth = _place_map(tilt.depth(measured), sample.size, view, 0)
    # Scaling an image scales the focal length.
    return depth / np.float32(sample.focal_px * view.scale)


def _relative_depth(sample: Sample, view: View) -> NDArray[np.float32]:
    shape = tuple(n // LABEL_STRIDE for n in view.size)
    if sample.relative_depth_path is None:
        return np.full(shape, -1, np.float32)
    inverse = read_label_map(sample.relative_depth_path).astype(np.float32) / np.float32(65535)
    return _place_map(inverse, sample.size, view, -1)


def _soft_labels(sample: Sample, view: View) -> NDArray[np.uint8] | None:
    if sample.soft_label_path is None:
        return None
    values = read_array(sample.soft_label_path)
    matrix = _to_labels(values.shape, sample.size, view)
    size = tuple(n // LABEL_STRIDE for n in view.size[::-1])
    # OpenCV fills the border of at most four channels.
    parts = [
        cv2.warpAffine(np.ascontiguousarray(values[..., c : c + 4]), matrix, size, borderValue=0)
        for c in range(0, values.shape[2], 4)
    ]
    placed = np.concatenate([part.reshape(*size[::-1], -1) for part in parts], axis=2)
    return np.ascontiguousarray(placed.transpose(2, 0, 1)).astype(np.uint8, copy=False)
