# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of offload: accuracy over bytes, and time over bandwidth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from mt_perception.evaluation.link.study import LinkRow
from mt_perception.evaluation.report.metric_columns import Column
from mt_perception.evaluation.report.svg import (
    FULL_IN,
    INK,
    canvas,
    colour,
    legend,
    plot,
    to_svg,
)

_MARKERS = 'os^Dv'
_NAMED_COLOURS = {'features': 0, 'JPEG': 1, 'WebP': 2}


@dataclass(frozen=True)
class Curve:
    """One kind of codec: its name, (bytes, accuracy) in rising order, and their labels."""

    name: str
    points: tuple[tuple[float, float], ...]
    labels: tuple[str, ...]


@plot
def rate_curves(panels: Sequence[tuple[Column, Sequence[Curve], float | None]], name: str) -> str:
    """Accuracy over bytes: a panel for each figure, a line for each kind of codec.

    Args:
        panels: The figure, its curves, and what it is without loss.
        name: Unique on the page.
    """
    figure, axes = canvas(FULL_IN, 3.3, columns=len(panels))
    for each, (accuracy, curves, whole) in zip(np.atleast_1d(axes), panels, strict=True):
        for curve in curves:
            number = _NAMED_COLOURS[curve.name]
            x = [size * 1e-3 for size, _ in curve.points]
            y = [value for _, value in curve.points]
            each.plot(
                x, y, '-', marker=_MARKERS[number], color=colour(number), markersize=5,
                label=curve.name,
            )  # fmt: skip
            for at, label in enumerate(curve.labels):
                each.annotate(
                    label, (x[at], y[at]), fontsize=7, color=INK, xytext=(5, -9),
                    textcoords='offset points', annotation_clip=False,
                )  # fmt: skip
        if whole is not None:
            each.axhline(whole, color=INK, linestyle=':', linewidth=1.0, label='no loss')
        each.set_title(f'{accuracy.title} {accuracy.arrow}')
        each.set_xlabel('kB a frame', fontsize=8)
        each.set_xlim(left=0)
        each.margins(y=0.12)
    legend(figure, np.atleast_1d(axes)[0], 4)
    return to_svg(figure, name, 'accuracy over bytes')


@plot
def link_curves(ways: Mapping[str, Sequence[LinkRow]], local_ms: float, name: str) -> str:
    """Median time of a frame over bandwidth, both on scales of ratios.

    Args:
        ways: How frames were sent → the figures, the narrowest link first.
        local_ms: Median of a frame that is run here.
        name: Unique on the page.
    """
    figure, axes = canvas(FULL_IN, 3.6)
    for number, (way, rows) in enumerate(ways.items()):
        shade = colour(1 if way.startswith('JPEG') else 0)
        axes.plot(
            [row.mbit_s for row in rows], [row.p50_ms for row in rows], '-',
            marker=_MARKERS[number % len(_MARKERS)], color=shade,
            alpha=1.0 if number < 2 else max(0.35, 1.0 - 0.28 * (number - 1)), label=way,
        )  # fmt: skip
    axes.axhline(local_ms, color=INK, linestyle=':', linewidth=1.0, label='run here')
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.set_xticks(sorted({row.mbit_s for rows in ways.values() for row in rows}))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel('Mbit/s')
    axes.set_ylabel('ms a frame')
    legend(figure, axes, 5)
    return to_svg(figure, name, 'time of a frame over bandwidth')
