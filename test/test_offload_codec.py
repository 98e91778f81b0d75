# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The codec: what goes in comes out, always as the same bytes, and nonsense is refused."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_cut import STEPS, tiny_tables

from mt_perception.errors import ModelError, PayloadError
from mt_perception.offload import entropy_coder
from mt_perception.offload.codec import CodecRate, CodecTables, LatentCodec, differences
from mt_perception.offload.codec_tables import read_tables, write_tables
from mt_perception.offload.entropy_coder import (
    PRECISION,
    SYMBOL_MAX,
    SYMBOL_MIN,
    TOTAL,
    FrequencyTable,
)

CODEC = LatentCodec(tiny_tables())
RATES = st.integers(0, len(STEPS) - 1)
GOLDEN = 'b57624cbd3a40a7657022a2e249c10f755997088abc60b5c348b40b4547f2c3e5fda625854bd07d1fcb0ba03'
SYMBOLS = hnp.arrays(
    np.int16,
    st.tuples(st.just(3), st.integers(1, 6), st.integers(1, 6)),
    elements=st.one_of(st.integers(-3, 260), st.integers(SYMBOL_MIN, SYMBOL_MAX)),
)


def reference_words(entries: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Code entries of one table by the definition of rANS (Duda, arXiv 1311.2540)."""
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


def test_the_checksum_of_the_library_is_that_of_the_definition() -> None:
    counts = (1, TOTAL // 3, 7, TOTAL // 2, TOTAL - TOTAL // 3 - TOTAL // 2 - 8)
    entries = [(i * i + i // 7) % len(counts) for i in range(64)]
    words = np.array(reference_words(entries, counts), '<u4')
    assert zlib.crc32(words.tobytes()) == entropy_coder._CODE_CRC32


@given(SYMBOLS, RATES)
def test_symbols_survive(symbols: np.ndarray, rate: int) -> None:
    code = CODEC.encode(symbols, rate)
    assert np.array_equal(CODEC.decode(code, rate, symbols.shape), symbols)
    assert CODEC.encode(symbols, rate) == code


@given(SYMBOLS, RATES)
def test_symbols_survive_as_differences(symbols: np.ndarray, rate: int) -> None:
    codec = LatentCodec(replace(tiny_tables(), differenced=(2, 0)))
    code = codec.encode(symbols, rate)
    assert np.array_equal(codec.decode(code, rate, symbols.shape), symbols)
    changed = differences(symbols, (2, 0))
    assert np.array_equal(changed[1], symbols[1])
    assert changed[0, 0, 0] == symbols[0, 0, 0]
    flat = np.full((3, 4, 5), 7, np.int16)
    assert np.count_nonzero(differences(flat, (2, 0))) == 2 + 4 * 5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_the_coder_is_rans_in_integers(entries: list[int]) -> None:
    """Bit-exact: the library's words are those of the definition, for a table of one channel."""
    counts = (1, 5, TOTAL - 12, 5, 1)
    table = CodecTables(
        (np.array([0]),),
        (FrequencyTable(0, counts),),
        (
            CodecRate(
                *np.ones((2, 1), np.float32), (np.array([], np.int64),), np.zeros((1, 1), 'u1')
            ),
        ),
    )
    symbols = np.array(entries, np.int16)[None, None]
    escapes = [e for e in entries if e == 4]
    code = np.frombuffer(LatentCodec(table).encode(symbols, 0), '<u4')
    if not escapes:
        assert [int(word) for word in code] == (reference_words(entries, counts) or [0])
    found = LatentCodec(table).decode(code.tobytes(), 0, symbols.shape)
    assert np.array_equal(found, symbols)


def test_the_bytes_are_the_same_everywhere() -> None:
    """These bytes were written down once; no machine or version may make others of them."""
    symbols = (np.arange(3 * 4 * 5) * 7 % 11).astype(np.int16).reshape(3, 4, 5)
    symbols[1, 2, 3] = -1000
    assert CODEC.encode(symbols, 1).hex() == GOLDEN


@given(st.binary(max_size=200), RATES, st.integers(0, 4), st.integers(0, 5))
def test_any_bytes_are_symbols_or_refused(data: bytes, rate: int, height: int, width: int) -> None:
    try:
        symbols = CODEC.decode(data, rate, (3, height, width))
    except PayloadError:
        return
    assert symbols.shape == (3, height, width)
    assert CODEC.encode(symbols, rate) == data


@given(SYMBOLS, RATES, st.data())
def test_what_is_cut_off_or_added_is_noticed(
    symbols: np.ndarray, rate: int, data: st.DataObject
) -> None:
    code = CODEC.encode(symbols, rate)
    if data.draw(st.booleans()):
        wrong = code + data.draw(st.binary(min_size=1, max_size=9))
    else:
        wrong = code[: data.draw(st.integers(0, max(0, len(code) - 1)))]
    try:
        found = CODEC.decode(wrong, rate, symbols.shape)
    except PayloadError:
        return
    assert wrong == code or not np.array_equal(found, symbols)


def test_quantising_is_defined_for_every_float() -> None:
    latent = np.array([0.5, 1.5, -0.5, np.nan, np.inf, -np.inf, 1e30, 40000], np.float32)
    latent = np.broadcast_to(latent[None, None], (3, 1, 8))
    found = CODEC.quantise(latent, 2)[0, 0]
    assert found.tolist() == [0, 2, 0, 0, SYMBOL_MAX, SYMBOL_MIN, SYMBOL_MAX, SYMBOL_MAX]


@given(SYMBOLS, RATES)
def test_symbols_are_found_again_in_what_they_stand_for(symbols: np.ndarray, rate: int) -> None:
    assert np.array_equal(CODEC.quantise(CODEC.dequantise(symbols, rate), rate), symbols)


def test_tables_survive_their_file() -> None:
    content = write_tables(tiny_tables())
    assert write_tables(read_tables(content)) == content


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_set('format', to=1), 'format 2'),
        (_set('groups', to=[[0, 1]]), 'one for each of 2 channels'),
        (_set('groups', to=[[0], [1, 1]]), 'every channel once'),
        (_set('groups', to=[[0], 7]), 'list of integers'),
        (_set('differenced', to=[1, 1]), 'a channel once'),
        (_set('differenced', to=[3]), 'integers from 0 to 2'),
        (_set('tables', to=[]), 'out of range'),
        (_set('tables', 0, 'counts', to=[TOTAL]), 'sum to'),
        (_set('tables', 0, 'counts', to=[TOTAL, 1]), 'sum to'),
        (_set('tables', 0, 'counts', to=[0, TOTAL]), 'from 1'),
        (_set('tables', 0, 'counts', to=[1.5, 2]), 'from 1'),
        (_set('tables', 0, 'first', to=1 << 20), 'out of range'),
        (_set('rates', 0, 'gain', to=[1.0, float('nan'), 1.0]), 'not finite'),
        (_set('rates', 0, 'inverse', to=[1.0, 0.0, 1.0]), 'positive'),
        (_set('rates', 0, 'thresholds', to=[[1], [2]]), 'none for the first'),
        (_set('rates', 0, 'thresholds', 1, to=[2, 1]), 'must rise'),
        (_set('rates', 0, 'tables', 1, to=[200, 0]), 'from 0 to 5'),
        (_set('rates', 0, 'tables', to=[[0]] * 3), 'each of the 2 contexts'),
        (_set('rates', 0, 'extra', to=1), 'unknown fields'),
    ],
)
def test_tables_that_do_not_fit_are_refused(change: Callable[[Any], None], message: str) -> None:
    data = json.loads(write_tables(tiny_tables()))
    change(data)
    with pytest.raises(ModelError, match=message):
        read_tables(json.dumps(data).encode())


@pytest.mark.parametrize('content', [b'', b'[', b'[]', b'\xff', b'[' * 100_000, b'1' * (1 << 24)])
def test_what_is_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        read_tables(content)
