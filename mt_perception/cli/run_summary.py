# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counts and times of a run, and their table in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from mt_perception.reports import BudgetReport, ScaleReport, scale_sentence
from mt_perception.types import Detections, Result

SHOWN_CLASSES = 8
PERCENTILES = (50, 95, 99)


@dataclass
class RunSummary:
    """Counts and times of a run.

    Attributes:
        frames_in: Number of images.
        frames_out: Number of images with a result.
        latency_ms: Time of each result.
        detections: Class → number of detections.
        blocks: Executed blocks, as one line → number of frames.
        paths: Path → number of frames.
        reused: Number of frames with a reused result.
        skipped: Task whose condition was false → number of frames.
        budget: Compute budget of the last frame.
        left_out: Reason → number of images without a result.
        failures: Task and reason → number of frames.
        scales: The scale of depth of each frame for which ground or calibration were wanted.
    """

    frames_in: int = 0
    frames_out: int = 0
    latency_ms: list[float] = field(default_factory=list)
    detections: Counter[str] = field(default_factory=Counter)
    blocks: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    budget: BudgetReport | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    scales: list[ScaleReport] = field(default_factory=list)

    def add_result(self, result: Result) -> None:
        """Count one result of the pipeline."""
        self.frames_in += 1
        self.frames_out += 1
        execution = result.execution
        self.latency_ms.append(execution.stage_ms['total'])
        self.blocks[f'{", ".join(execution.blocks)} (path {execution.path})'] += 1
        self.paths[execution.path] += 1
        self.reused += execution.reuse is not None and execution.reuse.tasks is not None
        self.skipped.update(execution.skipped)
        self.budget = execution.budget or self.budget
        scale = execution.depth_scale
        if scale is not None and scale.is_measured:
            self.scales.append(scale)
        self.add_detections(result.detections)
        for task, reason in result.failures.items():
            self.failures[f'{task}: {reason}'] += 1

    def add_detections(self, detections: Detections | None) -> None:
        """Count the detections of one frame."""
        if detections is not None:
            self.detections.update(detections.labels[i] for i in detections.class_ids)

    def add_left_out(self, reasons: Counter[str]) -> None:
        """Count images without a result."""
        self.left_out.update(reasons)
        self.frames_in += reasons.total()


def summary_table(
    title: str, summary: RunSummary, facts: Iterable[tuple[str, str]], latency: str
) -> Table:
    """The table at the end of a run.

    Args:
        title: Title of the table.
        summary: Counts and times.
        facts: More rows: name, value.
        latency: The interval of the latency.
    """
    table = Table(title=escape(title), title_justify='left', box=box.ROUNDED, show_header=False)
    table.add_column(style='bold', no_wrap=True)
    table.add_column(overflow='fold')
    rows = [('frames in', str(summary.frames_in)), ('frames out', str(summary.frames_out))]
    dropped = summary.left_out.total()
    rows.append(('dropped', f'{dropped}{_listed(summary.left_out)}'))
    if summary.latency_ms:
        rows.append((f'latency ({latency})', percentiles_text(summary.latency_ms)))
    found = summary.detections.total()
    rows.append(('detections', f'{found}{_listed(summary.detections)}'))
    if summary.failures:
        rows.append(('failures', f'{summary.failures.total()}{_listed(summary.failures)}'))
    if summary.scales:
        rows.append(('depth', scale_sentence(summary.scales)))
    rows += [('blocks', name) for name, _ in summary.blocks.most_common(3)]
    rows += spending(summary)
    for name, value in [*rows, *facts]:
        table.add_row(escape(name), escape(value))
    return table


def spending(summary: RunSummary) -> list[tuple[str, str]]:
    """Rows on budget, paths, reuse and conditions; none where they did nothing."""
    frames = max(summary.frames_out, 1)
    rows = []
    if summary.budget is not None:
        wanted, realised = summary.budget.compute, summary.budget.realised
        rows.append(('budget', f'{wanted:.2f} of the full path, realised {realised:.2f}'))
    if len(summary.paths) > 1:
        shares = (f'{path} {count / frames:.0%}' for path, count in summary.paths.most_common())
        rows.append(('paths', ', '.join(shares)))
    if summary.reused:
        rows.append(('reuse', f'{summary.reused} of {summary.frames_out} frames'))
    if summary.skipped:
        rows.append(('skipped', f'{summary.skipped.total()}{_listed(summary.skipped)}'))
    return rows


def latency_warning(summary: RunSummary, target_ms: float, paths: int) -> str | None:
    """A sentence if 95 % of the frames are not within a latency target.

    Args:
        summary: Counts and times.
        target_ms: The target; 0 is none.
        paths: Number of paths of the model.
    """
    if target_ms <= 0 or not summary.latency_ms:
        return None
    p95 = float(np.percentile(summary.latency_ms, 95))
    if p95 <= target_ms:
        return None
    hint = 'the model has no lighter path' if paths < 2 else 'try a smaller --size or --budget'
    return f'the latency target of {target_ms:g} ms was missed: p95 is {p95:.1f} ms; {hint}'


def percentiles_text(values_ms: Sequence[float]) -> str:
    """Median and tail of times in milliseconds."""
    found = np.percentile(values_ms, PERCENTILES)
    return '  '.join(f'p{p} {v:.1f}' for p, v in zip(PERCENTILES, found, strict=True)) + ' ms'


def _listed(counts: Counter[str]) -> str:
    """The most frequent names in brackets."""
    if not counts:
        return ''
    shown = [f'{name} {number}' for name, number in counts.most_common(SHOWN_CLASSES)]
    more = len(counts) - len(shown)
    return f' ({", ".join(shown)}{f" and {more} more" if more else ""})'
