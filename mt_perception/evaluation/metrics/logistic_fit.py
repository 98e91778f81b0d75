# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A logistic curve through shares, by maximum likelihood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ITERATIONS = 30


def fit_log_odds(
    x: NDArray[np.float64], trials: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[float, float]:
    """Fit the log-odds of being right as slope · x + offset, with Newton steps (Platt 1999).

    Args:
        x: (N,), for example logits of scores.
        trials: (N,), the number of trials at each x.
        right: (N,), how many of them are right; may be fractions.

    Returns:
        Slope and offset. The slope is 0 where all trials are right, all are wrong, or all have
        one x; the offset is then finite only if some are right and some are wrong.
    """
    some, total = right.sum(), trials.sum()
    with np.errstate(divide='ignore', invalid='ignore'):
        fit = np.array([0.0, np.log(some) - np.log(total - some)])
    if not 0 < some < total or len(np.unique(x[trials > 0])) < 2:
        return 0.0, float(fit[1])
    inputs = np.stack([x, np.ones_like(x)], axis=1)
    for _ in range(_ITERATIONS):
        p = 1 / (1 + np.exp(-inputs @ fit))
        hessian = inputs.T @ (inputs * (trials * p * (1 - p))[:, None])
        step = np.linalg.lstsq(hessian, inputs.T @ (right - trials * p), rcond=None)[0]
        # A whole step may leave the region where the quadratic fits, and diverge.
        while _loss(inputs @ (fit + step), trials, right) > _loss(inputs @ fit, trials, right):
            step /= 2
        fit += step
    return float(fit[0]), float(fit[1])


def _loss(
    odds: NDArray[np.float64], trials: NDArray[np.float64], right: NDArray[np.float64]
) -> float:
    """The negative log-likelihood of log-odds."""
    return float(trials @ np.logaddexp(0, odds) - right @ odds)
