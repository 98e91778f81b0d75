# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Δ_MTL: mean relative gain of a multitask network over a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mt_perception.evaluation.records import Json
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

HEADLINE_METRICS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    DETECTION: (('ap',),),
    SEGMENTATION: (('miou',),),
    DEPTH: (('metric', 'abs_rel'), ('affine', 'abs_rel')),
}
"""Task → the metrics that represent it; the first that both runs have is used."""

LOWER_IS_BETTER = frozenset({'abs_rel'})


@dataclass(frozen=True)
class TaskChange:
    """Relative gain in one task.

    Attributes:
        task: Name of the task.
        metric: Name of the metric, as ``metric.abs_rel``.
        value: The model's value.
        baseline: The baseline's value.
        change: Relative gain; above 0 the model is better.
    """

    task: str
    metric: str
    value: float
    baseline: float
    change: float


@dataclass(frozen=True)
class DeltaMtl:
    """The mean over tasks with its parts.

    Attributes:
        value: Mean relative gain; 0.01 is one per cent better than the baseline.
        baseline: Name of the baseline.
        tasks: The tasks' parts.
    """

    value: float
    baseline: str
    tasks: tuple[TaskChange, ...]


def delta_mtl(
    metrics: Mapping[str, Mapping[str, Json]],
    baseline: Mapping[str, Mapping[str, Json]],
    name: str,
) -> DeltaMtl | None:
    """Mean relative change over the tasks that both have metrics of.

        Δ_MTL = 1/T Σ_i (−1)^l_i (M_i − B_i) / B_i

    with M_i the model's metric of task i, B_i the baseline's, and l_i = 1 where lower is better.
    (Maninis et al., Attentive Single-Tasking of Multiple Tasks, arXiv 1904.08918, eq. 4.)

    Args:
        metrics: Task → metrics, as in a summary.
        baseline: The baseline's, on the same data.
        name: Name of the baseline.

    Returns:
        The change; None if no task has a metric in both, or the baseline's is 0.
    """
    changes = []
    for task, candidates in HEADLINE_METRICS.items():
        for keys in candidates:
            value = _find(metrics.get(task), keys)
            base = _find(baseline.get(task), keys)
            if value is not None and base:
                sign = -1 if keys[-1] in LOWER_IS_BETTER else 1
                change = sign * (value - base) / base
                changes.append(TaskChange(task, '.'.join(keys), value, base, change))
                break
    if not changes:
        return None
    return DeltaMtl(sum(c.change for c in changes) / len(changes), name, tuple(changes))


def _find(metrics: Json, keys: tuple[str, ...]) -> float | None:
    for key in keys:
        if not isinstance(metrics, Mapping) or key not in metrics:
            return None
        metrics = metrics[key]
    return None if metrics is None else float(metrics)
