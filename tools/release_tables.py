# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of released figures for the README and the site, read from the model cards.

A card holds the tables that ``benchmarks/release_figures.py`` prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mt_perception.model.folder import read_manifest

OURS = 'ours, full'
# (figure, first column of its table, its column, rows: data or kind, networks of others,
#  metric of the manifest)
_DETECTOR, _SEGMENTER, _DEPTH = 'detector', 'segmenter', 'mean over scenes'
Table = list[dict[str, str]]


def tables(card: str, first: str) -> Table:
    """Return the rows of all tables of a card whose first column is called `first`."""
    rows: Table = []
    header: Sequence[str] = ()
    for line in card.splitlines():
        cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
        if not line.startswith('|'):
            header = ()
        elif not header:
            # Two columns may be called "95 %": each belongs to the column before it.
            header = [f'{cells[i - 1]} 95 %' if name == '95 %' else name
                      for i, name in enumerate(cells)]  # fmt: skip
        elif header[0] == first and not set(line) <= set('|-: '):
            rows.append(dict(zip(header, cells, strict=True)))
    if not rows:
        raise SystemExit(f'a model card has no table with the first column {first!r}')
    return rows


def release_table(models: Sequence[Path]) -> str:
    """Return one table with a column for each model, for the README.

    Args:
        models: Model folders with a card.

    Raises:
        SystemExit: A card disagrees with its manifest, or has not the tables.
    """
    cards = {folder.name: _card(folder) for folder in models}
    names = [f'`{folder.name}` {read_manifest(folder).version}' for folder in models]
    lines = [f'| metric | measured on | {" | ".join(names)} | others |']
    lines.append('|---' * (len(names) + 3) + '|')
    for title, first, column, key in (
        ('AP of boxes', _DETECTOR, 'AP', ('images', '247')),
        ('mIoU of 15 classes', _SEGMENTER, 'mIoU', ()),
        ('IoU of person', _SEGMENTER, 'person', ()),
        ('AbsRel of depth in metres', _DEPTH, 'AbsRel', ('kind', 'metric')),
        ('AbsRel after scale and shift', _DEPTH, 'AbsRel', ('kind', 'affine')),
    ):
        found = {name: _rows(card, first, key) for name, card in cards.items()}
        any_rows = next(iter(found.values()))
        cells = [title, _data(first, any_rows)]
        cells += [_value(_only(rows, first, OURS), column) for rows in found.values()]
        cells.append(', '.join(_others(cards, first, column, key)))
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def card_table(model: Path, first: str) -> str:
    """Return the tables of a card with this first column as Markdown, for the site."""
    rows = tables(_card(model), first)
    header = list(rows[0])
    lines = [f'| {" | ".join(re.sub("^.* 95 %$", "95 %", name) for name in header)} |']
    lines.append('|---' * len(header) + '|')
    lines += [f'| {" | ".join(row.get(name, "") for name in header)} |' for row in rows]
    return '\n'.join(lines) + '\n'


def _card(model: Path) -> str:
    """The text of a card that agrees with the manifest beside it."""
    text = (model / 'MODEL_CARD.md').read_text(encoding='utf-8')
    measured = {row.metric: row.value for row in read_manifest(model).accuracy}
    for metric, first, column, key in (
        ('ap', _DETECTOR, 'AP', ('images', '247')),
        ('miou', _SEGMENTER, 'mIoU', ()),
        ('abs_rel', _DEPTH, 'AbsRel', ('kind', 'metric')),
    ):
        value = float(_only(_rows(text, first, key), first, OURS)[column])
        if metric in measured and abs(measured[metric] - value) > 6e-4:
            raise SystemExit(
                f'{model}: {metric} is {value} in MODEL_CARD.md and {measured[metric]} in '
                'manifest.yaml; run benchmarks/release_figures.py and correct the card'
            )
    return text


def _rows(card: str, first: str, key: Sequence[str]) -> Table:
    rows = tables(card, first)
    return [row for row in rows if not key or re.search(rf'\b{key[1]}$', row[key[0]])]


def _only(rows: Table, first: str, name: str) -> dict[str, str]:
    return next(row for row in rows if row[first] == name)


def _others(cards: dict[str, str], first: str, column: str, key: Sequence[str]) -> Iterator[str]:
    card = next(iter(cards.values()))
    for row in _rows(card, first, key):
        if not row[first].startswith('ours') and row[column]:
            images = row.get('images', '')
            note = '' if images == _rows(card, first, key)[0].get('images', '') else images
            yield f'{row[first]} {_value(row, column)}' + (f' on {note} of them' if note else '')
    if key == ('kind', 'metric'):
        constant = _only(_rows(card, first, ('kind', 'constant')), first, OURS)
        yield f'best constant of each image {_value(constant, column)}'


def _value(row: dict[str, str], column: str) -> str:
    return f'{row[column]} ({row[f"{column} 95 %"]})' if row[column] else ''


def _data(first: str, rows: Table) -> str:
    if first == _DEPTH:
        return '13 scenes'
    images = rows[0]['images']
    return f'{images.split(",")[-1].strip()} images'
