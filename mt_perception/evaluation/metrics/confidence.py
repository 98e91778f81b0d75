# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reliability of a confidence image: how often a pixel is right, by its confidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.metrics.logistic_fit import fit_log_odds

Counts = NDArray[np.int64]
"""(256, 2): pixels, and right pixels among them, of each code of the confidence."""

_BINS = 10


def confidence_counts(
    confidence: NDArray[np.uint8], right: NDArray[np.bool_], known: NDArray[np.bool_]
) -> Counts:
    """Count pixels by their confidence.

    Args:
        confidence: uint8 (H, W), 255 times a probability.
        right: bool (H, W), pixels with the true class.
        known: bool (H, W), pixels that have a true class.
    """
    pixels = np.bincount(confidence[known], minlength=256)
    return np.stack([pixels, np.bincount(confidence[known & right], minlength=256)], axis=1)


def reliability(counts: Counts) -> list[dict[str, float | int]]:
    """Return accuracy and mean confidence in ten equal ranges of the confidence.

    Returns:
        One entry for each range with pixels: ``pixels``, ``confidence`` and ``accuracy``.
    """
    share = np.arange(256) / 255
    bins = np.minimum((share * _BINS).astype(np.intp), _BINS - 1)
    rows: list[dict[str, float | int]] = []
    for index in range(_BINS):
        pixels, right = counts[bins == index].T
        if total := int(pixels.sum()):
            mean = float((pixels * share[bins == index]).sum() / total)
            accuracy = float(right.sum() / total)
            rows.append({'pixels': total, 'confidence': mean, 'accuracy': accuracy})
    return rows


def calibration_error(bins: list[dict[str, float | int]]) -> float:
    """Return the expected calibration error: mean |accuracy − confidence|, weighted by pixels.

    (Naeini et al., AAAI 2015.)
    """
    total = sum(row['pixels'] for row in bins)
    return float(sum(r['pixels'] * abs(r['accuracy'] - r['confidence']) for r in bins) / total)


def platt_scaling(counts: Counts) -> tuple[float, float]:
    """Fit slope and offset of the log-odds by maximum likelihood (Platt 1999).

    Returns:
        (1, 0) if all pixels are right, all are wrong, or all have one confidence; a slope of 0,
        which makes the confidence a constant, where it does not rise with the accuracy.
    """
    pixels, right = counts.T.astype(np.float64)
    share = np.arange(256).clip(0.5, 254.5) / 255
    if not 0 < right.sum() < pixels.sum() or np.count_nonzero(pixels) < 2:
        return 1.0, 0.0
    slope, offset = fit_log_odds(np.log(share / (1 - share)), pixels, right)
    if slope > 0:
        return slope, offset
    return 0.0, float(np.log(right.sum() / (pixels.sum() - right.sum())))


def counts_to_json(counts: Counts) -> Mapping[str, list[int]]:
    """Return counts as plain data: code → [pixels, right pixels], of codes with pixels."""
    return {str(i): counts[i].tolist() for i in np.flatnonzero(counts[:, 0]).tolist()}


def counts_from_json(data: Mapping[str, list[int]]) -> Counts:
    """Return the counts of ``counts_to_json``."""
    counts = np.zeros((256, 2), np.int64)
    for code, row in data.items():
        counts[int(code)] = row
    return counts
