# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The codec: latents to integer symbols, symbols to bytes, and both ways back.

The coder is rANS (Duda, arXiv 1311.2540) with a state of 64 bits, words of 32 and probabilities
of 24, by the library constriction. Every probability is an integer read from the model folder, so
that the same symbols are the same bytes on every machine. The library takes floats, though: it
scales them to the integers that it needs, at least 1 each. Given ``count - 1`` it has nothing to
scale, and every number on its way is an integer that a float64 holds exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import constriction
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError, PayloadError
from mt_perception.runtime.fields import Fields

FORMAT = 1
PRECISION = 24
TOTAL = 1 << PRECISION
MAX_TABLES_BYTES = 1 << 23
SYMBOL_MIN, SYMBOL_MAX = -(1 << 15), (1 << 15) - 1

_MAX_ENTRIES = 4096
_MAX_CHANNELS = 4096


@dataclass(frozen=True)
class Table:
    """How often each symbol of one channel occurs at one rate.

    Attributes:
        first: The smallest symbol that the table holds.
        counts: Of ``first``, ``first + 1`` …, and last of everything else; they sum to TOTAL.
    """

    first: int
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RateTables:
    """One rate: how fine each channel is quantised, and how its symbols are coded.

    Attributes:
        gain: float32 (C,), what a latent is multiplied with before it is rounded.
        inverse: float32 (C,), what a symbol is multiplied with.
        tables: One for each channel.
    """

    gain: NDArray[np.float32]
    inverse: NDArray[np.float32]
    tables: tuple[Table, ...]


class Codec:
    """Symbols to bytes and back, at every rate of a model.

    Args:
        rates: The rates, cheapest first.

    Raises:
        ModelError: The library codes otherwise than the tables say.
    """

    def __init__(self, rates: Sequence[RateTables]) -> None:
        self._rates = tuple(rates)
        self.channels = len(rates[0].tables)
        self._models = [[_model(table.counts) for table in rate.tables] for rate in rates]
        _check_library()

    @property
    def rates(self) -> int:
        """The number of rates."""
        return len(self._rates)

    def quantise(self, latent: NDArray[np.float32], rate: int) -> NDArray[np.int16]:
        """Latents (C, h, w) to symbols: scaled and rounded to the nearest, halves to even."""
        scaled = latent * self._rates[rate].gain[:, None, None]
        # A NaN has no integer; which one a cast makes of it differs between machines.
        finite = np.nan_to_num(scaled, nan=0.0)
        symbols: NDArray[np.int16] = np.clip(np.rint(finite), SYMBOL_MIN, SYMBOL_MAX).astype(
            np.int16
        )
        return symbols

    def dequantise(self, symbols: NDArray[np.int16], rate: int) -> NDArray[np.float32]:
        """Symbols (C, h, w) to the latents that the remote half reads."""
        return symbols.astype(np.float32) * self._rates[rate].inverse[:, None, None]

    def encode(self, symbols: NDArray[np.int16], rate: int) -> bytes:
        """Code symbols (C, h, w)."""
        tables = self._rates[rate].tables
        coder = constriction.stream.stack.AnsCoder()
        rows = symbols.reshape(self.channels, -1).astype(np.int32)
        first = np.array([table.first for table in tables], np.int32)[:, None]
        escape = np.array([len(table.counts) - 1 for table in tables], np.int32)[:, None]
        entries = rows - first
        escaped = (entries < 0) | (entries >= escape)
        # What comes out first goes in last: the channels in order, then what escaped them.
        if escaped.any():
            values = (rows[escaped] - SYMBOL_MIN).astype(np.uint16)
            coder.encode_reverse(_bytes_of(values), _byte_model())
            entries = np.where(escaped, escape, entries)
        for model, row in zip(reversed(self._models[rate]), entries[::-1], strict=True):
            coder.encode_reverse(row, model)
        words: NDArray[np.uint32] = coder.get_compressed()
        return words.astype('<u4').tobytes()

    def decode(self, data: bytes, rate: int, shape: tuple[int, int, int]) -> NDArray[np.int16]:
        """Symbols from their code.

        Args:
            data: What `encode` gave.
            rate: The rate at which they were coded.
            shape: (C, h, w); the caller has seen to it that it is of a reasonable size.

        Raises:
            PayloadError: This is not the code of so many symbols.
        """
        if not 0 <= rate < self.rates or shape[0] != self.channels or len(data) % 4:
            raise PayloadError(
                'shape',
                f'{len(data)} bytes for symbols {shape} at rate {rate}; expected words of 4 '
                f'bytes for {self.channels} channels at one of {self.rates} rates',
            )
        words = np.frombuffer(data, '<u4').astype(np.uint32)
        if words.size and not words[-1]:
            raise PayloadError('corrupted', 'the last word of a code cannot be zero')
        coder = constriction.stream.stack.AnsCoder(words)
        size = shape[1] * shape[2]
        rows = np.empty((self.channels, size), np.int32)
        escaped = np.zeros(rows.shape, np.bool_)
        tables = self._rates[rate].tables
        for row, flags, table, model in zip(
            rows, escaped, tables, self._models[rate], strict=True
        ):
            row[:] = coder.decode(model, size)
            np.equal(row, len(table.counts) - 1, out=flags)
            row += table.first
        count = int(escaped.sum())
        if count:
            rows[escaped] = _from_bytes(coder.decode(_byte_model(), 2 * count))
        if not coder.is_empty():
            raise PayloadError('corrupted', 'bytes are left over when all symbols are decoded')
        return rows.astype(np.int16).reshape(shape)


def read_tables(content: bytes) -> Codec:
    """Make the codec that a model's tables describe.

    Raises:
        ModelError: They are no tables, or not as they have to be.
    """
    if len(content) > MAX_TABLES_BYTES:
        raise ModelError(f'codec tables have {len(content)} bytes; at most {MAX_TABLES_BYTES}')
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f'codec tables are no JSON: {error}') from error
    root = Fields(data, 'tables')
    if root.take('format', int) != FORMAT:
        raise ModelError(f'codec tables are not of format {FORMAT}; export the model again')
    rows: list[object] = root.take('rates', list, lambda v: 0 < len(v) < 256)
    root.finish()
    rates = [_rate(row, f'tables.rates[{i}]') for i, row in enumerate(rows)]
    if len({len(rate.tables) for rate in rates}) > 1:
        raise ModelError('tables.rates: all have the same number of channels')
    return Codec(rates)


def tables_json(rates: Sequence[RateTables]) -> bytes:
    """Write tables as `read_tables` reads them."""
    return json.dumps(
        {
            'format': FORMAT,
            'rates': [
                {
                    'gain': [float(value) for value in rate.gain],
                    'inverse': [float(value) for value in rate.inverse],
                    'tables': [{'first': t.first, 'counts': list(t.counts)} for t in rate.tables],
                }
                for rate in rates
            ],
        },
        separators=(',', ':'),
    ).encode()


def _rate(data: object, where: str) -> RateTables:
    fields = Fields(data, where)
    rows: list[object] = fields.take('tables', list, lambda v: 0 < len(v) <= _MAX_CHANNELS)
    tables = tuple(_table(row, f'{where}.tables[{i}]') for i, row in enumerate(rows))
    scales = []
    for name in ('gain', 'inverse'):
        values: list[object] = fields.take(name, list, lambda v: len(v) == len(tables))
        good = [v for v in values if isinstance(v, float) and 1e-9 < v < 1e9]
        if len(good) != len(values):
            raise ModelError(f'{where}.{name} must be positive numbers, one for each channel')
        scales.append(np.array(good, np.float32))
    fields.finish()
    return RateTables(scales[0], scales[1], tables)


def _table(data: object, where: str) -> Table:
    fields = Fields(data, where)
    first: int = fields.take('first', int, lambda v: SYMBOL_MIN <= v <= SYMBOL_MAX)
    counts: list[object] = fields.take('counts', list, lambda v: 2 <= len(v) <= _MAX_ENTRIES)
    fields.finish()
    good = [v for v in counts if type(v) is int and 1 <= v < TOTAL]
    if len(good) != len(counts) or sum(good) != TOTAL:
        raise ModelError(f'{where}.counts must be integers from 1 that sum to {TOTAL}')
    return Table(first, tuple(good))


def _model(counts: Sequence[int]) -> constriction.stream.model.Categorical:
    weights = np.array(counts, np.float64) - 1.0
    return constriction.stream.model.Categorical(weights, perfect=False)


@lru_cache(maxsize=1)
def _byte_model() -> constriction.stream.model.Categorical:
    return _model((TOTAL // 256,) * 256)


def _bytes_of(values: NDArray[np.uint16]) -> NDArray[np.int32]:
    return values.astype('<u2').view(np.uint8).astype(np.int32)


def _from_bytes(values: NDArray[np.int32]) -> NDArray[np.int32]:
    words: NDArray[np.uint16] = values.astype(np.uint8).view('<u2')
    return words.astype(np.int32) + SYMBOL_MIN


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
