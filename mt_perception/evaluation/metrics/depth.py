# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of depth in metres: as it is, and after the best factor or fit that truth allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.baselines.baseline import RelativeDepth
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.records import FrameRecord, Json
from mt_perception.types import DEPTH, Result

RANGE_EDGES_M = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0, 80.0)
"""Edges of the ranges of true depth over which errors are told apart."""

MAX_RANGE_M = 20.0
"""True depth beyond this is left out, unless the caller says otherwise."""

MIN_DEPTH_M = 1e-3
"""Estimates below this count as this, as in Eigen et al.; a logarithm needs a floor."""

MIN_PIXELS = 10
"""Frames with fewer measured pixels are not judged."""

METRIC = 'metric'
MEDIAN = 'median'
AFFINE = 'affine'
CONSTANT = 'constant'

_FIGURES = (
    *('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'log10', 'silog'),
    *('delta1', 'delta2', 'delta3'),
)
_RANGE_OF_HALF_METRE = (
    np.searchsorted(RANGE_EDGES_M, np.arange(2 * RANGE_EDGES_M[-1] + 1) / 2, side='right') - 1
)
_HEADLINE = {'abs_rel': False, 'rmse': False, 'delta1': True}


class DepthMetric:
    """The usual errors of depth, mean over frames of the mean over a frame's pixels.

    With the estimate d, the truth t in metres and e = ln d − ln t, over the pixels where both are
    known and t ≤ ``max_range_m``:

        abs_rel = mean |d − t| / t           rmse     = √ mean (d − t)²
        sq_rel  = mean (d − t)² / t          rmse_log = √ mean e²
        log10   = mean |log10 d − log10 t|   silog    = 100 √ (mean e² − (mean e)²)
        delta_i = share of pixels with max(d / t, t / d) < 1.25^i

    (Eigen et al., arXiv 1406.2283.) They are given four times: ``metric``, of the depth as it
    is; ``median``, of d · median(t) / median(d); ``affine``, of 1 / (a / d + b) with a and b
    fitted to each frame by least squares on 1 / t; and ``constant``, of the one depth per frame
    with the least abs_rel: what a network must beat to have seen anything. A network of relative
    depth has no ``metric`` and no ``median``.

    ``coverage`` is the share of pixels with truth that have an estimate; ``ranges`` tells errors
    of ``metric`` (or ``affine``) apart by true depth, over all pixels of all frames.

    Args:
        max_range_m: True depth beyond this is left out.
    """

    name = DEPTH
    headline: Mapping[str, bool] = {
        f'{kind}.{figure}': better
        for kind in (METRIC, MEDIAN, AFFINE)
        for figure, better in _HEADLINE.items()
    }
    """Figure that a comparison looks at → whether more of it is better."""

    def __init__(self, max_range_m: float = MAX_RANGE_M) -> None:
        self.max_range_m = max_range_m
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._frames: list[Mapping[str, Json]] = []

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame; where a wanted depth failed, its coverage is 0 and it has no errors.

        Returns:
            The figures of this frame; empty without true depth.
        """
        truth = None if sample.truth is None else sample.truth.depth
        if truth is None or DEPTH not in result.execution.tasks:
            self._frames.append({})
            return {}
        given = result.depth
        return self.observe(
            np.full_like(truth, np.nan) if given is None else given.depth,
            truth,
            relative=isinstance(given, RelativeDepth),
        )

    def observe(
        self, given: NDArray[np.float32], truth: NDArray[np.float32], relative: bool = False
    ) -> Mapping[str, Json]:
        """Add one frame's depth, (H, W) both, metres, NaN where unknown; see ``process``."""
        figures = measure(given, truth, self.max_range_m, relative)
        self._frames.append(figures)
        return figures

    def add(self, record: FrameRecord) -> None:
        """Add a frame that was measured before."""
        self._frames.append(record.metrics.get(self.name, {}))

    def evaluate(self) -> Mapping[str, Json]:
        """The figures over all frames."""
        measured = [frame for frame in self._frames if frame]
        if not measured:
            return {}
        figures: dict[str, Json] = {
            'frames': len(measured),
            'pixels': sum(frame['pixels'] for frame in measured),
            'coverage': float(np.mean([frame['coverage'] for frame in measured])),
            'max_range_m': self.max_range_m,
        }
        for kind in (METRIC, MEDIAN, AFFINE, CONSTANT):
            rows = [frame[kind] for frame in measured if kind in frame]
            if rows:
                figures[kind] = {f: float(np.mean([row[f] for row in rows])) for f in _FIGURES}
        figures['ranges'] = _pool([frame['ranges'] for frame in measured if 'ranges' in frame])
        return figures

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """The headline figures if each frame had been seen a number of times.

        Args:
            weights: (B, F): how often each frame counts, in each of B resamples.

        Returns:
            Figure → (B,), NaN where a resample has nothing to measure.
        """
        result: dict[str, NDArray[np.float64]] = {}
        for key in self.headline:
            kind, figure = key.split('.')
            values = np.array([f[kind][figure] if kind in f else np.nan for f in self._frames])
            known = np.isfinite(values)
            if known.any():
                total = weights @ known.astype(np.float64)
                with np.errstate(invalid='ignore', divide='ignore'):
                    result[key] = (weights @ np.where(known, values, 0)) / total
        return result


def measure(
    given: NDArray[np.float32],
    truth: NDArray[np.float32],
    max_range_m: float = MAX_RANGE_M,
    relative: bool = False,
) -> dict[str, Json]:
    """All figures of one frame; see ``DepthMetric``."""
    if given.shape != truth.shape:
        raise ValueError(f'depth maps of {given.shape} and {truth.shape} cannot be compared')
    # A comparison with NaN is False: unknown pixels drop out by themselves.
    there = (truth > 0) & (truth <= max_range_m)
    both = there & (given > 0) & (given < np.inf)
    pixels = int(both.sum())
    if there.sum() < MIN_PIXELS:
        return {}
    figures: dict[str, Json] = {'pixels': pixels, 'coverage': pixels / int(there.sum())}
    if pixels < MIN_PIXELS:
        return figures
    # float32 throughout, sums in float64: a frame costs a quarter, and 1e-7 measures nothing.
    d = np.maximum(given[both].astype(np.float32, copy=False), np.float32(MIN_DEPTH_M))
    t = truth[both].astype(np.float32, copy=False)
    fitted = _fit_inverse(d, t, max_range_m)
    if not relative:
        figures[METRIC] = errors(d, t)
        figures[MEDIAN] = errors(d * (np.median(t) / np.median(d)), t)
    figures[AFFINE] = errors(fitted, t)
    figures[CONSTANT] = errors(np.full_like(t, best_constant(t)), t)
    figures['ranges'] = _by_range(fitted if relative else d, t)
    return figures


def errors(d: NDArray[np.float32], t: NDArray[np.float32]) -> dict[str, float]:
    """The nine figures of the estimates ``d`` against the truth ``t``, (N,) both, metres."""
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
    return dict(zip(_FIGURES, values, strict=True))


def best_constant(t: NDArray[np.float32]) -> float:
    """The one depth with the least mean |c − t| / t: the median of t weighted by 1 / t."""
    ordered = np.sort(t)
    weight = np.cumsum(1 / ordered, dtype=np.float64)
    return float(ordered[np.searchsorted(weight, weight[-1] / 2)])


def _mean(values: NDArray[np.float32] | NDArray[np.bool_]) -> float:
    return float(np.mean(values, dtype=np.float64))


def _fit_inverse(
    d: NDArray[np.float32], t: NDArray[np.float32], max_range_m: float
) -> NDArray[np.float32]:
    """Depth after the factor and shift of 1 / d that fit 1 / t best, no farther than the range."""
    inverse, target = np.reciprocal(d), np.reciprocal(t)
    spread = inverse - np.float32(_mean(inverse))
    variance = _mean(spread * spread)
    factor = _mean(spread * target) / variance if variance > 0 else 0.0
    shifted = np.float32(_mean(target)) + np.float32(factor) * spread
    depth: NDArray[np.float32] = 1 / np.maximum(shifted, np.float32(1 / max_range_m))
    return depth


def _by_range(d: NDArray[np.float32], t: NDArray[np.float32]) -> list[list[float]]:
    """One row for each range that has pixels: its index, pixels, and three sums of errors."""
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
