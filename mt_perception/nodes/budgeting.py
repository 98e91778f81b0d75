# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets in the perception node: from its parameters to the pipeline, and into its reports."""

from __future__ import annotations

from typing import cast

from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Result

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


def note_latency(pipeline: Pipeline, result: Result, latency_ms: float) -> None:
    """Tell the planner what a frame took in the node, from the image's arrival to the end."""
    if pipeline.planner is not None:
        outside_ms = latency_ms - result.execution.latency_ms['total']
        pipeline.planner.outside_ms = max(0.0, outside_ms)


def budget_values(pipeline: Pipeline) -> dict[str, object]:
    """What was wanted, what it came to, and the last plan, for diagnostics."""
    planner = pipeline.planner
    if planner is None or planner.last is None:
        return {}
    return {
        'path': planner.last.path,
        'reason': planner.last.reason,
        'budget.compute': planner.budget.compute,
        'budget.realised': planner.realised,
    }
