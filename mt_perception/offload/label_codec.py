# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lossless compression of label maps: prediction from four neighbours, and entropy coding.

A coarse grid is coded first. Cells in the middle of four known ones follow, then those between
them, until every cell is known. Where the four neighbours agree, a cell nearly always has their
label; elsewhere it mostly has one of two. A map of 160×208 takes 0.2 to 0.4 kB, 0.3 to 0.4 of
its deflated size.

The tables depend only on the distance and the agreement of the neighbours, and are integers, so
that equal maps are equal bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PayloadError, ProtocolError
from mt_perception.offload.entropy_coder import (
    TOTAL,
    Chunk,
    EntropyCoder,
    FrequencyTable,
    Reader,
    check_end,
)

Labels = NDArray[np.uint8]

_FARTHEST = 16
"""Distance of the cells of the coarse grid, at most. A coarser one saves 30 bytes, which take
less time on a link of 1 Mbit/s than the additional passes."""

_USUAL, _OTHER, _NEW = range(3)
"""Entries of a cell: the most frequent label of its neighbours, another of them, or none."""

_RARITIES = (
    # (n, m): _OTHER has a probability of 2^-n, _NEW of 2^-m, for four equal neighbours, three
    # equal ones, and others. Cells in the middle of four, at a distance of 16, 8, 4 and 2 cells …
    ((24, 5), (3, 7), (1, 5)),
    ((24, 6), (3, 7), (1, 5)),
    ((24, 7), (4, 9), (1, 6)),
    ((24, 12), (5, 11), (1, 7)),
    # … and cells between four.
    ((24, 8), (3, 8), (1, 5)),
    ((24, 11), (4, 8), (1, 6)),
    ((24, 13), (5, 11), (1, 7)),
    ((24, 16), (6, 12), (1, 7)),
)
_STEPS = len(_RARITIES) // 2
_AGREEMENTS = 3

_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclass(frozen=True, eq=False)
class _Pass:
    """Cells that are coded together, and what their neighbours say about them.

    Attributes:
        cells: Views of the cells, n of them together.
        table: Table of the cells with four equal neighbours; those of the others follow.
        nearest: (n,), a neighbour's label of each cell.
        unequal: Indices of the cells with unequal neighbours.
        usual: The most frequent label around each of these.
        other: Another label around each of these.
        three: Which of these have three equal neighbours.
    """

    cells: tuple[Labels, ...]
    table: int
    nearest: Labels
    unequal: NDArray[np.intp]
    usual: Labels
    other: Labels
    three: NDArray[np.bool_]

    @property
    def equal(self) -> NDArray[np.bool_]:
        """(n,), which cells have four equal neighbours."""
        found = np.ones(self.nearest.size, bool)
        found[self.unequal] = False
        return found


def encode_labels(labels: Labels) -> bytes:
    """Compress a map (h, w) of at least one cell."""
    used = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    rank_of = np.zeros(256, np.uint8)
    rank_of[used] = np.arange(used.size)
    ranks = rank_of[labels]
    far = _coarsest(labels.shape)
    table = _rank_table(used.size)
    chunks: list[Chunk] = [(table, ranks[::far, ::far].astype(np.int32).ravel())]
    for each in _passes(ranks):
        values = np.concatenate([cells.ravel() for cells in each.cells])
        new = values != each.nearest
        chunks.append((each.table, new[each.equal] * np.int32(_NEW)))
        ambiguous = values[each.unequal]
        entries = np.where(ambiguous == each.other, np.int32(_OTHER), np.int32(_NEW))
        entries[ambiguous == each.usual] = _USUAL
        chunks.append((each.table + 1, entries[each.three]))
        chunks.append((each.table + 2, entries[~each.three]))
        new[each.unequal] = entries == _NEW
        chunks.append((table, values[new].astype(np.int32)))
    return bytes((used.size - 1, *used.tolist())) + _coder().stack(chunks)


def decode_labels(data: bytes, shape: tuple[int, int]) -> Labels:
    """Decompress a map.

    Args:
        data: The code.
        shape: (h, w), at least one cell; the caller limits it.

    Raises:
        ProtocolError: The code is damaged.
    """
    count = data[0] + 1 if data else 1
    used = np.frombuffer(data[1 : count + 1], np.uint8)
    try:
        # Without a byte behind the labels this fails, so that they are complete.
        reader = _coder().reader(data[count + 1 :])
        ranks = _decoded(reader, shape, count)
        check_end(reader)
    except PayloadError as error:
        raise ProtocolError(f'a compressed label map is damaged: {error}') from error
    labels: Labels = used[ranks]
    return labels


def _decoded(reader: Reader, shape: tuple[int, int], count: int) -> Labels:
    """The rank of each cell's label among the labels that occur.

    Raises:
        PayloadError: An entry or a rank does not exist.
    """
    ranks = np.empty(shape, np.uint8)
    far = _coarsest(shape)
    coarse = ranks[::far, ::far]
    table = _rank_table(count)
    coarse[...] = _entries(reader, table, coarse.size, count).reshape(coarse.shape)
    for each in _passes(ranks):
        values, new, equal = each.nearest.copy(), np.zeros(each.nearest.size, bool), each.equal
        new[equal] = _entries(reader, each.table, new.size - each.unequal.size, 3) != _USUAL
        entries = np.empty(each.unequal.size, np.int32)
        for offset, which in ((1, each.three), (2, ~each.three)):
            entries[which] = _entries(reader, each.table + offset, int(which.sum()), 3)
        values[each.unequal] = np.where(entries == _USUAL, each.usual, each.other)
        new[each.unequal] = entries == _NEW
        values[new] = _entries(reader, table, int(new.sum()), count)
        begin = 0
        for cells in each.cells:
            cells[...] = values[begin : begin + cells.size].reshape(cells.shape)
            begin += cells.size
    return ranks


def _entries(reader: Reader, table: int, count: int, limit: int) -> NDArray[np.int32]:
    """The next entries of a table.

    Raises:
        PayloadError: An entry is not below the limit.
    """
    found = _coder().next_entries(reader, table, count)
    if found.max(initial=0) >= limit:
        raise PayloadError('corrupted', f'entry {found.max()} of a label; expected below {limit}')
    return found


def _coarsest(shape: tuple[int, ...]) -> int:
    """Distance of the cells of the coarse grid: every finer one has two rows and columns."""
    far = _FARTHEST
    while far // 2 >= min(shape):
        far //= 2
    return far


def _passes(known: Labels) -> Iterator[_Pass]:
    """The cells of a map (h, w) in the order of coding, without the coarse grid.

    The caller fills the cells of a pass before it asks for the next one.
    """
    far = _coarsest(known.shape)
    while far > 1:
        grid = known[:: far // 2, :: far // 2]
        row = _STEPS + 1 - far.bit_length()
        yield _predicted(grid, ((1, 1),), _CORNERS, row)
        yield _predicted(grid, ((0, 1), (1, 0)), _SIDES, _STEPS + row)
        far //= 2


def _predicted(
    grid: Labels,
    firsts: tuple[tuple[int, int], ...],
    offsets: tuple[tuple[int, int], ...],
    row: int,
) -> _Pass:
    """The pass of every second cell in both directions, from each of the first ones (y, x)."""
    around = _reflected(grid)
    cells = tuple(grid[y::2, x::2] for y, x in firsts)
    parts = []
    for (y, x), (height, width) in zip(firsts, (part.shape for part in cells), strict=True):
        begins = [(y + dy + 1, x + dx + 1) for dy, dx in offsets]
        parts.append(
            [around[i : i + 2 * height : 2, j : j + 2 * width : 2].ravel() for i, j in begins]
        )
    neighbours = np.concatenate(parts, axis=1)
    first, second, third, fourth = neighbours
    unequal = np.flatnonzero((first ^ second) | (first ^ third) | (first ^ fourth))
    least, low, high, most = np.sort(neighbours[:, unequal], axis=0)
    lower, middle, upper = least == low, low == high, high == most
    usual = np.where(middle | lower, low, np.where(upper, high, least))
    other = np.where(most == usual, least, most)
    table = _AGREEMENTS * row
    return _Pass(cells, table, first, unequal, usual, other, middle & (lower | upper))


def _reflected(grid: Labels) -> Labels:
    """A grid of two and more rows and columns with a border, in which it is reflected."""
    height, width = grid.shape
    around = np.empty((height + 2, width + 2), np.uint8)
    around[1:-1, 1:-1] = grid
    around[0, 1:-1], around[-1, 1:-1] = grid[1], grid[-2]
    around[:, 0], around[:, -1] = around[:, 2], around[:, -3]
    return around


def _rank_table(count: int) -> int:
    """Table of ranks below a count, 1 to 256: of up to 1, 2, 4 … 256 equally frequent ones."""
    return len(_RARITIES) * _AGREEMENTS + (count - 1).bit_length()


@lru_cache(maxsize=1)
def _coder() -> EntropyCoder:
    tables = []
    for other, new in (pair for row in _RARITIES for pair in row):
        counts = TOTAL >> other, TOTAL >> new
        tables.append(FrequencyTable(0, (TOTAL - sum(counts) - 1, *counts, 1)))
    for bits in range(9):
        share = (TOTAL - 1) >> bits
        tables.append(FrequencyTable(0, (*[share] * (1 << bits), TOTAL - (share << bits))))
    return EntropyCoder(tables)
