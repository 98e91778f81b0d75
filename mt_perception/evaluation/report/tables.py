# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report's tables as plain data: the metrics of runs side by side, and comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mt_perception.evaluation.comparison import BETTER, EQUAL, NOISE, WORSE, Comparison
from mt_perception.evaluation.metrics.delta_mtl import DeltaMtl, delta_mtl
from mt_perception.evaluation.records import value_at
from mt_perception.evaluation.report.metric_columns import (
    ACCURACY,
    COST,
    FRAME_COLUMNS,
    HEADLINES,
    STABILITY,
    Column,
    arrow,
    title_of,
)
from mt_perception.evaluation.runs import Run
from mt_perception.evaluation.shared_classes import restrict_metrics, shared_labels

MOST_FRAMES = 100
"""Rows of the index of frames."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and its style on the page (best, better, worse, noise)."""

    text: str
    style: str = ''


@dataclass(frozen=True)
class Row:
    """One row: its name, a detail in small print, and its cells."""

    name: str
    detail: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table: its heading, (title, explanation) of each column, its rows, and a note."""

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    note: str = ''


@dataclass(frozen=True)
class Card:
    """One metric in large print."""

    title: str
    value: str
    note: str


def metrics_table(runs: Sequence[Run], noise: frozenset[str] = frozenset()) -> Table:
    """Accuracy and cost of every run, each on its own classes.

    Args:
        runs: The runs.
        noise: Metrics, as ``detection.ap``, whose differences are noise: none is the best.
    """
    constants = [value_at(r.summary.metrics, ('depth', 'constant', 'abs_rel')) for r in runs]
    notes = [f'A constant depth map has AbsRel {c:.3f} at best.' for c in constants if c]
    own = shared_labels([run.summary for run in runs])
    notes = [
        *notes[:1],
        *(f'The metrics of {task} are on the classes of each model.' for task in own),
    ]
    return _table('Metrics', runs, (*ACCURACY, *COST), ' '.join(notes), frozenset(own), noise)


def overview_table(runs: Sequence[Run]) -> Table:
    """The first run of every source, side by side."""
    named = [replace(run, name=run.summary.source) for run in runs]
    table = _table('All sources', named, (*HEADLINES, *COST[:2]), '')
    rows = tuple(
        Row(
            row.name,
            run.label,
            (
                Cell(str(run.summary.counts['frames'])),
                Cell(str(run.summary.counts['failed'])),
                *(Cell(cell.text) for cell in row.cells),
            ),
        )
        for row, run in zip(table.rows, runs, strict=True)
    )
    return replace(table, columns=(('frames', ''), ('failed', ''), *table.columns), rows=rows)


def stability_table(runs: Sequence[Run], noise: frozenset[str] = frozenset()) -> Table | None:
    """Temporal stability of every run; None if no frames are comparable."""
    pairs = [run.summary.metrics.get('stability', {}).get('pairs', 0) for run in runs]
    if not any(pairs):
        return None
    note = f'Mean over {max(pairs)} pairs of consecutive frames.'
    return _table('Temporal stability', runs, STABILITY, note, frozenset(), noise)


def paths_table(runs: Sequence[Run]) -> Table | None:
    """Share of frames by path; None if all took one."""
    taken = [run.summary.metrics.get('cost', {}).get('paths', {}) for run in runs]
    if all(len(paths) < 2 for paths in taken):
        return None
    names = sorted({name for paths in taken for name in paths})
    rows = []
    for run, paths in zip(runs, taken, strict=True):
        frames = max(sum(paths.values()), 1)
        cells = (Cell(f'{100 * paths[n] / frames:.0f} %' if n in paths else '-') for n in names)
        rows.append(Row(run.label, '', tuple(cells)))
    return Table('Paths taken', tuple((name or 'refused', '') for name in names), tuple(rows))


def shared_table(
    runs: Sequence[Run], baseline: int, noise: frozenset[str] = frozenset()
) -> Table | None:
    """Accuracy on the classes that all runs have, and Δ_MTL against one of them.

    Args:
        runs: The runs.
        baseline: Index of the baseline of Δ_MTL.
        noise: Metrics whose differences are noise: none is the best.
    """
    if len(runs) < 2:
        return None
    shared = shared_labels([run.summary for run in runs])
    metrics = [restrict_metrics(run.summary, shared) for run in runs]
    name = runs[baseline].label
    changes = [delta_mtl(each, metrics[baseline], name) for each in metrics]
    if not any(changes):
        return None
    alike = [replace(run, summary=replace(run.summary, metrics=each))
             for run, each in zip(runs, metrics, strict=True)]  # fmt: skip
    table = _table('Shared classes', alike, HEADLINES, '', frozenset(), noise)
    most = max(len(change.tasks) for change in changes if change)
    rows = tuple(
        replace(row, cells=(*row.cells, _gain(change, most)))
        for row, change in zip(table.rows, changes, strict=True)
    )
    counts = [f'{len(labels)} classes of {task}' for task, labels in shared.items()]
    used = sorted({part.metric for c in changes if c for part in c.tasks})
    note = (
        (f'On the {" and ".join(counts)} that all models have. ' if counts else '')
        + f'Δ_MTL is the mean over tasks of the relative gain against {name}, '
        f'here of {", ".join(used)}.'
    )
    column = ('Δ_MTL', f'against {name}')
    return replace(table, columns=(*table.columns, column), rows=rows, note=note)


def comparison_table(comparison: Comparison) -> Table:
    """The differences between two runs, with confidence intervals."""
    rows = tuple(
        Row(
            f'{title_of(change.metric, change.name)} {arrow(change.higher_is_better)}',
            '',
            (
                Cell(_number(change.b)),
                Cell(_number(change.a)),
                Cell(
                    'exact'
                    if change.is_exact
                    else f'{_number(change.low, "+")} … {_number(change.high, "+")}'
                ),
                Cell(change.verdict, change.verdict),
            ),
        )
        for change in comparison.changes
    )
    verdicts = [change.verdict for change in comparison.changes]
    counts = ', '.join(f'{verdicts.count(v)} {v}' for v in (BETTER, WORSE, EQUAL, NOISE))
    return Table(
        title=f'{comparison.b} against {comparison.a}: {counts}',
        columns=(
            (comparison.b, ''),
            (comparison.a, ''),
            ('difference', '95 % interval'),
            ('verdict', ''),
        ),
        rows=rows,
        note=' '.join(f'{note[0].upper()}{note[1:]}.' for note in comparison.notes),
    )


def cards(run: Run) -> list[Card]:
    """The main metrics of one run, in large print."""
    summary = run.summary
    shown = []
    for column in ACCURACY:
        value = column.of(summary)
        if value is not None and column.title in ('AP', 'HOTA', 'mIoU', 'AbsRel', 'δ1'):
            shown.append(Card(column.title, column.text(value), column.explanation))
    total = summary.timing['latency_ms'].get('total')
    if total:
        tail = f'p95 {total["p95"]:.1f} · max {total["max"]:.1f}'
        shown.append(Card('latency', f'{total["p50"]:.1f} ms', tail))
    macs = summary.counts['macs_mean']
    shown.append(Card('compute', f'{macs * 1e-6:.0f} MMAC', 'mean of one frame'))
    failed = summary.counts['failed']
    trouble = f'{failed} with a failure' if failed else 'none failed'
    shown.append(Card('frames', str(summary.counts['frames']), trouble))
    return shown


def _table(
    title: str,
    runs: Sequence[Run],
    wanted: Sequence[Column],
    note: str,
    unlike: frozenset[str] = frozenset(),
    noise: frozenset[str] = frozenset(),
) -> Table:
    """One row for each run, one column for each metric that any of them has.

    The best value of a column is highlighted, except of groups in ``unlike``, whose classes
    differ, and of metrics in ``noise``.
    """
    columns = [(column, [column.of(run.summary) for run in runs]) for column in wanted]
    columns = [(f, values) for f, values in columns if any(v is not None for v in values)]
    rows = []
    for index, run in enumerate(runs):
        cells = tuple(
            Cell(f.text(values[index]), _style(f, values, index, unlike, noise))
            for f, values in columns
        )
        rows.append(Row(run.label, _detail(run), cells))
    heads = tuple((f'{f.title}\N{NO-BREAK SPACE}{f.arrow}', f.explanation) for f, _ in columns)
    return Table(title, heads, tuple(rows), note)


def _gain(change: DeltaMtl | None, tasks: int) -> Cell:
    """Δ_MTL; a network with fewer tasks than the baseline has none."""
    whole = change is not None and len(change.tasks) == tasks
    return Cell(f'{100 * change.value:+.1f} %' if change and whole else '-')


def _style(
    column: Column,
    values: Sequence[float | None],
    index: int,
    unlike: frozenset[str],
    noise: frozenset[str],
) -> str:
    known = [value for value in values if value is not None]
    if values[index] is None or len(known) < 2 or min(known) == max(known):
        return ''
    best = max(known) if column.higher else min(known)
    is_real = column.path[0] not in unlike and column.compared_name not in noise
    return 'best' if values[index] == best and is_real else ''


def _number(value: float, sign: str = '') -> str:
    """Enough digits for values from 0.0001 to 10⁹."""
    if 1e5 <= abs(value) < math.inf:
        return f'{value * 1e-6:{sign}.1f} M'
    return f'{value:{sign}.4f}' if abs(value) < 10 else f'{value:{sign}.1f}'


def _detail(run: Run) -> str:
    """Detail of a short name: the files of separate networks, or the version of a model."""
    if len(run.summary.model.get('baseline') or ()) > 1:
        return run.model.replace('+', ', ')
    version = run.summary.model.get('version')
    return f'version {version}' if version else ''


def frames_table(run: Run) -> Table | None:
    """The frames of a run with their metrics, the worst first; None without ground truth."""
    rows = []
    for frame in run.frames:
        values = [value_at(frame.metrics, column.path) for column in FRAME_COLUMNS]
        known = [
            value if column.higher else 1 - value
            for value, column in zip(values, FRAME_COLUMNS, strict=True)
            if value is not None
        ]
        if known:
            cells = (c.text(v) for v, c in zip(values, FRAME_COLUMNS, strict=True))
            rows.append((sum(known) / len(known), Row(frame.key, '', tuple(map(Cell, cells)))))
    if not rows:
        return None
    rows.sort(key=lambda row: row[0])
    kept = [row for _, row in rows[:MOST_FRAMES]]
    shown = [i for i in range(len(FRAME_COLUMNS)) if any(row.cells[i].text != '-' for row in kept)]
    return Table(
        f'Frames by error, {run.label}',
        tuple((FRAME_COLUMNS[i].title, FRAME_COLUMNS[i].explanation) for i in shown),
        tuple(replace(row, cells=tuple(row.cells[i] for i in shown)) for row in kept),
        f'The {len(kept)} worst of {len(rows)} frames.' if len(rows) > len(kept) else '',
    )
