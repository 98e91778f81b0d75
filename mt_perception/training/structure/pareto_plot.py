# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Draws all sharing trees, the Pareto front and the tree that was taken; needs matplotlib."""

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

_GREY, _FRONT, _TAKEN = '0.78', '#0072b2', '#d55e00'
# Text stays text, and the same run draws the same file. Any: the stubs want keys as literals.
_STYLE: Any = {'svg.fonttype': 'none', 'svg.hashsalt': 'mt_perception', 'font.size': 9}


def draw_front(choice: TreeChoice, path: Path) -> None:
    """Write the plot; the kind of file is read from the path's ending, .svg or .png."""
    apart = max(tree.cost for tree in choice.trees)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout='constrained')
        axes = figure.subplots()
        axes.scatter(*_points(choice.trees, apart), s=9, color=_GREY, label='all trees')
        front = pareto_front(choice.trees)
        axes.plot(*_points(front, apart), 'o-', color=_FRONT, markersize=4, label='Pareto front')
        _mark(axes, choice.chosen, apart)
        axes.set_xlabel("the trunk's multiply-accumulates, of those of a trunk for each task")
        axes.set_ylabel('variety: how unlike are tasks that share (1 - affinity, summed)')
        axes.set_xlim(right=1.02)
        axes.set_ylim(bottom=-0.03 * max(tree.variety for tree in choice.trees))
        axes.grid(color='0.92')
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False, loc='upper right')
        metadata = {'Date': None} if path.suffix == '.svg' else {}
        figure.savefig(path, dpi=150, metadata=metadata)


def _mark(axes: Axes, tree: ScoredTree, apart: float) -> None:
    """A star at the tree that was taken, and beside it who shares what."""
    x, y = tree.cost / apart, tree.variety
    axes.plot([x], [y], '*', color=_TAKEN, markersize=15, label='taken')
    axes.annotate(
        branch_points(tree.tree),
        (x, y),
        xytext=(0.36, 0.62),
        textcoords='axes fraction',
        color=_TAKEN,
        arrowprops={'arrowstyle': '-', 'color': _TAKEN, 'linewidth': 0.8, 'shrinkB': 7},
    )


def branch_points(tree: SharingTree) -> str:
    """Say, a line for each, where tasks part, such as ``depth leaves after stage4``."""
    lines = []
    everybody = tree.partitions[0]
    if len(everybody) > 1:
        lines.append(f'from the image on: {_groups(everybody)}')
    for (before, after), names in zip(pairwise(tree.partitions), SEGMENTS, strict=False):
        if before != after:
            lines.append(f'after {names[-1]}: {_groups(after)}')
    return '\n'.join(lines) or f'shared to the heads: {_groups(everybody)}'


def _groups(partition: Partition) -> str:
    return ' | '.join(' + '.join(TASKS[task] for task in group) for group in partition)


def _points(trees: Sequence[ScoredTree], apart: float) -> tuple[list[float], list[float]]:
    return [tree.cost / apart for tree in trees], [tree.variety for tree in trees]
