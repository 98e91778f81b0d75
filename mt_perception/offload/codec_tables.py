# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a codec's tables in a model folder: JSON with integers, except for the gains."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.data_files import Limits, parse_json
from mt_perception.errors import ModelError
from mt_perception.model.fields import Fields
from mt_perception.offload.codec import CodecRate, CodecTables
from mt_perception.offload.entropy_coder import SYMBOL_MAX, SYMBOL_MIN, TOTAL, FrequencyTable

FORMAT = 2
MAX_BYTES = 1 << 23
MAX_CHANNELS = 4096
MAX_CONTEXTS = 64

_MAX_ENTRIES = 4096
_LARGEST_SUM = 1 << 31


def read_tables(content: bytes) -> CodecTables:
    """Parse tables.

    Raises:
        ModelError: The content is no valid file of tables.
    """
    data = parse_json(content, 'codec tables', limits=Limits(MAX_BYTES, values=10_000_000))
    root = Fields(data, 'codec')
    if root.take('format', int) != FORMAT:
        raise ModelError(f'codec tables are not of format {FORMAT}; export the model again')
    groups = _groups(root.take('groups', list, bool))
    channels = sum(map(len, groups))
    differenced = _integers(root.take('differenced', list), 0, channels - 1, 'codec.differenced')
    rows: list[object] = root.take('tables', list, lambda v: 0 < len(v) <= 256)
    tables = tuple(_table(row, f'codec.tables[{i}]') for i, row in enumerate(rows))
    shape = ([len(group) for group in groups], len(tables))
    rows = root.take('rates', list, lambda v: 0 < len(v) < 256)
    rates = tuple(_rate(row, shape, f'codec.rates[{i}]') for i, row in enumerate(rows))
    root.finish()
    if len(set(differenced.tolist())) != len(differenced):
        raise ModelError('codec.differenced must name a channel once')
    return CodecTables(groups, tables, rates, tuple(differenced.tolist()))


def write_tables(tables: CodecTables) -> bytes:
    """Serialize tables for `read_tables`."""
    data = {
        'format': FORMAT,
        'groups': [group.tolist() for group in tables.groups],
        'differenced': list(tables.differenced),
        'tables': [{'first': t.first, 'counts': list(t.counts)} for t in tables.tables],
        'rates': [
            {
                'gain': rate.gain.tolist(),
                'inverse': rate.inverse.tolist(),
                'thresholds': [row.tolist() for row in rate.thresholds],
                'tables': rate.tables.tolist(),
            }
            for rate in tables.rates
        ],
    }
    return json.dumps(data, separators=(',', ':')).encode()


def _groups(rows: list[object]) -> tuple[NDArray[np.int64], ...]:
    where = 'codec.groups'
    groups = tuple(
        _integers(row, 0, MAX_CHANNELS - 1, f'{where}[{i}]') for i, row in enumerate(rows)
    )
    channels = np.concatenate(groups)
    if not np.array_equal(np.sort(channels), np.arange(len(channels))):
        raise ModelError(f'{where} must name every channel once')
    return groups


def _table(data: object, where: str) -> FrequencyTable:
    fields = Fields(data, where)
    first: int = fields.take('first', int, lambda v: SYMBOL_MIN <= v <= SYMBOL_MAX)
    counts = _integers(fields.take('counts', list), 1, TOTAL, f'{where}.counts')
    fields.finish()
    if not 2 <= len(counts) <= _MAX_ENTRIES or counts.sum() != TOTAL:
        raise ModelError(f'{where}.counts must be 2 to {_MAX_ENTRIES}, and sum to {TOTAL}')
    return FrequencyTable(first, tuple(counts.tolist()))


def _rate(data: object, shape: tuple[list[int], int], where: str) -> CodecRate:
    groups, tables = shape
    fields = Fields(data, where)
    gain, inverse = (
        _scales(fields.take(name, list), sum(groups), f'{where}.{name}')
        for name in ('gain', 'inverse')
    )
    rows: list[object] = fields.take('thresholds', list, lambda v: len(v) == len(groups))
    thresholds = tuple(
        _integers(row, 0, _LARGEST_SUM, f'{where}.thresholds[{i}]') for i, row in enumerate(rows)
    )
    if any((np.diff(row) < 0).any() for row in thresholds) or len(thresholds[0]):
        raise ModelError(f'{where}.thresholds must rise, and be none for the first group')
    rows = fields.take('tables', list, lambda v: len(v) == sum(groups))
    ids = [_integers(row, 0, tables - 1, f'{where}.tables[{i}]') for i, row in enumerate(rows)]
    fields.finish()
    contexts = {len(row) for row in ids}
    longest = max(len(row) for row in thresholds)
    if len(contexts) != 1 or not longest < min(contexts) <= MAX_CONTEXTS:
        raise ModelError(
            f'{where}.tables must name one table for each of the {longest + 1} contexts'
        )
    return CodecRate(gain, inverse, thresholds, np.array(ids, np.uint8))


def _scales(values: list[Any], length: int, where: str) -> NDArray[np.float32]:
    good = [v for v in values if isinstance(v, float) and 1e-9 < v < 1e9]
    if len(good) != len(values) or len(good) != length:
        raise ModelError(f'{where} must be positive numbers, one for each of {length} channels')
    return np.array(good, np.float32)


def _integers(values: object, least: int, most: int, where: str) -> NDArray[np.int64]:
    if not isinstance(values, list) or len(values) > max(MAX_CHANNELS, _MAX_ENTRIES):
        raise ModelError(f'{where} must be a list of integers')
    if any(type(v) is not int or not least <= v <= most for v in values):
        raise ModelError(f'{where} must be integers from {least} to {most}')
    return np.array(values, np.int64)
