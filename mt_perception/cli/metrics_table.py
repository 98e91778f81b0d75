# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The main metrics of evaluations as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from mt_perception.evaluation.link.study import LOCAL, LinkStudy
from mt_perception.evaluation.records import Json, Summary

MAX_NAME = 18
MAX_VALUE = 8

_ABS_REL = ('AbsRel', ('depth', 'metric', 'abs_rel'))
_METRICS = (
    ('AP', ('detection', 'ap')),
    ('HOTA', ('tracking', 'hota')),
    ('IDF1', ('tracking', 'idf1')),
    ('mIoU', ('segmentation', 'miou')),
    _ABS_REL,
    ('δ1', ('depth', 'metric', 'delta1')),
)
_RELATIVE = ('AbsRel*', ('depth', 'affine', 'abs_rel'))
"""Relative depth is evaluated after a fit to the ground truth, which is another metric."""


def metrics_table(summaries: Sequence[Summary]) -> Table:
    """One row for each evaluation; empty columns are left out."""
    metric_depth = all(
        _metric(s, _RELATIVE[1]) is None or _metric(s, _ABS_REL[1]) is not None for s in summaries
    )
    wanted = _METRICS if metric_depth else (*_METRICS, _RELATIVE)
    columns = [(name, [_metric(s, path) for s in summaries]) for name, path in wanted]
    columns = [(name, values) for name, values in columns if any(v is not None for v in values)]
    sizes = [_metric(s, ('cost', 'payload_bytes')) for s in summaries]
    sent = any(size is not None for size in sizes)
    swept = sorted({name for s in summaries for name in s.parameters['swept']})
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=_caption(summaries, metric_depth),
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    # With one model its name only takes space.
    several = len({str(s.model['name']) for s in summaries}) > 1 or not swept
    for name in ('source', 'model') if several else ('source',):
        table.add_column(name, overflow='fold', min_width=9)
    costs = ('MMAC', 'kB', 'ms') if sent else ('MMAC', 'ms')
    for name in swept:
        values = [str(s.parameters['swept'].get(name, '')) for s in summaries]
        widest = max(map(len, values))
        table.add_column(name.replace('_', ' '), justify='right', min_width=min(MAX_VALUE, widest))
    for name in ('frames', *(name for name, _ in columns), *costs):
        table.add_column(name, justify='right', no_wrap=True)
    for row, summary in enumerate(summaries):
        pseudo = summary.data['pseudo']
        total = summary.timing['latency_ms'].get('total', {})
        table.add_row(
            escape(summary.source) + (f' (reference: {escape(pseudo)})' if pseudo else ''),
            *([escape(_short(str(summary.model['name'])))] if several else []),
            *(escape(str(summary.parameters['swept'].get(name, ''))) for name in swept),
            str(summary.counts['frames']),
            *('-' if values[row] is None else f'{values[row]:.3f}' for _, values in columns),
            f'{summary.counts["macs_mean"] / 1e6:.0f}',
            *(['-' if sizes[row] is None else f'{sizes[row] * 1e-3:.1f}'] if sent else []),
            f'{total.get("p50", 0):.1f}',
        )
    return table


def reliability_table(summary: Summary) -> Table | None:
    """Share of correct pixels by their confidence; None without a confidence."""
    rows = _metric(summary, ('segmentation', 'reliability'))
    if not rows:
        return None
    pixels = sum(row['pixels'] for row in rows)
    swept = (f'{name}={value}' for name, value in summary.parameters['swept'].items())
    run = ' '.join([summary.source, _short(str(summary.model['name'])), *swept])
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=(
            f'{escape(run)}: confidence of the segmentation, expected calibration '
            f'error {_metric(summary, ("segmentation", "ece")):.3f}'
        ),
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in ('confidence', 'right', 'pixels'):
        table.add_column(name, justify='right')
    for row in rows:
        share = row['pixels'] / pixels
        table.add_row(f'{row["confidence"]:.2f}', f'{row["accuracy"]:.2f}', f'{share:.1%}')
    return table


def link_times_table(study: LinkStudy) -> Table:
    """Median time of a frame over every link, by method."""
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=f'{study.source}: ms a frame over a link, measured on this machine',
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    ways = [way for way in study.ways if way != LOCAL]
    for name in ('Mbit/s', LOCAL, *ways):
        table.add_column(name, justify='right')
    (local,) = study.find(LOCAL)
    rows = {(row.way, row.mbit_s): row.p50_ms for row in study.rows}
    for mbit_s in study.settings.mbit_s:
        times = (local.p50_ms, *(rows[way, mbit_s] for way in ways))
        table.add_row(f'{mbit_s:g}', *(f'{ms:.1f}' for ms in times))
    return table


def _short(name: str) -> str:
    """A short name; a baseline's has those of all its networks."""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + '…'


def _caption(summaries: Sequence[Summary], metric_depth: bool) -> str:
    parts = ['ms: median of one frame']
    if any(s.timing.get('jobs_at_once', 1) > 1 for s in summaries):
        parts[0] += ', with several evaluations at once: evaluate one source for true times'
    if not metric_depth:
        parts.append('*: after a fit of scale and shift to the ground truth of each frame')
    return '; '.join(parts)


def _metric(summary: Summary, path: Sequence[str]) -> Json:
    """A metric by its keys; None if it was not measured."""
    found: Json = summary.metrics
    for key in path:
        found = (found or {}).get(key)
    return found
