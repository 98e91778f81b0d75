# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Robust fits of a network's depth to known distances: scale, power, or scale and shift."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError, number

INLIER = 0.25
"""Largest relative error of an inlier."""

FEWEST = 20
"""Samples that a fit of scale and shift needs."""

LEAST_RATIO = 1.5
"""Smallest ratio of far to near distances that determines scale and shift."""

MOST_EXPONENT = 2.0
"""Largest exponent of a power, and the inverse of the smallest.

The exponent of least error is near 0 where the network is wrong about near and far, and depth
would be one distance everywhere.
"""

_SMALL = 0.05
"""Log errors below this count as squares, larger ones by their size."""

_RIDGE = 0.05
"""Weight of the exponent 1, in samples at a log distance of 1 for each sample."""

_MOST_WEIGHT = 2.0
_TRIALS = 200
_ROUNDS = 10
_MOST_SAMPLES = 1000
"""Limit on the samples used for the initial line of a fit."""


@dataclass(frozen=True)
class DepthFit:
    """Corrects depth: 1 / corrected = 1 / (factor · depth^exponent) + shift.

    Attributes:
        factor: Scale of depth.
        shift: Added to inverse depth, in 1/m.
        spread: Robust relative standard deviation of the corrected samples.
        inliers: Share of the samples within 25 % of their distance.
        exponent: Power of depth; below 1 it draws near and far together.
    """

    factor: float
    shift: float = 0.0
    spread: float = 0.0
    inliers: float = 1.0
    exponent: float = 1.0

    def text(self) -> str:
        """Return the equation."""
        factor = number(self.factor, 3)
        if self.shift:
            shift = number(self.shift, 4)
            return f'1 / depth = 1 / ({factor} x depth of the network) + {shift} /m'
        power = '' if self.exponent == 1 else f' ^ {self.exponent:.3f}'
        return f'depth = {factor} x (depth of the network){power}'

    def apply(self, inverse: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return metres of a network's inverse depth, (...); NaN beyond the horizon."""
        with np.errstate(divide='ignore', invalid='ignore'):
            power = inverse if self.exponent == 1 else inverse ** np.float32(self.exponent)
        corrected = power * np.float32(1 / self.factor) + np.float32(self.shift)
        with np.errstate(divide='ignore', invalid='ignore'):
            depth = np.where(corrected > 0, 1 / corrected, np.nan)
        return np.asarray(depth, np.float32)


def fit_scale(inverse: NDArray[np.floating], distances: NDArray[np.floating]) -> DepthFit:
    """Fit the scale of depth.

    Minimises the mean of |factor · z - t| / t, with the network's depth z and the distance t: the
    median of t / z weighted by z / t. The weights are limited to a factor of two, so that a third
    of the samples may be wrong.

    Args:
        inverse: (N,), inverse depth of the network, positive.
        distances: (N,), the known depth in metres.

    Raises:
        CalibrationError: There is no sample.
    """
    x, t = _usable(inverse, distances, 1)
    return _judged(DepthFit(_middle_ratio(x * t)), x, t)


def fit_power(
    inverse: NDArray[np.floating], distances: NDArray[np.floating], trust: float = 1.0
) -> DepthFit:
    """Fit scale and exponent of depth: log t = log factor + exponent · log z.

    Iteratively reweighted least squares of the absolute log error, with a weak preference for the
    exponent 1; then the scale of least relative error. The exponent is between 1 / 2 and 2.

    Args:
        inverse: (N,), inverse depth of the network, positive.
        distances: (N,), the known depth in metres.
        trust: Part of the correction of the log depth that is applied, from 0 to 1.

    Raises:
        CalibrationError: There are too few samples, or they are all at one distance.
    """
    x, t = _usable(inverse, distances, FEWEST)
    _check_range(t)
    log = -np.log(x)
    middle = float(np.median(log))
    matrix = np.stack([np.ones_like(log), log - middle], axis=1)
    wanted = np.log(t) - log
    prior = np.diag([0.0, _RIDGE * len(log)])
    weights, slope = np.ones_like(log), 0.0
    for _ in range(_ROUNDS):
        product = matrix.T * weights
        found = np.linalg.solve(product @ matrix + prior, product @ wanted)
        slope = float(found[1])
        weights = 1 / np.maximum(np.abs(wanted - matrix @ found), _SMALL)
    slope = min(max(slope, 1 / MOST_EXPONENT - 1), MOST_EXPONENT - 1)
    factor = _middle_ratio(t * x ** (1 + slope))
    # log corrected = log z + trust (log factor + slope log z).
    exponent, factor = 1 + trust * slope, factor**trust
    return _judged(DepthFit(factor, exponent=exponent), x, t)


def fit_scale_and_shift(
    inverse: NDArray[np.floating], distances: NDArray[np.floating]
) -> DepthFit:
    """Fit scale and shift of inverse depth.

    Minimises a robust mean of the relative error t (x / factor + shift) - 1, with the network's
    inverse depth x and the distance t: the best of many lines through two samples (Fischler and
    Bolles, 1981), then iteratively reweighted least squares with Tukey's weights.

    Args:
        inverse: (N,), inverse depth of the network; its unit is unknown.
        distances: (N,), the known depth in metres.

    Raises:
        CalibrationError: There are too few samples, they are all at one distance, or no line with
            a positive scale fits.
    """
    x, t = _usable(inverse, distances, FEWEST)
    _check_range(t)
    a, b = _best_line(x, t)
    for _ in range(_ROUNDS):
        residual = t * (a * x + b) - 1
        width = max(4.685 * 1.4826 * float(np.median(np.abs(residual))), 1e-6)
        weight = np.square(np.clip(1 - np.square(residual / width), 0, None))
        u, v = t * x, t
        matrix = np.array(
            [
                [np.sum(weight * u * u), np.sum(weight * u * v)],
                [np.sum(weight * u * v), np.sum(weight * v * v)],
            ]
        )
        if np.linalg.cond(matrix / matrix.max()) > 1e12:
            break
        a, b = np.linalg.solve(matrix, [np.sum(weight * u), np.sum(weight * v)]).tolist()
    if not a > 0:
        raise CalibrationError(
            'no positive scale maps the depth of the network to the distances; check that both '
            'show the same scene'
        )
    return _judged(DepthFit(1 / a, b), x, t)


def _middle_ratio(ratios: NDArray[np.float64]) -> float:
    """The median, weighted by the inverse within a factor of two of the plain median."""
    ratio = np.sort(ratios)
    weight = 1 / np.clip(ratio / ratio[len(ratio) // 2], 1 / _MOST_WEIGHT, _MOST_WEIGHT)
    sums = np.cumsum(weight)
    return float(ratio[np.searchsorted(sums, sums[-1] / 2)])


def _check_range(distances: NDArray[np.float64]) -> None:
    """Raise unless the distances determine two numbers."""
    near, far = np.quantile(distances, (0.05, 0.95))
    if far < LEAST_RATIO * near:
        raise CalibrationError(
            f'the distances are {number(near, 2)} to {number(far, 2)} m; factor and exponent need '
            f'distances that differ by a factor of {LEAST_RATIO:g}'
        )


def _usable(
    inverse: NDArray[np.floating], distances: NDArray[np.floating], fewest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The samples that are finite and in front of the camera, as float64."""
    there = np.isfinite(inverse) & np.isfinite(distances) & (distances > 0) & (inverse > 0)
    if np.count_nonzero(there) < fewest:
        raise CalibrationError(
            f'{np.count_nonzero(there)} pixels have both a known distance and depth of the '
            f'network; expected at least {fewest}'
        )
    return inverse[there].astype(np.float64), distances[there].astype(np.float64)


def _best_line(x: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[float, float]:
    """Slope a and offset b of the line 1 / t = a x + b with the least median error."""
    random = np.random.default_rng(0)
    if len(x) > _MOST_SAMPLES:
        some = random.choice(len(x), _MOST_SAMPLES, replace=False)
        x, t = x[some], t[some]
    first, second = random.integers(0, len(x), (2, _TRIALS))
    apart = x[first] != x[second]
    first, second = first[apart], second[apart]
    a = (1 / t[first] - 1 / t[second]) / (x[first] - x[second])
    a, first = a[a > 0], first[a > 0]
    if not len(a):
        return float(np.median(1 / (x * t))), 0.0
    b = 1 / t[first] - a * x[first]
    errors = np.median(np.abs(t * (a[:, None] * x + b[:, None]) - 1), axis=1)
    best = int(np.argmin(errors))
    return float(a[best]), float(b[best])


def _judged(fit: DepthFit, x: NDArray[np.float64], t: NDArray[np.float64]) -> DepthFit:
    """The fit with the spread and the inliers of its samples."""
    power = x if fit.exponent == 1 else x**fit.exponent
    error = np.abs(t * (power / fit.factor + fit.shift) - 1)
    inliers = float(np.mean(error < INLIER))
    middle = len(error) // 2
    error.partition(middle)
    return replace(fit, spread=1.4826 * float(error[middle]), inliers=inliers)
