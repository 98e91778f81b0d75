# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The entropy coder of features and maps: integer symbols to bytes, and back.

The coder is rANS (Duda, arXiv 1311.2540) with a state of 64 bits, words of 32 and probabilities
of 24, by the library constriction. It takes floats and scales them to integers of at least 1: for
``count - 1`` there is nothing to scale, and every intermediate number is an integer that a float64
holds exactly. Equal symbols are equal bytes on every machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import constriction
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError, PayloadError

PRECISION = 24
TOTAL = 1 << PRECISION
SYMBOL_MIN, SYMBOL_MAX = -(1 << 15), (1 << 15) - 1

_CODE_CRC32 = 0x5366F86F
"""Of the rANS code of a known sequence; a test computes it from the definition."""

Chunk = tuple[int, NDArray[np.int32]]
"""Entries of one table; table -1 codes the bytes of escaped symbols."""

Reader: TypeAlias = constriction.stream.stack.AnsCoder


@dataclass(frozen=True)
class FrequencyTable:
    """Frequencies of symbols.

    Attributes:
        first: The smallest symbol of the table.
        counts: Frequencies of ``first``, ``first + 1`` …, and last of the escape symbol; their
            sum is TOTAL.
    """

    first: int
    counts: tuple[int, ...]


class EntropyCoder:
    """Codes symbols, each with one of several tables.

    Args:
        tables: At most 255 tables.

    Raises:
        ModelError: The installed constriction codes differently than version 0.4.
    """

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        _check_library()
        self._first = np.array([table.first for table in tables], np.int32)
        self._escape = np.array([len(table.counts) - 1 for table in tables], np.int32)
        # The last table codes bytes with equal frequencies.
        counts = [*(table.counts for table in tables), (TOTAL // 256,) * 256]
        self._models = [_model(row) for row in counts]

    def chunks(self, values: NDArray[np.int32], ids: NDArray[np.uint8]) -> list[Chunk]:
        """Chunks of symbols (n,) in the order of their tables (n,), then of escaped symbols."""
        order = np.argsort(ids, kind='stable')
        values, ids = values[order], ids[order]
        used, ends, counts = _runs(ids)
        entries = values - np.repeat(self._first[used], counts)
        escape = np.repeat(self._escape[used], counts)
        # As unsigned numbers, negative entries are the largest.
        escaped = entries.view(np.uint32) >= escape.view(np.uint32)
        np.copyto(entries, escape, where=escaped)
        begins = (ends - counts).tolist()
        runs = zip(used.tolist(), begins, ends.tolist(), strict=True)
        chunks: list[Chunk] = [(table, entries[begin:end]) for table, begin, end in runs]
        if escaped.any():
            words = (values[escaped] - SYMBOL_MIN).astype('<u2')
            chunks.append((-1, words.view(np.uint8).astype(np.int32)))
        return chunks

    def stack(self, chunks: Sequence[Chunk]) -> bytes:
        """The code of chunks."""
        coder = constriction.stream.stack.AnsCoder()
        # rANS is a stack: the last symbol is coded first.
        for table, entries in reversed(chunks):
            coder.encode_reverse(entries, self._models[table])
        words: NDArray[np.uint32] = coder.get_compressed()
        # A sequence of first symbols has an empty code. It is written as a zero word, so that an
        # empty body is invalid.
        return words.astype('<u4').tobytes() or bytes(4)

    def reader(self, data: bytes) -> Reader:
        """A reader of a code.

        Raises:
            PayloadError: The code is empty, not of whole words, or ends with a zero word.
        """
        if len(data) % 4:
            raise PayloadError('shape', f'a code of {len(data)} bytes; expected words of 4 bytes')
        words = np.frombuffer(data, '<u4').astype(np.uint32)
        if not words.size:
            raise PayloadError('corrupted', 'the code is empty; expected at least one word')
        if words.size > 1 and not words[-1]:
            raise PayloadError('corrupted', 'the last word of the code is zero')
        return constriction.stream.stack.AnsCoder(words if words[-1] else words[:0])

    def next_symbols(self, reader: Reader, ids: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The next symbols (n,) of a code, with tables ``ids`` (n,) and escapes filled in."""
        values = np.empty(ids.shape, np.int32)
        order = np.argsort(ids, kind='stable')
        values[order] = self._sorted_symbols(reader, ids[order])
        return values

    def next_entries(self, reader: Reader, table: int, count: int) -> NDArray[np.int32]:
        """The next entries (n,) of one table; they can include the one of the escape symbol."""
        entries: NDArray[np.int32] = reader.decode(self._models[table], count)
        return entries

    def _sorted_symbols(self, reader: Reader, ids: NDArray[np.uint8]) -> NDArray[np.int32]:
        if not ids.size:
            return np.empty(0, np.int32)
        parts, flags = [], []
        used, _, counts = _runs(ids)
        for table, count in zip(used.tolist(), counts.tolist(), strict=True):
            entries = reader.decode(self._models[table], count)
            flags.append(entries == self._escape[table])
            parts.append(entries + self._first[table])
        values: NDArray[np.int32] = np.concatenate(parts)
        escaped = np.concatenate(flags)
        if escaped.any():
            words = reader.decode(self._models[-1], 2 * int(escaped.sum())).astype(np.uint8)
            values[escaped] = words.view('<u2').astype(np.int32) + SYMBOL_MIN
        return values


def check_end(reader: Reader) -> None:
    """Check that a code was read to its end.

    Raises:
        PayloadError: It has more bytes.
    """
    if not reader.is_empty():
        raise PayloadError('corrupted', 'the code has more bytes than its symbols')


def _runs(
    ids: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Used tables in rising order, end of the entries of each, and their number."""
    counts = np.bincount(ids, minlength=256)
    used = np.flatnonzero(counts)
    return used, np.cumsum(counts)[used], counts[used]


def _model(counts: Sequence[int]) -> constriction.stream.model.Categorical:
    weights = np.array(counts, np.float64) - 1.0
    return constriction.stream.model.Categorical(weights, perfect=False)


@lru_cache(maxsize=1)
def _check_library() -> None:
    """Compare the library's code of a known sequence with a checksum of its definition.

    Raises:
        ModelError: The installed version codes differently.
    """
    counts = (1, TOTAL // 3, 7, TOTAL // 2, TOTAL - TOTAL // 3 - TOTAL // 2 - 8)
    entries = [(i * i + i // 7) % len(counts) for i in range(64)]
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(np.array(entries, np.int32), _model(counts))
    if zlib.crc32(coder.get_compressed().astype('<u4').tobytes()) != _CODE_CRC32:
        raise ModelError(
            'the installed constriction codes differently than version 0.4; install version 0.4'
        )
