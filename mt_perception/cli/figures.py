# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The headline figures of evaluations as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from mt_perception.evaluation.records import Json, Summary

MAX_NAME = 18

_FIGURES = (
    ('AP', ('detection', 'ap')),
    ('mIoU', ('segmentation', 'miou')),
    ('AbsRel', ('depth', 'metric', 'abs_rel')),
    ('δ1', ('depth', 'metric', 'delta1')),
)
_RELATIVE = ('AbsRel*', ('depth', 'affine', 'abs_rel'))
"""Depth without a scale is judged after a fit to the truth, which is another figure."""


def figures_table(summaries: Sequence[Summary]) -> Table:
    """One row for each evaluation; columns without any figure are left out."""
    metric_depth = all(
        _figure(s, _RELATIVE[1]) is None or _figure(s, _FIGURES[2][1]) is not None
        for s in summaries
    )
    wanted = _FIGURES if metric_depth else (*_FIGURES, _RELATIVE)
    columns = [(name, [_figure(s, path) for s in summaries]) for name, path in wanted]
    columns = [(name, values) for name, values in columns if any(v is not None for v in values)]
    swept = sorted({name for s in summaries for name in s.parameters['swept']})
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=_caption(summaries, metric_depth),
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in ('source', 'model'):
        table.add_column(name, overflow='fold', min_width=9)
    for name in (*swept, 'frames', *(name for name, _ in columns), 'MMAC', 'ms'):
        table.add_column(name.replace('_', ' '), justify='right', no_wrap=name not in swept)
    for row, summary in enumerate(summaries):
        pseudo = summary.data['pseudo']
        total = summary.timing['latency_ms'].get('total', {})
        table.add_row(
            escape(summary.source) + (f' (truth: {escape(pseudo)})' if pseudo else ''),
            escape(_short(str(summary.model['name']))),
            *(escape(str(summary.parameters['swept'].get(name, ''))) for name in swept),
            str(summary.counts['frames']),
            *('-' if values[row] is None else f'{values[row]:.3f}' for _, values in columns),
            f'{summary.counts["macs_mean"] / 1e6:.0f}',
            f'{total.get("p50", 0):.1f}',
        )
    return table


def _short(name: str) -> str:
    """A peer's name holds those of all its networks."""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + '…'


def _caption(summaries: Sequence[Summary], metric_depth: bool) -> str:
    parts = ['ms: median of one frame']
    if any(s.timing['jobs_at_once'] > 1 for s in summaries):
        parts[0] += ', with several evaluations at once: run one source for true times'
    if not metric_depth:
        parts.append('*: after scale and shift were fitted to the truth of each frame')
    return '; '.join(parts)


def _figure(summary: Summary, path: Sequence[str]) -> Json:
    """A figure deep inside the metrics; None where it was not measured."""
    found: Json = summary.metrics
    for key in path:
        found = (found or {}).get(key)
    return found
