# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth errors: of metric depth, and after scaling or fitting it to the ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.frame_means import FrameMeans, resampled_means
from mt_perception.evaluation.records import Json
from mt_perception.types import DEPTH, Result

RANGE_EDGES_M = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0, 80.0)
"""Edges of the ranges of true depth for errors by distance."""

MAX_RANGE_M = 20.0
"""Default upper limit of true depth that is evaluated."""

MIN_DEPTH_M = 1e-3
"""Lower limit of predictions, as in Eigen et al.; a logarithm needs one."""

MIN_PIXELS = 10
"""Frames with fewer pixels of true depth are not evaluated."""

METRIC = 'metric'
MEDIAN = 'median'
AFFINE = 'affine'
CONSTANT = 'constant'

_ERRORS = (
    *('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'log10', 'silog'),
    *('delta1', 'delta2', 'delta3'),
)
_RANGE_OF_HALF_METRE = (
    np.searchsorted(RANGE_EDGES_M, np.arange(2 * RANGE_EDGES_M[-1] + 1) / 2, side='right') - 1
)
_HEADLINE = {'abs_rel': False, 'rmse': False, 'delta1': True}


class DepthMetric(FrameMeans):
    """The standard depth errors, mean over frames of the mean over a frame's pixels.

    With the prediction d, the true depth t in metres and e = ln d − ln t, over the pixels where
    both are known and t ≤ ``max_range_m``:

        abs_rel = mean |d − t| / t           rmse     = √ mean (d − t)²
        sq_rel  = mean (d − t)² / t          rmse_log = √ mean e²
        log10   = mean |log10 d − log10 t|   silog    = 100 √ (mean e² − (mean e)²)
        delta_i = share of pixels with max(d / t, t / d) < 1.25^i

    (Eigen et al., arXiv 1406.2283.) They are computed of four predictions: ``metric``, d itself;
    ``median``, d · median(t) / median(d); ``affine``, 1 / (a / d + b) with a and b fitted to each
    frame by least squares on 1 / t; and ``constant``, the constant depth of a frame with the
    least abs_rel, a lower bound that a network must beat. A network of relative depth has no
    ``metric`` and no ``median``.

    ``coverage`` is the share of pixels with true depth that have a prediction; ``ranges`` has the
    errors of ``metric`` (or ``affine``) by true depth, over all pixels of all frames.

    Args:
        max_range_m: Larger true depth is ignored.
    """

    name = DEPTH
    headline: Mapping[str, bool] = {
        f'{kind}.{figure}': better
        for kind in (METRIC, MEDIAN, AFFINE)
        for figure, better in _HEADLINE.items()
    }
    """Name of a headline metric → whether a higher value is better."""

    def __init__(self, max_range_m: float = MAX_RANGE_M) -> None:
        super().__init__()
        self.max_range_m = max_range_m

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame; a failed depth task has coverage 0 and no errors.

        Returns:
            The metrics of this frame; empty without true depth.
        """
        truth = None if sample.truth is None else sample.truth.depth
        if truth is None or DEPTH not in result.execution.tasks:
            self._frames.append({})
            return {}
        given = result.depth
        return self.observe(
            np.full_like(truth, np.nan) if given is None else given.depth,
            truth,
            relative=given is not None and given.relative,
        )

    def observe(
        self, given: NDArray[np.float32], truth: NDArray[np.float32], relative: bool = False
    ) -> Mapping[str, Json]:
        """Add one frame's depth, (H, W) both, metres, NaN if unknown; see ``process``."""
        values = measure(given, truth, self.max_range_m, relative)
        self._frames.append(values)
        return values

    def evaluate(self) -> Mapping[str, Json]:
        """The metrics over all frames."""
        measured = [frame for frame in self._frames if frame]
        if not measured:
            return {}
        values: dict[str, Json] = {
            'frames': len(measured),
            'pixels': sum(frame['pixels'] for frame in measured),
            'coverage': float(np.mean([frame['coverage'] for frame in measured])),
            'max_range_m': self.max_range_m,
        }
        for kind in (METRIC, MEDIAN, AFFINE, CONSTANT):
            rows = [frame[kind] for frame in measured if kind in frame]
            if rows:
                values[kind] = {f: float(np.mean([row[f] for row in rows])) for f in _ERRORS}
        values['ranges'] = _pool([frame['ranges'] for frame in measured if 'ranges' in frame])
        return values

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """The headline metrics of resampled frames; see ``comparison.Resampled``."""
        values = {}
        for key in self.headline:
            kind, name = key.split('.')
            values[key] = [frame[kind][name] if kind in frame else None for frame in self._frames]
        return resampled_means(values, weights)


def measure(
    given: NDArray[np.float32],
    truth: NDArray[np.float32],
    max_range_m: float = MAX_RANGE_M,
    relative: bool = False,
) -> dict[str, Json]:
    """All metrics of one frame; see ``DepthMetric``."""
    if given.shape != truth.shape:
        raise ValueError(f'depth maps of {given.shape} and {truth.shape} cannot be compared')
    # Comparisons with NaN are False, which excludes unknown pixels.
    there = (truth > 0) & (truth <= max_range_m)
    both = there & (given > 0) & (given < np.inf)
    pixels = int(both.sum())
    if there.sum() < MIN_PIXELS:
        return {}
    values: dict[str, Json] = {'pixels': pixels, 'coverage': pixels / int(there.sum())}
    if pixels < MIN_PIXELS:
        return values
    # float32 with float64 sums takes a quarter of the time at a relative error of 1e-7.
    d = np.maximum(given[both].astype(np.float32, copy=False), np.float32(MIN_DEPTH_M))
    t = truth[both].astype(np.float32, copy=False)
    fitted = _fit_inverse(d, t, max_range_m)
    if not relative:
        values[METRIC] = errors(d, t)
        values[MEDIAN] = errors(d * (np.median(t) / np.median(d)), t)
    values[AFFINE] = errors(fitted, t)
    values[CONSTANT] = errors(np.full_like(t, best_constant(t)), t)
    values['ranges'] = _by_range(fitted if relative else d, t)
    return values


def errors(d: NDArray[np.float32], t: NDArray[np.float32]) -> dict[str, float]:
    """The nine errors of predictions ``d`` against true depth ``t``, (N,) both, metres."""
    difference = d - t
    relative = np.abs(difference) / t
    log = np.log(d / t)
    size = np.abs(log)
    squared = _mean(log * log)
    values = (
        _mean(relative),
        _mean(relative * np.abs(difference)),
        _mean(difference * difference) ** 0.5,
        squared**0.5,
        _mean(size) / float(np.log(10)),
        100 * max(squared - _mean(log) ** 2, 0.0) ** 0.5,
        *(_mean(size < i * np.log(1.25)) for i in (1, 2, 3)),
    )
    return dict(zip(_ERRORS, values, strict=True))


def best_constant(t: NDArray[np.float32]) -> float:
    """The constant c with the least mean |c − t| / t: the median of t weighted by 1 / t."""
    ordered = np.sort(t)
    weight = np.cumsum(1 / ordered, dtype=np.float64)
    return float(ordered[np.searchsorted(weight, weight[-1] / 2)])


def _mean(values: NDArray[np.float32] | NDArray[np.bool_]) -> float:
    return float(np.mean(values, dtype=np.float64))


def _fit_inverse(
    d: NDArray[np.float32], t: NDArray[np.float32], max_range_m: float
) -> NDArray[np.float32]:
    """Depth after a least-squares scale and shift of 1 / d to 1 / t, limited to the range."""
    inverse, target = np.reciprocal(d), np.reciprocal(t)
    spread = inverse - np.float32(_mean(inverse))
    variance = _mean(spread * spread)
    factor = _mean(spread * target) / variance if variance > 0 else 0.0
    shifted = np.float32(_mean(target)) + np.float32(factor) * spread
    depth: NDArray[np.float32] = 1 / np.maximum(shifted, np.float32(1 / max_range_m))
    return depth


def _by_range(d: NDArray[np.float32], t: NDArray[np.float32]) -> list[list[float]]:
    """A row for each range with pixels: its index, pixels, and three sums of errors."""
    # All edges are multiples of half a metre, so that a table finds the range.
    index = _RANGE_OF_HALF_METRE[np.minimum(2 * t, 2 * RANGE_EDGES_M[-1]).astype(np.intp)]
    difference = d - t
    sums = [
        np.bincount(index, weights, len(RANGE_EDGES_M))
        for weights in (None, np.abs(difference) / t, difference, difference**2)
    ]
    return [[i, *(float(column[i]) for column in sums)] for i in np.flatnonzero(sums[0]).tolist()]


def _pool(frames: Sequence[Sequence[Sequence[float]]]) -> list[dict[str, Json]]:
    """Errors by range of true depth over all frames, nearest range first."""
    sums = np.zeros((len(RANGE_EDGES_M), 4))
    for rows in frames:
        for index, *values in rows:
            sums[int(index)] += values
    last = len(RANGE_EDGES_M) - 1
    return [
        {
            'from_m': RANGE_EDGES_M[i],
            'to_m': RANGE_EDGES_M[i + 1] if i < last else None,
            'pixels': int(n),
            'abs_rel': relative / n,
            'bias_m': signed / n,
            'rmse': float(np.sqrt(squared / n)),
        }
        for i, (n, relative, signed, squared) in enumerate(sums.tolist())
        if n
    ]
