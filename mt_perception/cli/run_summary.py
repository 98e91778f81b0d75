# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run adds up to, and the table that says it in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from mt_perception.types import Detections, Result

SHOWN_CLASSES = 8
PERCENTILES = (50, 95, 99)


@dataclass
class Summary:
    """Counts and times of a run, added up frame by frame.

    Attributes:
        frames_in: Images that came in.
        frames_out: Images that have a result.
        latency_ms: One time for each result.
        detections: Class → number of detections.
        blocks: Blocks that ran, as one line → number of frames.
        left_out: Reason → number of images without a result.
        failures: Task and reason → number of frames.
    """

    frames_in: int = 0
    frames_out: int = 0
    latency_ms: list[float] = field(default_factory=list)
    detections: Counter[str] = field(default_factory=Counter)
    blocks: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def add_result(self, result: Result) -> None:
        """Count one result of the pipeline."""
        self.frames_in += 1
        self.frames_out += 1
        execution = result.execution
        self.latency_ms.append(execution.stage_ms['total'])
        self.blocks[f'{", ".join(execution.blocks)} (path {execution.path})'] += 1
        self.add_detections(result.detections)
        for task, reason in result.failures.items():
            self.failures[f'{task}: {reason}'] += 1

    def add_detections(self, detections: Detections | None) -> None:
        """Count the detections of one frame."""
        if detections is not None:
            self.detections.update(detections.labels[i] for i in detections.class_ids)

    def add_left_out(self, reasons: Counter[str]) -> None:
        """Count images that came in and have no result."""
        self.left_out.update(reasons)
        self.frames_in += reasons.total()


def summary_table(
    title: str, summary: Summary, facts: Iterable[tuple[str, str]], latency: str
) -> Table:
    """The table at the end of a run.

    Args:
        title: What was run on what.
        summary: What it adds up to.
        facts: More lines: what, value.
        latency: What the latency is measured between.
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
    rows += [('what ran', name) for name, _ in summary.blocks.most_common(3)]
    for name, value in [*rows, *facts]:
        table.add_row(escape(name), escape(value))
    return table


def percentiles_text(values_ms: Sequence[float]) -> str:
    """Median and tail of times in milliseconds."""
    found = np.percentile(values_ms, PERCENTILES)
    return '  '.join(f'p{p} {v:.1f}' for p, v in zip(PERCENTILES, found, strict=True)) + ' ms'


def _listed(counts: Counter[str]) -> str:
    """The most frequent ones in brackets."""
    if not counts:
        return ''
    shown = [f'{name} {number}' for name, number in counts.most_common(SHOWN_CLASSES)]
    more = len(counts) - len(shown)
    return f' ({", ".join(shown)}{f" and {more} more" if more else ""})'
