# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fits the gates of a cascade: the simplest rule that predicts the gain of the second stage.

The gain of an image is the change of the task's metric if this image alone gets the second stage,
relative to the metric of both stages. A gate predicts it by one number or linearly by several
(ridge regression); cross-validation over the images chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.model.manifest import Manifest
from mt_perception.training.cascade.observe import NUMBERS, Observed

FOLDS = 6
SHARE = 0.3
"""Share of images with a second stage at which rules are compared: about budget 0.6."""

BUDGETS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
_RIDGE = 1.0
_AS_GOOD = 0.001
"""A rule with more numbers must be better by more than this, relative to the metric."""

_SHUFFLES = 64


@dataclass(frozen=True, eq=False)
class Rule:
    """A fitted gate.

    Attributes:
        columns: The numbers that it reads.
        weights: (K,), over all numbers; 0 for those that it does not read.
        bias: Gain where all numbers are 0.
    """

    columns: tuple[int, ...]
    weights: NDArray[np.float64]
    bias: float

    def gains(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the predicted gains (N,) of numbers (N, K)."""
        return numbers @ self.weights + self.bias


@dataclass(frozen=True)
class Comparison:
    """A task's metric with a second stage for SHARE of the images, chosen in several ways.

    Attributes:
        first: Metric of the first stage alone.
        both: Metric with the second stage everywhere.
        random: Mean over random choices.
        spread: Standard deviation of random choices.
        rules: Columns of each rule → metric, with predictions for images of other folds.
        names: Names of the numbers.
    """

    first: float
    both: float
    random: float
    spread: float
    rules: Mapping[tuple[int, ...], float]
    names: tuple[str, ...]

    def named(self) -> dict[str, float]:
        """Return the metric of each rule by the names of its numbers."""
        return {
            ', '.join(self.names[column] for column in columns): value
            for columns, value in self.rules.items()
        }


def gains(seen: Observed) -> NDArray[np.float64]:
    """Return each image's gain, (N,), 0 without labels: its influence on the metric."""
    count = len(seen.numbers)
    base = np.full((2 * count, count), SHARE)
    index = np.arange(count)
    base[index, index], base[count + index, index] = 1.0, 0.0
    values = np.concatenate([seen.value(part) for part in np.array_split(base, 8)])
    both = float(seen.value(np.ones((1, count)))[0])
    return np.where(seen.labelled, values[:count] - values[count:], 0.0) / both


def fit(numbers: NDArray[np.float64], wanted: NDArray[np.float64], columns: Sequence[int]) -> Rule:
    """Fit a rule that reads some of the numbers, or none: then it predicts the mean gain.

    Gains of images are scaled by their number: the mean over all is the gain of the metric.
    """
    chosen = numbers[:, columns]
    mean, scale = chosen.mean(axis=0), chosen.std(axis=0) + 1e-9
    x = (chosen - mean) / scale
    target = wanted * len(wanted)
    slope = np.linalg.solve(
        x.T @ x + _RIDGE * len(columns) * np.eye(len(columns)), x.T @ (target - target.mean())
    )
    weights = np.zeros(numbers.shape[1])
    weights[list(columns)] = slope / scale
    return Rule(tuple(columns), weights, float(target.mean() - weights[list(columns)] @ mean))


def compare(seen: Observed, wanted: NDArray[np.float64]) -> Comparison:
    """Compare rules of one number and of all numbers by cross-validation."""
    labelled = np.flatnonzero(seen.labelled)
    folds = np.random.default_rng(0).permutation(len(labelled)) % FOLDS
    count = seen.numbers.shape[1]
    rules = {}
    for columns in (*((k,) for k in range(count)), tuple(range(count))):
        ranks = np.zeros(len(seen.labelled))
        for fold in range(FOLDS):
            inside, outside = labelled[folds != fold], labelled[folds == fold]
            rule = fit(seen.numbers[inside], wanted[inside], columns)
            ranks[outside] = rule.gains(seen.numbers[outside])
        rules[columns] = float(seen.value(_best(ranks, labelled)[None])[0])
    rng = np.random.default_rng(1)
    chance = np.stack([_best(rng.random(len(seen.labelled)), labelled) for _ in range(_SHUFFLES)])
    ends = seen.value(np.stack([np.zeros(len(seen.labelled)), np.ones(len(seen.labelled))]))
    values = seen.value(chance)
    return Comparison(
        first=float(ends[0]),
        both=float(ends[1]),
        random=float(values.mean()),
        spread=float(values.std()),
        rules=rules,
        names=NUMBERS[seen.task][0].names,
    )


def _best(ranks: NDArray[np.float64], labelled: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return 1 for the SHARE of the labelled images with the highest rank, else 0."""
    second = np.zeros(len(ranks))
    order = labelled[np.argsort(-ranks[labelled], kind='stable')]
    second[order[: round(SHARE * len(labelled))]] = 1.0
    return second


def choose(found: Comparison) -> tuple[int, ...]:
    """Return the columns of the simplest rule that is as good as the best; empty for none.

    A rule counts only if it exceeds the mean of random choices by their spread, because the best
    of several rules is selected.
    """
    tolerance = _AS_GOOD * found.both
    best = max(found.rules.values())
    if best <= found.random + found.spread:
        return ()
    good = [columns for columns, value in found.rules.items() if value >= best - tolerance]
    return min(good, key=lambda columns: (len(columns), -found.rules[columns]))


def thresholds(
    manifest: Manifest, predicted: Mapping[str, NDArray[np.float64]]
) -> dict[float, float]:
    """Return the threshold that realises each budget over some images.

    Args:
        manifest: The model.
        predicted: Task → predicted gain of every image, (N,), in the order of the gates.
    """
    full = sum(block.macs for block in manifest.graph.blocks.values())
    first = {b.name for b in manifest.early_graph.blocks_for(manifest.early_graph.tasks)}
    steps = np.unique(np.concatenate([_densities(manifest, predicted), [0.0]]))[::-1]
    costs = np.array([_cost(manifest, predicted, first, step) for step in steps]) / full
    found = {
        budget: float(np.interp(budget, costs, steps))
        for budget in BUDGETS
        if costs[0] <= budget <= 1
    }
    return {round(float(costs[0]), 4): float(steps[0])} | found


def _densities(
    manifest: Manifest, predicted: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return thresholds from above all gains to below all gains."""
    largest = max(float(np.abs(values).max()) for values in predicted.values())
    grid = np.geomspace(1e-3, 50, 300) * largest
    return np.concatenate([grid, -grid])


def _cost(
    manifest: Manifest,
    predicted: Mapping[str, NDArray[np.float64]],
    first: set[str],
    threshold: float,
) -> float:
    """Return the mean multiply-accumulates of a frame at a threshold; see `GainGate`."""
    full = sum(block.macs for block in manifest.graph.blocks.values())
    count = len(next(iter(predicted.values())))
    total = sum(block.macs for block in manifest.graph.blocks.values() if block.name in first)
    spent = np.full(count, float(total))
    ran = {name: np.full(count, name in first) for name in manifest.graph.blocks}
    for task, values in predicted.items():
        blocks = manifest.graph.blocks_for([task])
        cost = sum((~ran[b.name] * b.macs for b in blocks), np.zeros(count))
        opens = values >= threshold * cost / full
        spent += opens * cost
        for block in blocks:
            ran[block.name] = ran[block.name] | opens
    return float(spent.mean())
