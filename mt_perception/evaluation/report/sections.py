# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One section of the report for each source: its figures, plots and pictures as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mt_perception.evaluation.comparison import compare_runs
from mt_perception.evaluation.link.study import LinkStudy
from mt_perception.evaluation.rate_distortion import RATE
from mt_perception.evaluation.report.compute_effort import effort_table, path_strips, telling
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
    """All that the report says about one source.

    Attributes:
        anchor: Unique on the page, of safe characters.
        name: Name of the source.
        lead: What it is, in one line.
        warnings: What must not be overlooked.
        cards: Figures of the first run in large print.
        tables: Every run beside the others.
        comparisons: The first run against others, with confidence intervals.
        pictures: Frames of the first run.
        compressed: Frames that were sent as few bytes.
        plots: Group's heading → plots.
        settings: (name of the run, its parameters as text).
    """

    anchor: str
    name: str
    lead: str
    warnings: tuple[str, ...]
    cards: tuple[Card, ...]
    tables: tuple[Table, ...]
    comparisons: tuple[Table, ...]
    pictures: tuple[Shown, ...]
    compressed: tuple[Shown, ...]
    plots: Mapping[str, tuple[Plot, ...]]
    settings: tuple[tuple[str, str], ...]


def section(
    number: int, runs: Sequence[Run], pictures: Pictures, links: Sequence[LinkStudy] = ()
) -> Section:
    """Put together what is known about one source.

    Args:
        number: Of the section, for anchors.
        runs: The runs on this source, the one in question first.
        pictures: Frames of the first run, and compressed ones.
        links: What frames take over narrow links, of any source.
    """
    first = runs[0]
    # Frames that were compressed are measured by bytes, not by what the networks cost.
    plain = [run for run in runs if codec_of(run) is None]
    studies = [study for study in links if study.source == first.summary.source]
    tables = [
        metrics_table(runs),
        shared_table(plain, _baseline(plain)),
        effort_table(runs),
        paths_table(runs),
        stability_table(runs),
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
        cards=tuple(cards(first)),
        tables=tuple(table for table in tables if table is not None),
        comparisons=tuple(
            comparison_table(compare_runs(a, b, RESAMPLES)) for a, b in _pairs(runs)
        ),
        pictures=pictures.frames,
        compressed=pictures.compressed,
        plots={title: tuple(found) for title, found in groups.items() if found},
        settings=tuple(
            (run.label, json.dumps(run.summary.parameters, indent=2, ensure_ascii=False))
            for run in runs
        ),
    )


def _pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """The runs to compare: the first one against others, and features against no loss."""
    first = runs[0]
    rates = [run for run in runs[1:] if (codec := codec_of(run)) and codec.kind == RATE]
    if rates:
        return [(first, rate) for rate in rates[-MOST_COMPARED:]]
    rivals = [run for run in runs[1:] if run.model != first.model] or runs[1:]
    return [(rival, first) for rival in rivals[:MOST_COMPARED]]


def _paths(runs: Sequence[Run], anchor: str) -> list[Plot]:
    told = telling(runs)
    if not told:
        return []
    return [Plot('The path of every frame', path_strips(told, f'{anchor}-paths'))]


def _baseline(runs: Sequence[Run]) -> int:
    """The separate networks, if there are any; else the second run, or the only one."""
    several = [i for i, run in enumerate(runs) if len(run.summary.model.get('baseline') or ()) > 1]
    return several[0] if several else min(1, len(runs) - 1)


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
