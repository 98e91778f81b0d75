# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Greedy matching of detections to objects in one image, as in COCO's protocol.

The matches of an image are kept as bit masks, so that average precision over resamples of the
images (``mt_perception.evaluation.comparison``) needs no second matching.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""IoU thresholds of a true positive (COCO: 0.5, 0.55 … 0.95)."""

AREA_RANGES: Mapping[str, tuple[float, float]] = {
    'all': (0.0, 1e10),
    'small': (0.0, 32.0**2),
    'medium': (32.0**2, 96.0**2),
    'large': (96.0**2, 1e10),
}
"""Size → smallest and largest area of an object in square pixels, both included."""

MAX_DETECTIONS = 100
"""Upper limit of detections of one class in one image; lower scores are ignored."""

CASES = len(AREA_RANGES) * len(IOU_THRESHOLDS)
"""One bit for each size and IoU threshold: bit ``size · 10 + threshold`` of the masks."""

_LIMITS = np.array(list(AREA_RANGES.values()))  # (A, 2)
_BITS = np.left_shift(np.uint64(1), np.arange(CASES, dtype=np.uint64))


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of one image's detections of one class, highest score first.

    Attributes:
        scores: float64 (N,).
        found: uint64 (N,); bit ``size · 10 + threshold`` is set for a true positive.
        ignored: uint64 (N,); the same bits, set for a detection that is ignored: it matches a
            crowd, or has another size.
        objects: int64 (A,), number of objects by size.
    """

    scores: NDArray[np.float64]
    found: NDArray[np.uint64]
    ignored: NDArray[np.uint64]
    objects: NDArray[np.int64]


def box_overlaps(
    boxes: NDArray[np.floating],
    others: NDArray[np.floating],
    crowd: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Intersection over union of every box with every other.

    Args:
        boxes: (N, 4) as x0, y0, x1, y1 in pixels.
        others: (M, 4) likewise.
        crowd: (M,); where set, the union is the first box alone, so that a detection inside a
            crowd overlaps it fully.

    Returns:
        float64 (N, M) in [0, 1].
    """
    a = np.asarray(boxes, np.float64).reshape(-1, 1, 4)
    b = np.asarray(others, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inside = np.prod(np.maximum(sides, 0), axis=-1)
    area = np.prod(a[..., 2:] - a[..., :2], axis=-1)
    union = area + np.prod(b[..., 2:] - b[..., :2], axis=-1) - inside
    if crowd is not None:
        union = np.where(crowd[None, :], area, union)
    overlaps: NDArray[np.float64] = np.zeros_like(inside)
    np.divide(inside, union, out=overlaps, where=inside > 0)
    return overlaps


def match(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    objects: NDArray[np.floating],
    areas: NDArray[np.floating],
    crowd: NDArray[np.bool_],
) -> Matches:
    """Match each detection of one class in one image to an object, highest score first.

    A detection matches the unmatched object that it overlaps most. Objects of the size range
    take precedence over ignored ones (crowds, other sizes); a crowd matches any number.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 of the detections.
        scores: (N,).
        objects: (M, 4) boxes of the annotated objects.
        areas: (M,) the objects' areas in square pixels (of the mask where one is known).
        crowd: (M,) whether an entry marks a group of objects.
    """
    order = np.argsort(-scores, kind='stable')[:MAX_DETECTIONS]
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)[order]
    skipped = crowd | _outside(areas)  # (A, M)
    hit, vain = _assign(box_overlaps(boxes, objects, crowd), skipped, crowd)
    size = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    vain |= ~hit & _outside(size)[:, None, :]
    return Matches(
        scores=np.asarray(scores, np.float64)[order],
        found=_pack(hit),
        ignored=_pack(vain),
        objects=np.count_nonzero(~skipped, axis=1).astype(np.int64),
    )


def bit(mask: NDArray[np.uint64], size: int, overlap: int) -> NDArray[np.bool_]:
    """Unpack one bit of the masks: (N,) bool for an index of size and of IoU threshold."""
    chosen: NDArray[np.bool_] = (mask & _BITS[size * len(IOU_THRESHOLDS) + overlap]) != 0
    return chosen


def _outside(areas: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether an area (N,) is out of each range: (A, N)."""
    value = np.asarray(areas, np.float64)[None, :]
    return (value < _LIMITS[:, :1]) | (value > _LIMITS[:, 1:])


def _assign(
    overlaps: NDArray[np.float64], skipped: NDArray[np.bool_], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Greedy matching: detections matched to an object, and to an ignored one; (A, T, N)."""
    n, m = overlaps.shape
    hit = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), n), np.bool_)
    vain = np.zeros_like(hit)
    if m == 0:
        return hit, vain
    free = np.ones((*hit.shape[:2], m), np.bool_)
    for i in np.flatnonzero(overlaps.max(axis=1) >= IOU_THRESHOLDS[0]):
        # Ranks are exact, and among equal overlaps the later object wins.
        rank = np.empty(m, np.int64)
        rank[np.argsort(overlaps[i], kind='stable')] = np.arange(m)
        reached = overlaps[i] >= IOU_THRESHOLDS[:, None]  # (T, M)
        worth = np.where(free & reached[None], rank + m * ~skipped[:, None, :], -1)
        best = worth.argmax(axis=2)  # (A, T)
        any_left = worth.max(axis=2) >= 0
        in_vain = np.take_along_axis(skipped, best, axis=1)
        hit[:, :, i] = any_left & ~in_vain
        vain[:, :, i] = any_left & in_vain
        used = any_left & ~crowd[best]
        a, t = np.nonzero(used)
        free[a, t, best[a, t]] = False
    return hit, vain


def _pack(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack (A, T, N) flags into N masks."""
    bits = flags.reshape(CASES, -1).astype(np.uint64) * _BITS[:, None]
    packed: NDArray[np.uint64] = bits.sum(axis=0, dtype=np.uint64)
    return packed
