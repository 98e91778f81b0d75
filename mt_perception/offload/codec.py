# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The codec: latents to integer symbols, symbols to bytes, and both ways back.

The coder is rANS (Duda, arXiv 1311.2540) with a state of 64 bits, words of 32 and probabilities
of 24, by the library constriction. Every number that the coder depends on is an integer read from
the model folder, so that the same symbols are the same bytes on every machine. The library takes
floats, though: it scales them to the integers that it needs, at least 1 each. Given ``count - 1``
it has nothing to scale, and every number on its way is an integer that a float64 holds exactly.

A few channels tell how bright and of what colour a block is, and resemble their neighbours: they
are coded as differences, modulo 2^16, which saves 3 to 8 % of the bytes. Channels are coded in
groups. How large a group's symbols are around a cell says how large those of the next group will
be there, and so which table codes each of them: 12 % fewer bytes than one table for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import constriction
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError, PayloadError

PRECISION = 24
TOTAL = 1 << PRECISION
SYMBOL_MIN, SYMBOL_MAX = -(1 << 15), (1 << 15) - 1

_LARGEST_COUNTED = 15
"""A symbol counts no more than this when a cell's context is computed."""

Chunk = tuple[int, NDArray[np.int32]]
"""Entries that one table codes; table -1 codes the bytes of what escaped the others."""


@dataclass(frozen=True)
class FrequencyTable:
    """How often each symbol occurs.

    Attributes:
        first: The smallest symbol that the table holds.
        counts: Of ``first``, ``first + 1`` …, and last of everything else; they sum to TOTAL.
    """

    first: int
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CodecRate:
    """One rate: how fine each channel is quantised, and which tables code its symbols.

    Attributes:
        gain: float32 (C,), what a latent is multiplied with before it is rounded.
        inverse: float32 (C,), what a symbol is multiplied with.
        thresholds: For each group, rising sums of magnitudes that divide one context from the
            next; none for the first group, which has no context.
        tables: uint8 (C, contexts), the table of each channel in each context of its group.
    """

    gain: NDArray[np.float32]
    inverse: NDArray[np.float32]
    thresholds: tuple[NDArray[np.int64], ...]
    tables: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CodecTables:
    """All that a codec knows.

    Attributes:
        groups: Channels in the order in which they are coded.
        tables: Shared by all channels and rates; at most 256.
        rates: Cheapest first.
        differenced: Channels that are coded as differences.
    """

    groups: tuple[NDArray[np.int64], ...]
    tables: tuple[FrequencyTable, ...]
    rates: tuple[CodecRate, ...]
    differenced: tuple[int, ...] = ()


class LatentCodec:
    """Symbols to bytes and back, at every rate of a model.

    Args:
        tables: What it knows.

    Raises:
        ModelError: The library codes otherwise than the tables say.
    """

    def __init__(self, tables: CodecTables) -> None:
        _check_library()
        self._groups = tables.groups
        self._rates = tables.rates
        self._differenced = list(tables.differenced)
        self.channels = sum(map(len, tables.groups))
        self._first = np.array([table.first for table in tables.tables], np.int32)
        self._escape = np.array([len(table.counts) - 1 for table in tables.tables], np.int32)
        # The last one codes bytes, all of them alike.
        counts = [*(table.counts for table in tables.tables), (TOTAL // 256,) * 256]
        self._models = [_model(row) for row in counts]

    @property
    def rates(self) -> int:
        """The number of rates."""
        return len(self._rates)

    def quantise(self, latent: NDArray[np.float32], rate: int) -> NDArray[np.int16]:
        """Latents (C, h, w) to symbols: scaled and rounded to the nearest, halves to even."""
        scaled = latent * self._rates[rate].gain[:, None, None]
        np.rint(scaled, out=scaled)
        if not (scaled.min() >= SYMBOL_MIN and scaled.max() <= SYMBOL_MAX):
            # A NaN has no integer; which one a cast makes of it differs between machines.
            np.clip(np.nan_to_num(scaled, nan=0.0), SYMBOL_MIN, SYMBOL_MAX, out=scaled)
        symbols: NDArray[np.int16] = scaled.astype(np.int16)
        return symbols

    def dequantise(self, symbols: NDArray[np.int16], rate: int) -> NDArray[np.float32]:
        """Symbols (C, h, w) to the latents that the remote half reads."""
        return symbols.astype(np.float32) * self._rates[rate].inverse[:, None, None]

    def encode(self, symbols: NDArray[np.int16], rate: int) -> bytes:
        """Code symbols (C, h, w)."""
        symbols = differences(symbols, self._differenced)
        chunks: list[Chunk] = []
        before = None
        for group, channels in enumerate(self._groups):
            values = symbols[channels].astype(np.int32)
            ids = self._table_ids(before, rate, group, values.shape)
            order = np.argsort(ids, kind='stable')
            chunks += self._chunks(values.reshape(-1)[order], ids[order])
            before = values
        coder = constriction.stream.stack.AnsCoder()
        # What comes out first goes in last.
        for table, entries in reversed(chunks):
            coder.encode_reverse(entries, self._models[table])
        words: NDArray[np.uint32] = coder.get_compressed()
        # Nothing at all would be the code of each table's first symbol, over and over: that one
        # is written as a word of zeros, so that an empty body is none.
        return words.astype('<u4').tobytes() or bytes(4)

    def decode(self, data: bytes, rate: int, shape: tuple[int, int, int]) -> NDArray[np.int16]:
        """Symbols from their code.

        Args:
            data: What `encode` gave.
            rate: The rate at which they were coded.
            shape: (C, h, w); the caller has seen to it that it is of a reasonable size.

        Raises:
            PayloadError: This is not the code of so many symbols.
        """
        known = 0 <= rate < self.rates and shape[0] == self.channels and min(shape) > 0
        if not known or len(data) % 4:
            raise PayloadError(
                'shape',
                f'{len(data)} bytes for symbols {shape} at rate {rate}; expected words of 4 '
                f'bytes for {self.channels} channels at one of {self.rates} rates',
            )
        words = np.frombuffer(data, '<u4').astype(np.uint32)
        if not words.size:
            raise PayloadError('corrupted', 'a code has at least one word')
        if words.size > 1 and not words[-1]:
            raise PayloadError('corrupted', 'the last word of a code cannot be zero')
        coder = constriction.stream.stack.AnsCoder(words if words[-1] else words[:0])
        symbols = np.empty(shape, np.int16)
        before = None
        for group, channels in enumerate(self._groups):
            size = (len(channels), *shape[1:])
            ids = self._table_ids(before, rate, group, size)
            values = np.empty(ids.shape, np.int32)
            order = np.argsort(ids, kind='stable')
            values[order] = self._decoded(coder, ids[order])
            before = values.reshape(size)
            symbols[channels] = before
        if not coder.is_empty():
            raise PayloadError('corrupted', 'bytes are left over when all symbols are decoded')
        _sum_up(symbols, self._differenced)
        return symbols

    def _table_ids(
        self,
        before: NDArray[np.int32] | None,
        rate: int,
        group: int,
        shape: tuple[int, ...],
    ) -> NDArray[np.uint8]:
        """The table of every symbol of a group, (n h w,), from the symbols of the one before."""
        tables = self._rates[rate].tables[self._groups[group]]
        if before is None:
            return np.repeat(tables[:, 0], shape[1] * shape[2])
        sums = context_sums(before)
        context = np.searchsorted(self._rates[rate].thresholds[group], sums, side='right')
        return tables[:, context.reshape(-1)].reshape(-1)

    def _chunks(self, values: NDArray[np.int32], ids: NDArray[np.uint8]) -> list[Chunk]:
        """Symbols in the order of their tables → what each table codes, then what none can."""
        used, ends, counts = _runs(ids)
        entries = values - np.repeat(self._first[used], counts)
        escape = np.repeat(self._escape[used], counts)
        # As unsigned numbers, those below zero are the largest.
        escaped = entries.view(np.uint32) >= escape.view(np.uint32)
        np.copyto(entries, escape, where=escaped)
        begins = (ends - counts).tolist()
        runs = zip(used.tolist(), begins, ends.tolist(), strict=True)
        chunks: list[Chunk] = [(table, entries[begin:end]) for table, begin, end in runs]
        if escaped.any():
            words = (values[escaped] - SYMBOL_MIN).astype('<u2')
            chunks.append((-1, words.view(np.uint8).astype(np.int32)))
        return chunks

    def _decoded(
        self, coder: constriction.stream.stack.AnsCoder, ids: NDArray[np.uint8]
    ) -> NDArray[np.int32]:
        """The next symbols in the order of their tables; then come those that none could code."""
        parts, flags = [], []
        used, _, counts = _runs(ids)
        for table, count in zip(used.tolist(), counts.tolist(), strict=True):
            entries = coder.decode(self._models[table], count)
            flags.append(entries == self._escape[table])
            parts.append(entries + self._first[table])
        values: NDArray[np.int32] = np.concatenate(parts)
        escaped = np.concatenate(flags)
        if escaped.any():
            words = coder.decode(self._models[-1], 2 * int(escaped.sum())).astype(np.uint8)
            values[escaped] = words.view('<u2').astype(np.int32) + SYMBOL_MIN
        return values


def _runs(
    ids: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The tables in rising ids, where the entries of each end, and how many there are."""
    counts = np.bincount(ids, minlength=256)
    used = np.flatnonzero(counts)
    return used, np.cumsum(counts)[used], counts[used]


def differences(symbols: NDArray[np.int16], channels: Sequence[int]) -> NDArray[np.int16]:
    """Symbols (C, h, w), some channels of them less their left neighbours, modulo 2^16.

    In the first column it is the neighbour above.
    """
    changed = symbols.copy()
    for channel in channels:
        changed[channel, :, 1:] -= symbols[channel, :, :-1]
        changed[channel, 1:, 0] -= symbols[channel, :-1, 0]
    return changed


def _sum_up(symbols: NDArray[np.int16], channels: Sequence[int]) -> None:
    """Undo `differences`, in place."""
    for channel in channels:
        plane = symbols[channel]
        plane[:, 0] = np.cumsum(plane[:, 0], dtype=np.int16)
        plane[:] = np.cumsum(plane, axis=1, dtype=np.int16)


def context_sums(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """How large the symbols (n, h, w) are around every cell, (h, w); itself counts four times."""
    size = np.minimum(np.abs(values), _LARGEST_COUNTED).sum(axis=0, dtype=np.int32)
    around = size.copy()
    around[1:] += size[:-1]
    around[:-1] += size[1:]
    total: NDArray[np.int32] = 3 * size + around
    total[:, 1:] += around[:, :-1]
    total[:, :-1] += around[:, 1:]
    return total


def _model(counts: Sequence[int]) -> constriction.stream.model.Categorical:
    weights = np.array(counts, np.float64) - 1.0
    return constriction.stream.model.Categorical(weights, perfect=False)


def reference_words(entries: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Code entries of one table by the definition of rANS, in integers of Python."""
    starts = [sum(counts[:i]) for i in range(len(counts))]
    state, words = 0, []
    for entry in reversed(entries):
        if state >> (64 - PRECISION) >= counts[entry]:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        quotient, remainder = divmod(state, counts[entry])
        state = (quotient << PRECISION) | (starts[entry] + remainder)
    while state:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return words


@lru_cache(maxsize=1)
def _check_library() -> None:
    """A version of the library that coded otherwise would be noticed here, not on the link."""
    counts = (1, TOTAL // 3, 7, TOTAL // 2, TOTAL - TOTAL // 3 - TOTAL // 2 - 8)
    entries = [(i * i + i // 7) % len(counts) for i in range(64)]
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(np.array(entries, np.int32), _model(counts))
    if [int(word) for word in coder.get_compressed()] != reference_words(entries, counts):
        raise ModelError('the installed constriction codes otherwise; install version 0.4')
