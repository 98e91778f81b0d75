# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of accuracy: against cost, by class, by size and by distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mt_perception.evaluation.records import Json
from mt_perception.evaluation.report.metric_columns import SURE, Column
from mt_perception.evaluation.report.svg import (
    FAINT,
    FULL_IN,
    HALF_IN,
    INK,
    SERIES,
    Ink,
    canvas,
    legend,
    plot,
    printable,
    to_svg,
)

MOST_CLASSES = 32
"""Bars by class beyond these are left out, the rarest first."""

_NARROW = 16
_RIGHT, _WRONG = SERIES[0], SERIES[1]


@dataclass(frozen=True)
class Series:
    """The points of one model over a sweep, or its only one: names, costs and accuracies."""

    ink: Ink
    points: tuple[str, ...]
    cost: tuple[float, ...]
    accuracy: tuple[float, ...]


@plot
def trade_off(panels: Sequence[tuple[Column, Column, Sequence[Series]]], name: str) -> str:
    """Accuracy against cost: a line for each model that was swept, a point for each other one.

    Args:
        panels: Column of cost, figure of accuracy, and the series.
        name: Unique on the page.
    """
    wide = len(panels) > 1
    figure, axes = canvas(FULL_IN if wide else HALF_IN, 3.3, columns=len(panels))
    for each, (cost, accuracy, series) in zip(np.atleast_1d(axes), panels, strict=True):
        for one in series:
            order = np.argsort(one.cost)
            x, y = np.array(one.cost)[order], np.array(one.accuracy)[order]
            each.plot(
                x, y, 'o-', color=one.ink.colour, markersize=7, label=printable(one.ink.name)
            )
            for k, at in enumerate(order):
                each.annotate(
                    printable(one.points[at]), (x[k], y[k]), fontsize=7, color=INK,
                    xytext=(6, -10), textcoords='offset points', annotation_clip=False,
                )  # fmt: skip
        each.set_xlabel(f'{cost.title}  ({cost.explanation})', fontsize=8)
        each.set_title(f'{accuracy.title} {accuracy.arrow}')
        each.set_xlim(left=0)
        each.margins(x=0.12, y=0.18)
    legend(figure, np.atleast_1d(axes)[0], 4 if wide else 2)
    return to_svg(figure, name, 'accuracy against cost')


@plot
def class_bars(
    runs: Sequence[tuple[Ink, Mapping[str, float]]],
    counts: Mapping[str, int],
    name: str,
    counted: bool = True,
    top: float | None = 1.0,
) -> str:
    """One group of bars for each class, that of the highest count first.

    Args:
        runs: The run, and class → figure in [0, 1].
        counts: Class → how often it occurs.
        name: Unique on the page.
        counted: Whether to write the counts.
        top: Upper end of the axis; None fits it to the bars.
    """
    classes = sorted(counts, key=lambda label: (-counts[label], label))[:MOST_CLASSES]
    narrow = len(classes) <= _NARROW
    figure, axes = canvas(HALF_IN if narrow else FULL_IN, 3.3)
    width = 0.8 / len(runs)
    for index, (ink, values) in enumerate(runs):
        places = np.arange(len(classes)) + (index - (len(runs) - 1) / 2) * width
        heights = [values.get(label, 0.0) for label in classes]
        axes.bar(
            places, heights, width * 0.9, color=ink.colour, alpha=ink.alpha,
            label=printable(ink.name),
        )  # fmt: skip
    slanted = {'rotation': 45, 'ha': 'right', 'rotation_mode': 'anchor'}
    axes.set_xticks(
        range(len(classes)),
        [printable(f'{label} · {counts[label]}' if counted else label) for label in classes],
        fontsize=7.5, **(slanted if len(classes) > 4 else {}),
    )  # fmt: skip
    axes.set_xlim(-0.6, len(classes) - 0.4)
    axes.set_ylim(0, top)
    axes.grid(visible=False, axis='x')
    legend(figure, axes, 2 if narrow else 4)
    return to_svg(figure, name, 'figures by class')


@plot
def operating_points(
    runs: Sequence[tuple[Ink, Sequence[Mapping[str, float | None]]]], name: str
) -> str:
    """Precision and recall if detections below a score are dropped.

    Args:
        runs: The run, and its points as the detection metric gives them.
        name: Unique on the page.
    """
    figure, axes = canvas(HALF_IN, 3.3)
    for ink, points in runs:
        known = [p for p in points if p['precision'] is not None and p['recall'] is not None]
        x, y = [p['recall'] for p in known], [p['precision'] for p in known]
        axes.plot(x, y, '-', color=ink.colour, alpha=ink.alpha, label=printable(ink.name))
        usual = [i for i, p in enumerate(known) if p['score'] == SURE]
        axes.plot([x[i] for i in usual], [y[i] for i in usual], 'o', color=ink.colour)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel('recall: share of the objects that are found')
    axes.set_ylabel('precision')
    legend(figure, axes, 2)
    return to_svg(figure, name, 'precision and recall')


@plot
def reliability(runs: Sequence[tuple[Ink, Sequence[Mapping[str, float]]]], name: str) -> str:
    """Precision of detections by their score; on the diagonal a score is a probability.

    Args:
        runs: The run, and its reliability as the detection metric gives it.
        name: Unique on the page.
    """
    figure, axes = canvas(HALF_IN, 3.3)
    axes.plot([0, 1], [0, 1], '--', color=FAINT, linewidth=1)
    for ink, bins in runs:
        axes.plot(
            [each['score'] for each in bins], [each['precision'] for each in bins], 'o-',
            color=ink.colour, alpha=ink.alpha, markersize=5, label=printable(ink.name),
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel('mean score')
    axes.set_ylabel('precision')
    legend(figure, axes, 2)
    return to_svg(figure, name, 'precision by score')


@plot
def confusion_map(counts: Mapping[str, Mapping[str, int]], name: str) -> str:
    """Predicted classes of the pixels of each true class, in per cent of the row."""
    given = {label for row in counts.values() for label in row}
    labels = sorted({*counts, *given} - {''})
    columns = [*labels, *([''] if '' in given else [])]
    table = np.array([[counts.get(t, {}).get(g, 0) for g in columns] for t in labels], float)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, axes = canvas(HALF_IN, 0.6 + HALF_IN * len(labels) / (len(columns) + 2))
    for row, column in np.argwhere(share >= 0.005):
        value = share[row, column]
        shade = _RIGHT if columns[column] == labels[row] else _WRONG
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, color=shade, alpha=0.85 * value, lw=0)
        )
        axes.text(
            column, row, f'{100 * value:.0f}', ha='center', va='center', fontsize=6.5, color=INK
        )
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_aspect('equal')
    axes.set_xticks(
        range(len(columns)), [printable(label or 'none') for label in columns],
        rotation=45, ha='right', rotation_mode='anchor', fontsize=7.5,
    )  # fmt: skip
    axes.set_yticks(range(len(labels)), [printable(label) for label in labels], fontsize=7.5)
    axes.grid(visible=False)
    axes.set_xlabel('given')
    axes.set_ylabel('true')
    return to_svg(figure, name, 'classes given to the pixels of each true class')


@plot
def depth_ranges(runs: Sequence[tuple[Ink, Sequence[Mapping[str, Json]]]], name: str) -> str:
    """Relative error and bias by true distance, and how many pixels lie there.

    Args:
        runs: The run, and its ranges as the depth metric gives them.
        name: Unique on the page.
    """
    figure, axes = canvas(FULL_IN, 2.9, columns=3)
    for ink, ranges in runs:
        for each, key, scale in ((axes[0], 'abs_rel', 100.0), (axes[1], 'bias_m', 1.0)):
            each.stairs(
                [r[key] * scale for r in ranges], _edges(ranges), baseline=None,
                color=ink.colour, alpha=ink.alpha, linewidth=1.8, label=printable(ink.name),
            )  # fmt: skip
    ranges = runs[0][1]
    total = sum(r['pixels'] for r in ranges)
    shares = [100 * r['pixels'] / total for r in ranges]
    axes[2].stairs(shares, _edges(ranges), fill=True, color=FAINT)
    axes[1].axhline(0, color=INK, linewidth=0.6)
    axes[0].set_ylim(bottom=0)
    for each, title in zip(
        axes, ('relative error, % ↓', 'bias, m (above 0: too far)', 'true pixels, %'), strict=True
    ):
        each.set_title(title)
        each.set_xlabel('true distance, m')
        each.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    legend(figure, axes[0])
    return to_svg(figure, name, 'depth errors by distance')


def _edges(ranges: Sequence[Mapping[str, Json]]) -> list[float]:
    """The edges of neighbouring ranges; the last one may be open."""
    last = ranges[-1]
    return [r['from_m'] for r in ranges] + [last['to_m'] or 1.5 * last['from_m']]
