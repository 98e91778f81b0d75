# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's parameters of budgets: how much of the network a frame may cost."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.graph.budget import AUTO
from mt_perception.nodes.declaration import Settings, parameter


@dataclass(frozen=True)
class BudgetParameters(Settings):
    """What the perception node can be told of budgets; all may change between two frames."""

    budget_compute: float = parameter(
        'budget.compute',
        1.0,
        'Fraction of the multiply-accumulates of running everything, on average; 1 is everything.',
        minimum=0.05,
        maximum=1.0,
    )
    budget_latency_ms: float = parameter(
        'budget.latency_ms',
        0.0,
        'Keep 95 % of the frames below this, image to last output, with cheaper paths; 0: any.',
        minimum=0.0,
        maximum=60_000.0,
    )
    budget_path: str = parameter(
        'budget.path',
        AUTO,
        "Take this path of the model for every frame that is run, or 'auto'.",
    )
    budget_max_stale_ms: float = parameter(
        'budget.max_stale_ms',
        0.0,
        'Results may be given again for so long: unchanged scenes, and small budgets. 0: never.',
        minimum=0.0,
        maximum=60_000.0,
    )
    budget_max_change: float = parameter(
        'budget.max_change',
        10.0,
        'A scene is unchanged while no place in it changes by more grey levels than this.',
        minimum=0.0,
        maximum=255.0,
    )
    budget_tasks_detection_weight: float = parameter(
        'budget.tasks.detection.weight',
        1.0,
        'How much detection matters against other tasks when a path is chosen.',
        minimum=0.0,
        maximum=100.0,
    )
    budget_tasks_depth_weight: float = parameter(
        'budget.tasks.depth.weight',
        1.0,
        'How much depth matters against other tasks when a path is chosen.',
        minimum=0.0,
        maximum=100.0,
    )
    budget_tasks_segmentation_weight: float = parameter(
        'budget.tasks.segmentation.weight',
        1.0,
        'How much segmentation matters against other tasks when a path is chosen.',
        minimum=0.0,
        maximum=100.0,
    )
