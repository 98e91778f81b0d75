# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One section of the report for each source: tables, plots and pictures as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mt_perception.evaluation.comparison import EQUAL, NOISE, Comparison, compare_runs
from mt_perception.evaluation.link.study import LinkStudy
from mt_perception.evaluation.rate_distortion import RATE
from mt_perception.evaluation.report.compute_effort import effort_table, path_strips, with_choice
from mt_perception.evaluation.report.frame_pictures import Pictures, Shown
from mt_perception.evaluation.report.offload import (
    codec_of,
    link_plots,
    link_table,
    rate_plots,
    rate_table,
)
from mt_perception.evaluation.report.plot_groups import (
    Plot,
    depth,
    detection,
    segmentation,
    time,
    trade_offs,
)
from mt_perception.evaluation.report.tables import (
    Card,
    Table,
    cards,
    comparison_table,
    frames_table,
    metrics_table,
    paths_table,
    shared_table,
    stability_table,
)
from mt_perception.evaluation.runs import Run

RESAMPLES = 300
MOST_COMPARED = 4


@dataclass(frozen=True)
class Section:
    """The report on one source.

    Attributes:
        anchor: Unique on the page, of safe characters.
        name: Name of the source.
        lead: The data, in one line.
        warnings: Limits of the metrics, one sentence each.
        run: Name of the first run, which cards and pictures are of.
        cards: Metrics of the first run in large print.
        tables: The metrics of all runs.
        comparisons: The first run against others, with confidence intervals.
        pictures: Frames of the first run.
        frames: Index of the frames of the first run by error.
        compressed: Frames at few bytes.
        plots: Heading → plots.
        settings: (name of the run, its parameters as text).
    """

    anchor: str
    name: str
    lead: str
    warnings: tuple[str, ...]
    run: str
    cards: tuple[Card, ...]
    tables: tuple[Table, ...]
    comparisons: tuple[Table, ...]
    pictures: tuple[Shown, ...]
    frames: Table | None
    compressed: tuple[Shown, ...]
    plots: Mapping[str, tuple[Plot, ...]]
    settings: tuple[tuple[str, str], ...]


def section(
    number: int, runs: Sequence[Run], pictures: Pictures, links: Sequence[LinkStudy] = ()
) -> Section:
    """The section of one source.

    Args:
        number: Number of the section, for anchors.
        runs: The runs on this source, the main one first.
        pictures: Frames of the first run, and compressed ones.
        links: Times of frames over narrow links, of any source.
    """
    first = runs[0]
    # Compressed frames are compared by bytes, not by the cost of the networks.
    plain = [run for run in runs if codec_of(run) is None]
    studies = [study for study in links if study.source == first.summary.source]
    comparisons = [compare_runs(a, b, RESAMPLES) for a, b in _pairs(runs)]
    noise = _noise(comparisons)
    tables = [
        metrics_table(runs, noise),
        shared_table(plain, _baseline(plain), noise),
        effort_table(runs),
        paths_table(runs),
        stability_table(runs, noise),
        rate_table(runs),
        *map(link_table, studies),
    ]
    anchor = f's{number}'
    groups = {
        'Accuracy against cost': trade_offs(plain, anchor),
        'Offload': [*rate_plots(runs, anchor), *link_plots(studies, anchor)],
        'Detection': detection(runs, anchor),
        'Segmentation': segmentation(runs, anchor),
        'Depth': depth(runs, anchor),
        'Time': time(runs, anchor),
        'Paths': _paths(runs, anchor),
    }
    return Section(
        anchor=anchor,
        name=first.summary.source,
        lead=_lead(first, len(runs)),
        warnings=tuple(filter(None, [*_warnings(runs), pictures.warning])),
        run=first.label,
        cards=tuple(cards(first)),
        tables=tuple(table for table in tables if table is not None),
        comparisons=tuple(map(comparison_table, comparisons)),
        pictures=pictures.frames,
        frames=frames_table(first),
        compressed=pictures.compressed,
        plots={title: tuple(found) for title, found in groups.items() if found},
        settings=tuple(
            (run.label, json.dumps(run.summary.parameters, indent=2, ensure_ascii=False))
            for run in runs
        ),
    )


def _pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """The runs to compare: the first one with others, and features with no loss."""
    first = runs[0]
    rates = [run for run in runs[1:] if (codec := codec_of(run)) and codec.kind == RATE]
    if rates:
        return [(first, rate) for rate in rates[-MOST_COMPARED:]]
    rivals = [run for run in runs[1:] if run.model != first.model] or runs[1:]
    return [(rival, first) for rival in rivals[:MOST_COMPARED]]


def _paths(runs: Sequence[Run], anchor: str) -> list[Plot]:
    chosen = with_choice(runs)
    if not chosen:
        return []
    return [Plot('The path of every frame', path_strips(chosen, f'{anchor}-paths'))]


def _baseline(runs: Sequence[Run]) -> int:
    """Index of the baseline of Δ_MTL: the separate networks, else the run with most compute."""
    several = [i for i, run in enumerate(runs) if len(run.summary.model.get('baseline') or ()) > 1]
    if several or not runs:
        return several[0] if several else 0
    macs = [float(run.summary.counts['macs_mean']) for run in runs]
    return macs.index(max(macs))


def _noise(comparisons: Sequence[Comparison]) -> frozenset[str]:
    """The metrics whose difference is noise in a comparison of this section."""
    return frozenset(
        f'{change.metric}.{change.name}'
        for comparison in comparisons
        for change in comparison.changes
        if change.verdict in (EQUAL, NOISE)
    )


def _lead(run: Run, runs: int) -> str:
    data = run.summary.data
    truth = ', '.join(data.get('truth') or ()) or 'none'
    return (
        f'{data.get("kind", "source")} · {run.summary.counts["frames"]} frames · '
        f'ground truth: {truth} · {runs} {"run" if runs == 1 else "runs"} · data {run.data[:12]}'
    )


def _warnings(runs: Sequence[Run]) -> list[str]:
    found: list[str] = []
    found += runs[0].summary.data.get('notes') or ()
    if not runs[0].summary.data.get('truth'):
        found.append(
            'There is no ground truth, so no accuracy: give annotations with --truth, or compare '
            'with the results of another model with --reference.'
        )
    pseudo = runs[0].summary.data.get('pseudo')
    if pseudo:
        found.append(
            f'The ground truth is the result of {pseudo}, not annotations or sensors: the metrics '
            'measure agreement with it.'
        )
    if any(run.summary.timing.get('jobs_at_once', 1) > 1 for run in runs):
        found.append('Several evaluations ran at once: times are longer than alone.')
    for run in runs:
        for reason, count in run.summary.failures.items():
            found.append(f'{run.label}: {reason} ({count} {"frame" if count == 1 else "frames"})')
    return found[:12]
