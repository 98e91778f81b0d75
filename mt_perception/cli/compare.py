# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception compare``: whether B is better than A, or the difference is noise."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mt_perception.cli.new_path import NewPath
from mt_perception.cli.shared_options import COUNT
from mt_perception.evaluation.comparison import (
    BETTER,
    EQUAL,
    NOISE,
    RESAMPLES,
    WORSE,
    Change,
    Comparison,
    compare_runs,
    pair_runs,
)
from mt_perception.evaluation.output import write_new_text
from mt_perception.evaluation.report.metric_columns import arrow
from mt_perception.evaluation.runs import read_runs

_STYLES = {BETTER: 'bold green', WORSE: 'bold red', EQUAL: 'dim', NOISE: 'dim'}
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument('a', type=_FOLDER)
@click.argument('b', type=_FOLDER)
@click.option(
    '--resamples',
    type=click.IntRange(100, 100_000),
    default=RESAMPLES,
    help='Number of bootstrap resamples.',
)
@click.option('--seed', type=COUNT, default=0, help='Random seed.')
@click.option('--out', type=NewPath(), help='Write the comparison as JSON.')
def compare(a: Path, b: Path, resamples: int, seed: int, out: Path | None) -> None:
    """Compare the evaluations in folders A and B, of the same data.

    Prints for each metric the difference, its 95 % confidence interval from a paired bootstrap
    over frames, and whether B is better, worse, or the difference is noise. MACs are exact.
    """
    pairs = pair_runs(list(read_runs(a)), list(read_runs(b)))
    console = Console()
    comparisons = []
    for one, other in pairs:
        with console.status(f'{resamples} resamples of {len(one.frames)} frames'):
            comparisons.append(compare_runs(one, other, resamples, seed))
        console.print(comparison_table(comparisons[-1]))
        delta = comparisons[-1].delta_mtl
        if delta is not None:
            parts = ', '.join(f'{part.metric} {part.change:+.1%}' for part in delta.tasks)
            console.print(f'Δ_MTL of B against A: {delta.value:+.1%} ({parts})', highlight=False)
        for note in comparisons[-1].notes:
            console.print(f'[yellow]note:[/] {escape(note)}', highlight=False)
    if out is not None:
        content = [comparison.to_json() for comparison in comparisons]
        text = json.dumps(content, indent=1, allow_nan=False) + '\n'
        write_new_text(out, text, lambda old: '"resamples": ' in old)
        console.print(f'written to {escape(str(out))}', highlight=False)


def comparison_table(comparison: Comparison) -> Table:
    """All metrics of a comparison, one a line, and a summary."""
    counts = Counter(change.verdict for change in comparison.changes)
    table = Table(
        title=escape(
            f'A {comparison.a} → B {comparison.b} on {comparison.source}, '
            f'{comparison.frames} frames'
        ),
        caption=f'B is better in {counts[BETTER]} metrics, worse in {counts[WORSE]}, '
        f'equal in {counts[EQUAL]}; the difference is noise in {counts[NOISE]}',
        title_justify='left',
        caption_justify='left',
        box=box.ROUNDED,
    )
    for name in ('metric', 'A', 'B', 'B - A', '95 % interval', 'B is'):
        table.add_column(name, justify='left' if name in ('metric', 'B is') else 'right')
    last = ''
    for change in comparison.changes:
        if last and change.metric != last:
            table.add_section()
        last = change.metric
        table.add_row(*_cells(change))
    return table


def _cells(change: Change) -> tuple[str, ...]:
    scale, digits = (1e-6, 1) if change.name == 'macs' else (1, 4)
    unit = {'macs': ' (M)', 'latency_ms': ' (median)'}.get(change.name, '')
    digits = 2 if change.name == 'latency_ms' else digits
    interval = f'{change.low * scale:+.{digits}f} … {change.high * scale:+.{digits}f}'
    way = arrow(change.higher_is_better)
    return (
        escape(f'{change.metric} {change.name}{unit} {way}'),
        f'{change.a * scale:.{digits}f}',
        f'{change.b * scale:.{digits}f}',
        f'{(change.b - change.a) * scale:+.{digits}f}',
        'exact' if change.is_exact else interval,
        f'[{_STYLES[change.verdict]}]{change.verdict}[/]',
    )
