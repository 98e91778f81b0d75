# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Draws what structures.py measured: accuracy against compute, with the spread over seeds.

Usage: python benchmarks/structures_plot.py FOLDER FILE.svg
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from structures import HARD_SHARED, SEPARATE, measured

Rows = Sequence[Mapping[str, float]]

TREE, GATES = 'antler_', 'interrogate_'
STYLE = {'svg.fonttype': 'none', 'svg.hashsalt': 'mt_perception', 'font.size': 9}


def main() -> None:
    rows, path = measured(Path(sys.argv[1])), Path(sys.argv[2])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout='constrained')
        axes = figure.subplots()
        axes.axhline(0, color='0.75', linewidth=0.8)
        series(axes, {'three nets': rows[SEPARATE]}, 'single-task nets', 's', '0.35')
        series(axes, {'': rows[HARD_SHARED]}, 'hard sharing', 'D', '#d55e00')
        for prefix, label, marker, colour in (
            (TREE, 'trees, by weight of variety', 'o', '#0072b2'),
            (GATES, 'gates, by τ', '^', '#009e73'),
        ):
            found = {n.removeprefix(prefix): r for n, r in rows.items() if n.startswith(prefix)}
            series(axes, dict(sorted(found.items())), label, marker, colour)
        axes.set_xlabel('multiply-accumulates, of those of three single-task nets')
        axes.set_ylabel('Δ_MTL, % (mean and standard deviation over seeds)')
        axes.set_xlim(right=1.09)
        axes.grid(color='0.93')
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=150, metadata={'Date': None} if path.suffix == '.svg' else {})


def series(axes: Axes, found: Mapping[str, Rows], label: str, marker: str, colour: str) -> None:
    """One kind of structure: a point for each setting, with its name beside it."""
    points = [
        (mean(r['of_three'] for r in rows), mean(r['delta_mtl_%'] for r in rows), spread(rows))
        for rows in found.values()
    ]
    x, y, error = zip(*points, strict=True)
    axes.errorbar(
        x, y, error, fmt=f'{marker}-', color=colour, label=label, capsize=3, linewidth=1.2
    )
    for name, (across, up, _) in zip(found, points, strict=True):
        axes.annotate(name, (across, up), xytext=(5, 5), textcoords='offset points', color=colour)


def spread(rows: Rows) -> float:
    return stdev(r['delta_mtl_%'] for r in rows) if len(rows) > 1 else 0.0


if __name__ == '__main__':
    main()
