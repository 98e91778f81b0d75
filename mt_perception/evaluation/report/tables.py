# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report's tables as plain data: every run beside every other, and what differs for real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mt_perception.evaluation.comparison import BETTER, NOISE, WORSE, Comparison
from mt_perception.evaluation.metrics.delta_mtl import DeltaMtl, delta_mtl
from mt_perception.evaluation.records import Json, Summary
from mt_perception.evaluation.report.metric_columns import (
    ACCURACY,
    COST,
    HEADLINES,
    STABILITY,
    Figure,
    title_of,
)
from mt_perception.evaluation.runs import Run
from mt_perception.evaluation.shared_classes import restrict_metrics, shared_labels


@dataclass(frozen=True)
class Cell:
    """One entry: its text, and its style on the page (best, better, worse, noise)."""

    text: str
    style: str = ''


@dataclass(frozen=True)
class Row:
    """One line: what it is about, a second name in small print, and its entries."""

    name: str
    detail: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table: its heading, (title, explanation) of each column, its lines, and a note."""

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    note: str = ''


@dataclass(frozen=True)
class Card:
    """One figure in large print."""

    title: str
    value: str
    note: str


def metrics_table(runs: Sequence[Run]) -> Table:
    """Accuracy and cost of every run, each on the classes that it has itself."""
    constants = [_constant(run.summary) for run in runs]
    notes = [f'A depth map that is constant has AbsRel {c:.3f} at best.' for c in constants if c]
    own = shared_labels([run.summary for run in runs])
    notes = [*notes[:1], *(f'Figures of {task} are on the classes of each model.' for task in own)]
    return _table('Figures', runs, (*ACCURACY, *COST), ' '.join(notes), frozenset(own))


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


def stability_table(runs: Sequence[Run]) -> Table | None:
    """How steady every run is; None where no frames could be compared."""
    pairs = [run.summary.metrics.get('stability', {}).get('pairs', 0) for run in runs]
    if not any(pairs):
        return None
    note = f'Mean over {max(pairs)} pairs of frames that follow one another.'
    return _table('Steadiness from frame to frame', runs, STABILITY, note)


def paths_table(runs: Sequence[Run]) -> Table | None:
    """How often each path through the graph was taken; None where there was no choice."""
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


def shared_table(runs: Sequence[Run], baseline: int) -> Table | None:
    """Accuracy on the classes that all runs have, and Δ_MTL against one of them.

    Args:
        runs: The runs.
        baseline: Index of the run that the others are measured against.
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
    table = _table('On common ground', alike, HEADLINES, '')
    most = max(len(change.tasks) for change in changes if change)
    rows = tuple(
        replace(row, cells=(*row.cells, _gain(change, most)))
        for row, change in zip(table.rows, changes, strict=True)
    )
    counts = [f'{len(labels)} classes of {task}' for task, labels in shared.items()]
    used = sorted({part.metric for c in changes if c for part in c.tasks})
    note = (
        (f'Measured on the {" and ".join(counts)} that all models have. ' if counts else '')
        + f'Δ_MTL is the mean over tasks of the relative gain against {name}, '
        f'here of {", ".join(used)}.'
    )
    column = ('Δ_MTL', f'against {name}')
    return replace(table, columns=(*table.columns, column), rows=rows, note=note)


def comparison_table(comparison: Comparison) -> Table:
    """What differs between two runs beyond noise."""
    rows = tuple(
        Row(
            f'{title_of(change.metric, change.name)} {"↑" if change.higher_is_better else "↓"}',
            '',
            (
                Cell(_number(change.b)),
                Cell(_number(change.a)),
                Cell(f'{_number(change.low, "+")} … {_number(change.high, "+")}'),
                Cell(change.verdict, change.verdict),
            ),
        )
        for change in comparison.changes
    )
    verdicts = [change.verdict for change in comparison.changes]
    counts = ', '.join(f'{verdicts.count(v)} {v}' for v in (BETTER, WORSE, NOISE))
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
    """The figures of one run that matter most, in large print."""
    summary = run.summary
    shown = []
    for figure in ACCURACY:
        value = figure.of(summary)
        if value is not None and figure.title in ('AP', 'mIoU', 'AbsRel', 'δ1'):
            shown.append(Card(figure.title, figure.text(value), figure.explanation))
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
    wanted: Sequence[Figure],
    note: str,
    unlike: frozenset[str] = frozenset(),
) -> Table:
    """One line for each run, one column for each figure that any of them has.

    The best figure of a column stands out, but not those of metrics that are ``unlike``: of
    other classes, they do not compare.
    """
    columns = [(figure, [figure.of(run.summary) for run in runs]) for figure in wanted]
    columns = [(f, values) for f, values in columns if any(v is not None for v in values)]
    rows = []
    for index, run in enumerate(runs):
        cells = tuple(
            Cell(f.text(values[index]), _style(f, values, index, unlike)) for f, values in columns
        )
        rows.append(Row(run.label, _detail(run), cells))
    heads = tuple(
        (f'{f.title}\N{NO-BREAK SPACE}{"↑" if f.higher else "↓"}', f.explanation)
        for f, _ in columns
    )
    return Table(title, heads, tuple(rows), note)


def _gain(change: DeltaMtl | None, tasks: int) -> Cell:
    """Δ_MTL; a network that serves fewer tasks than the baseline has none."""
    whole = change is not None and len(change.tasks) == tasks
    return Cell(f'{100 * change.value:+.1f} %' if change and whole else '-')


def _style(
    figure: Figure, values: Sequence[float | None], index: int, unlike: frozenset[str]
) -> str:
    known = [value for value in values if value is not None]
    if values[index] is None or len(known) < 2 or min(known) == max(known):
        return ''
    best = max(known) if figure.higher else min(known)
    return 'best' if values[index] == best and figure.path[0] not in unlike else ''


def _number(value: float, sign: str = '') -> str:
    """Enough digits for figures from 0.0001 to a thousand million."""
    if abs(value) >= 1e5:
        return f'{value * 1e-6:{sign}.1f} M'
    return f'{value:{sign}.4f}' if abs(value) < 10 else f'{value:{sign}.1f}'


def _constant(summary: Summary) -> float | None:
    found: Json = summary.metrics.get('depth', {}).get('constant')
    return float(found['abs_rel']) if isinstance(found, Mapping) else None


def _detail(run: Run) -> str:
    """What a short name leaves out: the files of separate networks, the version of a model."""
    if len(run.summary.model.get('baseline') or ()) > 1:
        return run.model.replace('+', ', ')
    version = run.summary.model.get('version')
    return f'version {version}' if version else ''
