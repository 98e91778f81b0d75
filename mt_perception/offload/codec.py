# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The codec of features: latents to integer symbols to bytes, and back.

All numbers of the entropy coder are integers from the model folder, so that equal symbols are
equal bytes on every machine.

Channels with brightness and colour resemble their neighbours. They are coded as differences modulo
2^16, which saves 3 to 8 % of the bytes. Channels are coded in groups: the magnitudes of a group's
symbols around a cell select the tables of the next group there, which saves 12 % of the bytes
compared with one table for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PayloadError
from mt_perception.offload.entropy_coder import (
    SYMBOL_MAX,
    SYMBOL_MIN,
    Chunk,
    EntropyCoder,
    FrequencyTable,
    check_end,
)

_WORD_BYTES = 4
_LARGEST_COUNTED = 15
"""Magnitudes are clipped to this when the context of a cell is computed."""

SAME = 2.0
"""Squared error of a cell that repeats its reference, relative to that of rounding."""


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
        self._coder = EntropyCoder(tables.tables)
        self._groups = tables.groups
        self._rates = tables.rates
        self._differenced = list(tables.differenced)
        self.channels = sum(map(len, tables.groups))

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
            mask = _pack_mask(cells)
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
            chunks += self._coder.chunks(values.reshape(-1), ids)
        return self._coder.stack(chunks)

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
        if not known:
            raise PayloadError(
                'shape',
                f'symbols {shape} at rate {rate}; expected {self.channels} channels at one of '
                f'{self.rates} rates',
            )
        cells = None
        if reference is not None:
            cells, data = _unpack_mask(data, shape[1:])
        reader = self._coder.reader(data)
        symbols = np.empty(shape, np.int16)
        if reference is not None:
            symbols[:] = differences(reference, self._differenced)
        before = None
        for group, channels in enumerate(self._groups):
            size = (len(channels), *shape[1:])
            ids = self._table_ids(before, rate, group, size)
            if cells is not None:
                ids = ids.reshape(size)[:, cells].reshape(-1)
            values = self._coder.next_symbols(reader, ids)
            if cells is None:
                symbols[channels] = values.reshape(size)
            else:
                part = symbols[channels]
                part[:, cells] = values.reshape(len(channels), -1)
                symbols[channels] = part
            before = symbols[channels].astype(np.int32)
        check_end(reader)
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


def _pack_mask(cells: NDArray[np.bool_]) -> bytes:
    """Return a mask (h, w) as bits, row by row, padded to words of 4 bytes."""
    bits = np.packbits(cells).tobytes()
    return bits + bytes(-len(bits) % _WORD_BYTES)


def _unpack_mask(data: bytes, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], bytes]:
    """Return the mask (h, w) at the start of a code, and the rest of the code.

    Raises:
        PayloadError: The code is too short, or a padding bit is set.
    """
    cells = shape[0] * shape[1]
    end = -(-cells // (8 * _WORD_BYTES)) * _WORD_BYTES
    bits = np.unpackbits(np.frombuffer(data[:end], np.uint8))
    if len(bits) != 8 * end or bits[cells:].any():
        raise PayloadError('corrupted', f'the code has no mask of {cells} cells')
    return bits[:cells].reshape(shape).astype(bool), data[end:]
