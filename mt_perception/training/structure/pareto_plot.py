# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots all sharing trees, the Pareto front and the chosen tree; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mt_perception.model.branching import (
    Partition,
    ScoredTree,
    SharingTree,
    pareto_front,
)
from mt_perception.network.multitask import TASKS
from mt_perception.network.tree import SEGMENTS
from mt_perception.training.structure.affinity import TreeChoice

_GREY, _FRONT, _CHOSEN = '0.78', '#0072b2', '#d55e00'
# Text as text, and reproducible files. Any: the type stubs accept literal keys only.
_STYLE: Any = {'svg.fonttype': 'none', 'svg.hashsalt': 'mt_perception', 'font.size': 9}


def draw_front(choice: TreeChoice, path: Path) -> None:
    """Write the plot as .svg or .png, by the suffix of the path."""
    separate = max(tree.cost for tree in choice.trees)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout='constrained')
        axes = figure.subplots()
        axes.scatter(*_points(choice.trees, separate), s=9, color=_GREY, label='all trees')
        front = pareto_front(choice.trees)
        axes.plot(
            *_points(front, separate), 'o-', color=_FRONT, markersize=4, label='Pareto front'
        )
        _mark(axes, choice.chosen, separate)
        axes.set_xlabel('multiply-accumulates of the trunk, relative to one trunk per task')
        axes.set_ylabel('variety: sum of 1 - affinity over tasks that share')
        axes.set_xlim(right=1.02)
        axes.set_ylim(bottom=-0.03 * max(tree.variety for tree in choice.trees))
        axes.grid(color='0.92')
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False, loc='upper right')
        metadata = {'Date': None} if path.suffix == '.svg' else {}
        figure.savefig(path, dpi=150, metadata=metadata)


def _mark(axes: Axes, tree: ScoredTree, separate: float) -> None:
    """Mark the chosen tree with a star and its branch points."""
    x, y = tree.cost / separate, tree.variety
    axes.plot([x], [y], '*', color=_CHOSEN, markersize=15, label='chosen')
    axes.annotate(
        branch_points(tree.tree),
        (x, y),
        xytext=(0.36, 0.62),
        textcoords='axes fraction',
        color=_CHOSEN,
        arrowprops={'arrowstyle': '-', 'color': _CHOSEN, 'linewidth': 0.8, 'shrinkB': 7},
    )


def branch_points(tree: SharingTree) -> str:
    """Return the branch points as text, one line each, such as ``after stage4: a | b + c``."""
    lines = []
    every_task = tree.partitions[0]
    if len(every_task) > 1:
        lines.append(f'from the image on: {_groups(every_task)}')
    for (before, after), names in zip(pairwise(tree.partitions), SEGMENTS, strict=False):
        if before != after:
            lines.append(f'after {names[-1]}: {_groups(after)}')
    return '\n'.join(lines) or f'shared to the heads: {_groups(every_task)}'


def _groups(partition: Partition) -> str:
    return ' | '.join(' + '.join(TASKS[task] for task in group) for group in partition)


def _points(trees: Sequence[ScoredTree], separate: float) -> tuple[list[float], list[float]]:
    return [tree.cost / separate for tree in trees], [tree.variety for tree in trees]
