# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets in the perception node: from its parameters to the pipeline, and into its reports."""

from __future__ import annotations

from typing import cast

from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

_TASKS = (DETECTION, DEPTH, SEGMENTATION)


def budget_of(settings: PerceptionSettings) -> Budget:
    """What of the parameters concerns budgets."""
    values = {p.name: settings.value(p.name) for p in settings.parameters()}

    def of_tasks(pattern: str) -> dict[str, float]:
        return {task: cast(float, values[pattern.format(task)]) for task in _TASKS}

    return Budget(
        compute=settings.budget_compute,
        latency_ms=settings.budget_latency_ms,
        path=settings.budget_path,
        max_stale_ms=settings.budget_max_stale_ms,
        max_change=settings.budget_max_change,
        weights=of_tasks('budget.tasks.{}.weight'),
        max_rate_hz=of_tasks('tasks.{}.max_rate_hz'),
    )


def budget_values(pipeline: Pipeline) -> dict[str, object]:
    """Return the budget, its use and the last plan, for diagnostics."""
    last = pipeline.state.last
    if last is None or last.budget is None:
        return {}
    return {
        'path': last.path,
        'reason': last.reason,
        'budget.compute': pipeline.budget.compute,
        'budget.realised': last.budget.realised,
    }
