# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of detection errors, and how much AP each costs (TIDE).

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
arXiv 2008.08115.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.metrics.average_precision import average_precision
from mt_perception.evaluation.metrics.matching import MAX_DETECTIONS, box_overlaps

FOREGROUND = 0.5
"""IoU of a true positive."""

BACKGROUND = 0.1
"""A detection is on the background if its IoU with every object is at most this."""

RIGHT, MISSED = 'right', 'missed'

KINDS = ('classification', 'localisation', 'both', 'duplicate', 'background', MISSED)
"""Kinds of errors (TIDE, section 2.2)."""


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """The detections of one frame that count, and its objects; labels are class names.

    Attributes:
        scores: float64 (N,).
        labels: (N,), class of each detection.
        kinds: (N,), ``right`` or one of ``KINDS``.
        corrected: (N,), class of the object that the detection finds once its error is
            corrected; empty if correcting the error removes the detection.
        objects: (M,), class of each object.
        missed: bool (M,), no detection finds the object, and correcting none would.
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.object_]
    kinds: NDArray[np.object_]
    corrected: NDArray[np.object_]
    objects: NDArray[np.object_]
    missed: NDArray[np.bool_]


def frame_errors(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    labels: NDArray[np.object_],
    true_boxes: NDArray[np.floating],
    true_labels: NDArray[np.object_],
    crowd: NDArray[np.bool_],
) -> FrameErrors:
    """Find the errors of one frame.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 of the detections.
        scores: (N,).
        labels: (N,) class names.
        true_boxes: (M, 4) of the objects.
        true_labels: (M,) class names.
        crowd: (M,); a detection that matches no object and lies by half in a crowd of its class
            does not count.
    """
    order = np.argsort(-scores, kind='stable')[:MAX_DETECTIONS]
    boxes, scores, labels = boxes[order], np.asarray(scores, np.float64)[order], labels[order]
    objects = true_labels[~crowd]
    overlaps = box_overlaps(boxes, true_boxes[~crowd])
    same = labels[:, None] == objects[None]
    owner = _matches(overlaps * same)
    inside = box_overlaps(boxes, true_boxes[crowd], np.ones(int(crowd.sum()), np.bool_))
    inside *= labels[:, None] == true_labels[crowd][None]
    counted = (owner >= 0) | ~np.any(inside > FOREGROUND, axis=1)
    found = np.zeros(len(objects), np.bool_)
    found[owner[owner >= 0]] = True
    kinds, targets = _kinds(overlaps, same, owner, found)
    corrected, usable = _corrected(kinds, targets, objects, found, counted)
    return FrameErrors(
        scores[counted],
        labels[counted],
        kinds[counted],
        corrected[counted],
        objects,
        ~found & ~usable,
    )


def _matches(overlaps: NDArray[np.float64]) -> NDArray[np.intp]:
    """The object that each detection finds, best score first; -1 for none."""
    owner = np.full(len(overlaps), -1, np.intp)
    left = overlaps.copy()
    for row in np.flatnonzero(overlaps.max(axis=1, initial=0) >= FOREGROUND):
        best = int(left[row].argmax())
        if left[row, best] >= FOREGROUND:
            owner[row] = best
            left[:, best] = 0
    return owner


def _kinds(
    overlaps: NDArray[np.float64],
    same: NDArray[np.bool_],
    owner: NDArray[np.intp],
    found: NDArray[np.bool_],
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """The kind of each detection, and the object that it would find without its error."""
    kinds = np.full(len(overlaps), RIGHT, object)
    targets = np.full(len(overlaps), -1, np.intp)
    for row in np.flatnonzero(owner < 0):
        own, other = overlaps[row] * same[row], overlaps[row] * ~same[row]
        if not own.size:
            kinds[row] = 'background'
        elif BACKGROUND <= own.max() <= FOREGROUND:
            kinds[row], targets[row] = 'localisation', own.argmax()
        elif other.max() >= FOREGROUND:
            kinds[row], targets[row] = 'classification', other.argmax()
        elif (own * found).max() >= FOREGROUND:
            kinds[row] = 'duplicate'
        elif overlaps[row].max() <= BACKGROUND:
            kinds[row] = 'background'
        else:
            kinds[row] = 'both'
    return kinds, targets


def _corrected(
    kinds: NDArray[np.object_],
    targets: NDArray[np.intp],
    objects: NDArray[np.object_],
    found: NDArray[np.bool_],
    counted: NDArray[np.bool_],
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Class of each corrected detection, and the objects that one would find.

    Detections are sorted by score: of several with one object, the first finds it.
    """
    corrected = np.full(len(kinds), '', object)
    usable = np.zeros(len(objects), np.bool_)
    for row in np.flatnonzero((targets >= 0) & counted):
        if not found[targets[row]] and not usable[targets[row]]:
            corrected[row] = objects[targets[row]]
            usable[targets[row]] = True
    return corrected, usable


def error_costs(frames: Sequence[FrameErrors]) -> dict[str, dict[str, float | int]]:
    """Number of errors of each kind, and the AP50 that correcting all of the kind would add.

    Returns:
        Kind → ``count`` and ``d_ap50``; empty without objects.
    """
    if not frames:
        return {}
    scores = np.concatenate([frame.scores for frame in frames])
    labels = np.concatenate([frame.labels for frame in frames])
    kinds = np.concatenate([frame.kinds for frame in frames])
    corrected = np.concatenate([frame.corrected for frame in frames])
    objects = np.concatenate([frame.objects for frame in frames])
    missed = np.concatenate([frame.missed for frame in frames])
    if not len(objects):
        return {}
    right = kinds == RIGHT
    names = sorted(set(objects.tolist()))
    before = _mean_ap(scores, labels, right, objects, names)
    costs = {}
    for kind in KINDS[:-1]:
        wrong = kinds == kind
        kept = ~wrong | (corrected != '')
        after = _mean_ap(
            scores[kept],
            np.where(wrong, corrected, labels)[kept],
            (right | wrong)[kept],
            objects,
            names,
        )
        costs[kind] = {'count': int(wrong.sum()), 'd_ap50': max(0.0, after - before)}
    after = _mean_ap(scores, labels, right, objects[~missed], names)
    costs[MISSED] = {'count': int(missed.sum()), 'd_ap50': max(0.0, after - before)}
    return costs


def _mean_ap(
    scores: NDArray[np.float64],
    labels: NDArray[np.object_],
    right: NDArray[np.bool_],
    objects: NDArray[np.object_],
    names: Sequence[str],
) -> float:
    """AP50, the mean over classes that have an object or a detection."""
    values = []
    for name in names:
        chosen, total = labels == name, int((objects == name).sum())
        if not total:
            values += [0.0] if chosen.any() else []
            continue
        ranked = right[chosen][np.argsort(-scores[chosen], kind='stable')]
        place = np.flatnonzero(ranked)
        found = np.arange(1, len(place) + 1)
        ap = average_precision(found[None], place[None] + 1, np.array([total]))
        values.append(float(ap[0]))
    return sum(values) / len(values) if values else 0.0
