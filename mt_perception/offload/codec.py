# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The codec of features: latents to integer symbols to bytes, and back.

The coder is rANS (Duda, arXiv 1311.2540) with a state of 64 bits, words of 32 and probabilities
of 24, by the library constriction. All numbers of the coder are integers from the model folder, so
that equal symbols are equal bytes on every machine. The library takes floats and scales them to
integers of at least 1: for ``count - 1`` there is nothing to scale, and every intermediate number
is an integer that a float64 holds exactly.

Channels with brightness and colour resemble their neighbours. They are coded as differences modulo
2^16, which saves 3 to 8 % of the bytes. Channels are coded in groups: the magnitudes of a group's
symbols around a cell select the tables of the next group there, which saves 12 % of the bytes
compared with one table for each channel.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import constriction
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError, PayloadError
from mt_perception.offload.cell_mask import pack_mask, unpack_mask

PRECISION = 24
TOTAL = 1 << PRECISION
SYMBOL_MIN, SYMBOL_MAX = -(1 << 15), (1 << 15) - 1

_LARGEST_COUNTED = 15
"""Magnitudes are clipped to this when the context of a cell is computed."""

SAME = 2.0
"""Squared error of a cell that repeats its reference, relative to that of rounding."""

_CODE_CRC32 = 0x5366F86F
"""Of the rANS code of a known sequence; a test computes it from the definition."""

Chunk = tuple[int, NDArray[np.int32]]
"""Entries of one table; table -1 codes the bytes of escaped symbols."""


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


@dataclass(frozen=True, eq=False)
class CodecRate:
    """Quantisation and tables of one rate.

    Attributes:
        gain: float32 (C,), factor of a latent before rounding.
        inverse: float32 (C,), factor of a symbol.
        thresholds: For each group, rising sums of magnitudes that separate its contexts; empty
            for the first group, which has one context.
        tables: uint8 (C, contexts), index of the table of each channel and context.
    """

    gain: NDArray[np.float32]
    inverse: NDArray[np.float32]
    thresholds: tuple[NDArray[np.int64], ...]
    tables: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CodecTables:
    """The tables of a codec.

    Attributes:
        groups: Groups of channels in coding order.
        tables: At most 256 tables, shared by channels and rates.
        rates: The rates, smallest payload first.
        differenced: Channels that are coded as differences.
    """

    groups: tuple[NDArray[np.int64], ...]
    tables: tuple[FrequencyTable, ...]
    rates: tuple[CodecRate, ...]
    differenced: tuple[int, ...] = ()


class LatentCodec:
    """Codes the symbols of one model, at each of its rates.

    Args:
        tables: The tables.

    Raises:
        ModelError: The installed constriction codes differently than version 0.4.
    """

    def __init__(self, tables: CodecTables) -> None:
        _check_library()
        self._groups = tables.groups
        self._rates = tables.rates
        self._differenced = list(tables.differenced)
        self.channels = sum(map(len, tables.groups))
        self._first = np.array([table.first for table in tables.tables], np.int32)
        self._escape = np.array([len(table.counts) - 1 for table in tables.tables], np.int32)
        # The last table codes bytes with equal frequencies.
        counts = [*(table.counts for table in tables.tables), (TOTAL // 256,) * 256]
        self._models = [_model(row) for row in counts]

    @property
    def rates(self) -> int:
        """The number of rates."""
        return len(self._rates)

    def quantise(self, latent: NDArray[np.float32], rate: int) -> NDArray[np.int16]:
        """Latents (C, h, w) to symbols: scaled, rounded to the nearest, halves to even."""
        scaled = latent * self._rates[rate].gain[:, None, None]
        np.rint(scaled, out=scaled)
        if not (scaled.min() >= SYMBOL_MIN and scaled.max() <= SYMBOL_MAX):
            # The cast of a NaN to an integer differs between machines.
            np.clip(np.nan_to_num(scaled, nan=0.0), SYMBOL_MIN, SYMBOL_MAX, out=scaled)
        symbols: NDArray[np.int16] = scaled.astype(np.int16)
        return symbols

    def quantise_near(
        self, latent: NDArray[np.float32], rate: int, reference: NDArray[np.int16]
    ) -> NDArray[np.int16]:
        """Quantise latents (C, h, w); cells repeat a reference if the error is small.

        A cell repeats all of its symbols where its squared error, in steps of the quantiser, is at
        most ``SAME`` times that of rounding.
        """
        symbols = self.quantise(latent, rate)
        scaled = latent * self._rates[rate].gain[:, None, None]
        rounding, repeating = (
            np.square(scaled - values).sum(axis=0) for values in (symbols, reference)
        )
        same = repeating <= SAME * rounding
        symbols[:, same] = reference[:, same]
        return symbols

    def dequantise(self, symbols: NDArray[np.int16], rate: int) -> NDArray[np.float32]:
        """Symbols (C, h, w) to latents, the input of the remote model."""
        return symbols.astype(np.float32) * self._rates[rate].inverse[:, None, None]

    def encode(
        self, symbols: NDArray[np.int16], rate: int, reference: NDArray[np.int16] | None = None
    ) -> bytes:
        """Code symbols (C, h, w).

        Args:
            symbols: The symbols.
            rate: Index of the rate.
            reference: Symbols of the same shape that the decoder has. The code then begins with a
                mask of the cells that differ, and has the symbols of these alone.
        """
        cells, mask = None, b''
        values = differences(symbols, self._differenced)
        if reference is not None:
            cells = (symbols != reference).any(axis=0)
            mask = pack_mask(cells)
            values = np.where(cells, values, differences(reference, self._differenced))
        return mask + self._code(values, rate, cells)

    def _code(
        self, symbols: NDArray[np.int16], rate: int, cells: NDArray[np.bool_] | None
    ) -> bytes:
        """Code of differenced symbols (C, h, w), of some cells (h, w) or of all."""
        chunks: list[Chunk] = []
        before = None
        for group, channels in enumerate(self._groups):
            values = symbols[channels].astype(np.int32)
            ids = self._table_ids(before, rate, group, values.shape)
            before = values
            if cells is not None:
                values, ids = values[:, cells], ids.reshape(values.shape)[:, cells].reshape(-1)
            order = np.argsort(ids, kind='stable')
            chunks += self._chunks(values.reshape(-1)[order], ids[order])
        coder = constriction.stream.stack.AnsCoder()
        # rANS is a stack: the last symbol is coded first.
        for table, entries in reversed(chunks):
            coder.encode_reverse(entries, self._models[table])
        words: NDArray[np.uint32] = coder.get_compressed()
        # A sequence of first symbols has an empty code. It is written as a zero word, so that an
        # empty body is invalid.
        return words.astype('<u4').tobytes() or bytes(4)

    def decode(
        self,
        data: bytes,
        rate: int,
        shape: tuple[int, int, int],
        reference: NDArray[np.int16] | None = None,
    ) -> NDArray[np.int16]:
        """Symbols from their code.

        Args:
            data: The code.
            rate: Index of the rate.
            shape: (C, h, w); the caller limits its size.
            reference: The reference that the symbols were coded with; of the same shape.

        Raises:
            PayloadError: The code is not of this rate and shape.
        """
        known = 0 <= rate < self.rates and shape[0] == self.channels and min(shape) > 0
        if not known or len(data) % 4:
            raise PayloadError(
                'shape',
                f'{len(data)} bytes for symbols {shape} at rate {rate}; expected words of 4 '
                f'bytes for {self.channels} channels at one of {self.rates} rates',
            )
        cells = None
        if reference is not None:
            cells, data = unpack_mask(data, shape[1:])
        words = np.frombuffer(data, '<u4').astype(np.uint32)
        if not words.size:
            raise PayloadError('corrupted', 'the code is empty; expected at least one word')
        if words.size > 1 and not words[-1]:
            raise PayloadError('corrupted', 'the last word of the code is zero')
        coder = constriction.stream.stack.AnsCoder(words if words[-1] else words[:0])
        symbols = np.empty(shape, np.int16)
        if reference is not None:
            symbols[:] = differences(reference, self._differenced)
        before = None
        for group, channels in enumerate(self._groups):
            size = (len(channels), *shape[1:])
            ids = self._table_ids(before, rate, group, size)
            if cells is not None:
                ids = ids.reshape(size)[:, cells].reshape(-1)
            values = np.empty(ids.shape, np.int32)
            order = np.argsort(ids, kind='stable')
            values[order] = self._decoded(coder, ids[order])
            if cells is None:
                symbols[channels] = values.reshape(size)
            else:
                part = symbols[channels]
                part[:, cells] = values.reshape(len(channels), -1)
                symbols[channels] = part
            before = symbols[channels].astype(np.int32)
        if not coder.is_empty():
            raise PayloadError('corrupted', 'the code has more bytes than its symbols')
        if cells is None or reference is None:
            _sum_up(symbols, self._differenced)
        else:
            _sum_up_changed(symbols, self._differenced, cells, reference)
        return symbols

    def _table_ids(
        self,
        before: NDArray[np.int32] | None,
        rate: int,
        group: int,
        shape: tuple[int, ...],
    ) -> NDArray[np.uint8]:
        """Table of each symbol of a group, (n h w,), from the symbols of the previous group."""
        tables = self._rates[rate].tables[self._groups[group]]
        if before is None:
            return np.repeat(tables[:, 0], shape[1] * shape[2])
        sums = context_sums(before)
        context = np.searchsorted(self._rates[rate].thresholds[group], sums, side='right')
        return tables[:, context.reshape(-1)].reshape(-1)

    def _chunks(self, values: NDArray[np.int32], ids: NDArray[np.uint8]) -> list[Chunk]:
        """Chunks of symbols in the order of their tables, then of escaped symbols."""
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

    def _decoded(
        self, coder: constriction.stream.stack.AnsCoder, ids: NDArray[np.uint8]
    ) -> NDArray[np.int32]:
        """The next symbols in the order of their tables, with escaped symbols filled in."""
        if not ids.size:
            return np.empty(0, np.int32)
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
    """Used tables in rising order, end of the entries of each, and their number."""
    counts = np.bincount(ids, minlength=256)
    used = np.flatnonzero(counts)
    return used, np.cumsum(counts)[used], counts[used]


def differences(symbols: NDArray[np.int16], channels: Sequence[int]) -> NDArray[np.int16]:
    """Subtract the left neighbour in some channels of symbols (C, h, w), modulo 2^16.

    The first column subtracts the neighbour above.
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


def _sum_up_changed(
    symbols: NDArray[np.int16],
    channels: Sequence[int],
    cells: NDArray[np.bool_],
    reference: NDArray[np.int16],
) -> None:
    """Undo `differences` in the changed cells (h, w), in place; the others take the reference."""
    for channel in channels:
        plane, known = symbols[channel], reference[channel]
        for row in range(1, len(plane)):
            summed = plane[row, :1] + plane[row - 1, :1]
            plane[row, :1] = summed if cells[row, 0] else known[row, :1]
        for column in range(1, plane.shape[1]):
            summed = plane[:, column] + plane[:, column - 1]
            plane[:, column] = np.where(cells[:, column], summed, known[:, column])


def context_sums(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Weighted magnitudes of symbols (n, h, w) around each cell, (h, w); itself 4 times."""
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
