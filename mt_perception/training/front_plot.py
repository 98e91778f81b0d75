# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Draws all sharing trees, the Pareto front and the tree that was taken; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mt_perception.graph.sharing import ScoredTree, pareto_front
from mt_perception.training.affinity import TreeChoice


def draw_front(choice: TreeChoice, path: Path) -> None:
    """Write the plot; the kind of file is read from the path's ending, .svg or .png."""
    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.subplots()
    axes.scatter(*_points(choice.trees), s=12, color='0.75', label='all trees')
    axes.plot(*_points(pareto_front(choice.trees)), 'o-', label='Pareto front')
    axes.plot(*_points([choice.chosen]), '*', markersize=16, label='taken')
    axes.set_xlabel('trunk, million multiply-accumulates')
    axes.set_ylabel('variety: unlikeness of tasks that share')
    axes.legend()
    figure.savefig(path)


def _points(trees: Sequence[ScoredTree]) -> tuple[list[float], list[float]]:
    return [tree.cost / 1e6 for tree in trees], [tree.variety for tree in trees]
