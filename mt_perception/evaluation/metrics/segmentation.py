# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation metrics: intersection over union, pixel accuracy and confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.confidence import (
    Counts,
    calibration_error,
    confidence_counts,
    counts_from_json,
    counts_to_json,
    reliability,
)
from mt_perception.evaluation.records import FrameRecord, Json
from mt_perception.types import SEGMENTATION, UNLABELLED, Result

Confusion = Mapping[str, Mapping[str, int]]
"""True class → predicted class → pixels; only pairs that occur."""

NO_CLASS = ''
"""The predicted class of an unlabelled pixel."""


class SegmentationMetric:
    """Mean intersection over union, per class and overall, of label images.

    With n_ij the pixels of class i with predicted class j, summed over all frames,

        IoU_i = n_ii / (Σ_j n_ij + Σ_j n_ji − n_ii)      miou = mean over the classes of IoU_i
        pixel_accuracy = Σ_i n_ii / Σ_ij n_ij

    Pixels without a true class (255) are ignored. A class that is neither in the ground truth
    nor predicted has no IoU and is not in the mean.

    Attributes:
        confidence: Pixels by their confidence, of results that have one.
    """

    name = SEGMENTATION
    headline: Mapping[str, bool] = {'miou': True, 'pixel_accuracy': True}
    """Name of a headline metric → whether a higher value is better."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._frames: list[Confusion] = []
        self.confidence: Counts = np.zeros((256, 2), np.int64)

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame; a failed segmentation has only unlabelled pixels.

        Returns:
            ``miou`` and ``pixel_accuracy`` of this frame, and its ``confusion``; empty without a
            true label image.
        """
        truth = None if sample.truth is None else sample.truth.segmentation
        if sample.truth is None or truth is None or SEGMENTATION not in result.execution.tasks:
            self._frames.append({})
            return {}
        given = result.segmentation
        labels = sample.truth.segmentation_labels
        if given is None:
            return self.observe(np.full_like(truth, UNLABELLED), truth, labels)
        figures = self.observe(given.class_ids, truth, labels)
        if given.confidence is None or not figures:
            return figures
        right, known = given.class_ids == truth, truth < len(labels)
        counts = confidence_counts(given.confidence, right, known)
        self.confidence += counts
        return {**figures, 'confidence': counts_to_json(counts)}

    def observe(
        self, given: NDArray[np.uint8], truth: NDArray[np.uint8], labels: Sequence[str]
    ) -> Mapping[str, Json]:
        """Add one frame's label images, (H, W) both, of the same labels; see ``process``."""
        counts = confusion(given, truth, labels)
        self._frames.append(counts)
        figures = summarise(counts)
        if figures['miou'] is None:
            return {}
        return {
            'miou': figures['miou'],
            'pixel_accuracy': figures['pixel_accuracy'],
            'confusion': counts,
        }

    def add(self, record: FrameRecord) -> None:
        """Add a frame from its record."""
        metrics = record.metrics.get(self.name, {})
        self._frames.append(metrics.get('confusion', {}))
        self.confidence += counts_from_json(metrics.get('confidence', {}))

    def evaluate(self) -> Mapping[str, Json]:
        """The metrics over all frames, and the confusion."""
        measured = [counts for counts in self._frames if counts]
        if not measured:
            return {}
        whole = _total(measured)
        found = {**summarise(whole), 'frames': len(measured), 'confusion': whole}
        if bins := reliability(self.confidence):
            found |= {'ece': calibration_error(bins), 'reliability': bins}
        return found

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """The headline metrics of resampled frames; see ``comparison.Resampled``."""
        names = _names(_total(self._frames))
        sums = np.zeros((len(self._frames), 3, len(names)))
        for i, counts in enumerate(self._frames):
            sums[i] = _sums(counts, names)
        right, there, given = np.moveaxis(np.tensordot(weights, sums, axes=1), 1, 0)
        union = there + given - right
        with np.errstate(invalid='ignore', divide='ignore'):
            classes = (union > 0).sum(axis=1)
            miou = np.where(union > 0, right / union, 0).sum(axis=1) / classes
            return {'miou': miou, 'pixel_accuracy': right.sum(axis=1) / there.sum(axis=1)}


def confusion(
    given: NDArray[np.uint8], truth: NDArray[np.uint8], labels: Sequence[str]
) -> Confusion:
    """Count pixels by true and predicted class.

    Args:
        given: (H, W), indices into ``labels``; other values are no class.
        truth: (H, W), indices into ``labels``; pixels with other values are ignored.
        labels: Class names.
    """
    if given.shape != truth.shape:
        raise ValueError(f'label images of {given.shape} and {truth.shape} cannot be compared')
    known = len(labels)
    pairs = truth.astype(np.intp) * (known + 1) + np.minimum(given, known)
    counts = np.bincount(pairs[truth < known], minlength=known * (known + 1))
    names = (*labels, NO_CLASS)
    table: dict[str, dict[str, int]] = {}
    for i, j in np.argwhere(counts.reshape(known, known + 1)):
        table.setdefault(names[i], {})[names[j]] = int(counts[i * (known + 1) + j])
    return table


def summarise(counts: Confusion) -> dict[str, Json]:
    """``miou``, ``pixel_accuracy`` and ``classes`` (name → IoU and pixels) of counts."""
    names = _names(counts)
    right, there, given = _sums(counts, names)
    union = there + given - right
    iou = {n: right[i] / union[i] for i, n in enumerate(names) if union[i]}
    return {
        'miou': float(np.mean(list(iou.values()))) if iou else None,
        'pixel_accuracy': float(right.sum() / there.sum()) if there.sum() else None,
        'classes': {
            name: {'iou': float(iou[name]), 'pixels': int(there[i])}
            for i, name in enumerate(names)
            if name in iou
        },
    }


def restrict(counts: Confusion, labels: Sequence[str]) -> Confusion:
    """The pixels whose true class is one of these; other predicted classes become no class.

    So models of different classes are compared on the classes that they share.
    """
    kept: dict[str, dict[str, int]] = {}
    for true in set(labels) & set(counts):
        row: dict[str, int] = {}
        for name, pixels in counts[true].items():
            shared = name if name in labels else NO_CLASS
            row[shared] = row.get(shared, 0) + pixels
        kept[true] = row
    return kept


def _names(counts: Confusion) -> list[str]:
    """All classes that occur, sorted, without NO_CLASS."""
    return sorted({*counts, *(name for row in counts.values() for name in row)} - {NO_CLASS})


def _sums(counts: Confusion, names: Sequence[str]) -> NDArray[np.float64]:
    """Correct, true and predicted pixels of each class, (3, K)."""
    index = {name: i for i, name in enumerate(names)}
    sums = np.zeros((3, len(names)))
    for true, row in counts.items():
        for name, pixels in row.items():
            sums[0, index[true]] += pixels * (name == true)
            sums[1, index[true]] += pixels
            if name != NO_CLASS:
                sums[2, index[name]] += pixels
    return sums


def _total(frames: Sequence[Confusion]) -> Confusion:
    total: dict[str, dict[str, int]] = {}
    for counts in frames:
        for true, row in counts.items():
            into = total.setdefault(true, {})
            for name, pixels in row.items():
                into[name] = into.get(name, 0) + pixels
    return {true: dict(sorted(total[true].items())) for true in sorted(total)}
