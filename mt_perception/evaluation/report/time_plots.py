# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of time: where a frame's time goes, how it spreads, and a recording from end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mt_perception.evaluation.records import FrameRecord, Json
from mt_perception.evaluation.report.metric_columns import SURE
from mt_perception.evaluation.report.svg import (
    FAINT,
    FULL_IN,
    HALF_IN,
    SERIES,
    Ink,
    canvas,
    colour,
    legend,
    plot,
    printable,
    to_svg,
)

_GAP = 1.9
"""A step between frames this many times longer than usual is a gap in the recording."""


@plot
def stage_bars(runs: Sequence[tuple[Ink, Mapping[str, Mapping[str, Json]]]], name: str) -> str:
    """Mean time of each stage, one bar for each run.

    Args:
        runs: The run, and stage → percentiles.
        name: Unique on the page.
    """
    figure, axes = canvas(FULL_IN, 0.42 * len(runs) + 0.8)
    longest = max(stages['total']['mean'] for _, stages in runs)
    for row, (_, stages) in enumerate(runs):
        left = 0.0
        parts = [stage for stage in stages if stage != 'total']
        # JSON keeps no order: what comes first and last is known, blocks stand between.
        parts.sort(key=lambda s: (s == 'postprocess', s != 'preprocess', -stages[s]['mean'], s))
        for index, stage in enumerate(parts):
            mean = stages[stage]['mean']
            axes.barh(row, mean, left=left, height=0.62, color=_stage_colour(stage, index))
            letters = int(150 * mean / longest)
            if letters >= min(len(stage), 8):
                axes.text(
                    left + mean / 2, row, printable(stage)[:letters], ha='center', va='center',
                    fontsize=7, color='white',
                )  # fmt: skip
            left += mean
    axes.set_yticks(range(len(runs)), [printable(ink.name) for ink, _ in runs], fontsize=8.5)
    axes.invert_yaxis()
    axes.grid(visible=False, axis='y')
    axes.set_xlabel('mean time of a frame, ms')
    return to_svg(figure, name, 'time of each stage')


def _stage_colour(stage: str, index: int) -> str:
    return {'preprocess': '#64748b', 'postprocess': '#475569'}.get(
        stage, SERIES[(index - 1) % len(SERIES)]
    )


@plot
def histograms(
    panels: Sequence[tuple[str, Sequence[tuple[Ink, Sequence[float]]]]], name: str
) -> str:
    """Histograms over frames: the first run filled, others as outlines.

    Args:
        panels: Title, and for each run the values of its frames.
        name: Unique on the page.
    """
    figure, axes = canvas(HALF_IN if len(panels) == 1 else FULL_IN, 2.6, columns=len(panels))
    for each, (title, runs) in zip(np.atleast_1d(axes), panels, strict=True):
        known = np.concatenate([np.asarray(values, float) for _, values in runs])
        top = float(np.percentile(known, 99)) or 1.0
        edges = np.linspace(min(0.0, float(known.min())), top, 26)
        for index, (ink, values) in enumerate(runs):
            heights, _ = np.histogram(np.minimum(values, top), edges)
            each.stairs(
                100 * heights / len(values), edges, color=ink.colour, label=printable(ink.name),
                fill=index == 0, alpha=0.45 if index == 0 else 1, linewidth=1.6,
            )  # fmt: skip
        each.set_title(title)
        each.set_ylabel('% of frames')
    legend(figure, np.atleast_1d(axes)[0])
    return to_svg(figure, name, 'spread over frames')


@plot
def timeline(frames: Sequence[FrameRecord], name: str) -> str:
    """A recording from end to end: latency by path, cost, objects; gaps and failures marked."""
    start = min(frame.stamp_ns for frame in frames)
    seconds = np.array([(frame.stamp_ns - start) * 1e-9 for frame in frames])
    latency = np.array([frame.latency_ms.get('total', np.nan) for frame in frames])
    paths = [frame.path or 'refused' for frame in frames]
    figure, axes = canvas(FULL_IN, 4.6, rows=3)
    axes[0].plot(seconds, latency, color=FAINT, linewidth=0.8, zorder=1)
    for index, path in enumerate(sorted(set(paths))):
        chosen = np.array([each == path for each in paths])
        axes[0].scatter(
            seconds[chosen], latency[chosen], s=9, color=colour(index), label=printable(path),
            zorder=2,
        )  # fmt: skip
    axes[1].step(seconds, [frame.macs * 1e-6 for frame in frames], where='mid', color=colour(2))
    axes[2].step(seconds, [_objects(frame) for frame in frames], where='mid', color=colour(3))
    for each, title in zip(
        axes, ('latency, ms', 'cost, MMAC', f'objects with score ≥ {SURE}'), strict=True
    ):
        each.set_title(title)
        each.set_ylim(bottom=0)
        each.set_xlim(0, max(float(seconds[-1]), 1e-3))
        _mark(each, seconds, [bool(frame.failures) for frame in frames])
        each.label_outer()
    axes[2].set_xlabel('seconds')
    legend(figure, axes[0])
    return to_svg(figure, name, 'the recording from end to end')


def _mark(axes: Axes, seconds: NDArray[np.float64], failed: Sequence[bool]) -> None:
    """Shade gaps in the recording, and put a line where a frame failed."""
    steps = np.diff(seconds)
    usual = float(np.median(steps)) if len(steps) else 0.0
    for index in np.flatnonzero(steps > _GAP * usual):
        axes.axvspan(seconds[index], seconds[index + 1], color=colour(1), alpha=0.22, linewidth=0)
    for at in seconds[np.array(failed, bool)]:
        axes.axvline(at, color=colour(4), linewidth=0.9)


def gaps(frames: Sequence[FrameRecord]) -> int:
    """Number of gaps in a recording: steps in time much longer than its usual one."""
    steps = np.diff([frame.stamp_ns for frame in frames])
    return int(np.count_nonzero(steps > _GAP * np.median(steps))) if len(steps) else 0


def _objects(frame: FrameRecord) -> int:
    return 0 if frame.detections is None else int((frame.detections.scores >= SURE).sum())
