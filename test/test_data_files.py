# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The reader of YAML and JSON: any text is a value within the limits or one of our errors."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.data_files import (
    LARGEST_INTEGER,
    Limits,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml,
    replacing,
)
from mt_perception.errors import ModelError, SourceError

BOMB = 'a: &a [x,x,x,x,x,x,x,x,x]\n' + ''.join(
    f'{new}: &{new} [{",".join([f"*{old}"] * 9)}]\n'
    for old, new in zip('abcdefghi', 'bcdefghij', strict=True)
)
"""400 bytes that stand for 9**10 values."""


def refused(parse: Callable[..., Any], text: str, **limits: int) -> str:
    with pytest.raises(SourceError) as caught:
        parse(text, 'file', SourceError, Limits(**limits))
    return str(caught.value)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        (BOMB, 'file:6: more than 100000 values'),
        ('a: &a [*a]', 'file:1: nested deeper'),
        ('[' * 5000, 'file:1: nested deeper than 40 levels'),
        ('a: 1\nb: 2\na: 3', "file:3: key 'a' occurs twice"),
        ('a:\n  b: .nan', 'file:2: number'),
        ('a: -.inf', 'not finite'),
        ('a: 1.0e+999', 'not finite'),
        ('a: ' + '9' * 400, 'too large'),
        ('a: ' + '9' * 5000, 'too large'),
        (f'a: {LARGEST_INTEGER + 1}', 'beyond 64 bits'),
        ('a: "x\\0"', 'file:1: text contains a NUL'),
        ('"\\ud800": 1', 'surrogate'),
        ('a: "\\UFFFFFFFF"', 'not valid YAML'),
        ('a: !!int ""', 'not a valid int'),
        ('a: !!float ""', 'not a valid float'),
        ('a: !!int 0x', 'not a valid int'),
        ('a: !!python/object/apply:os.system ["true"]', 'not supported'),
        ('a: !!binary aGk=', 'not supported'),
        ('a: !!set {b}', 'not supported'),
        ('? [a, b]\n: c', 'single value'),
        ('a: {<<: 1}', 'merges mappings'),
        ('a: 1\n--- b', 'another document'),
        ('a: [', 'file:1'),
        ('a: "\x07"', 'special characters'),
    ],
)
def test_what_yaml_is_refused(text: str, says: str) -> None:
    assert says in refused(parse_yaml, text)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('[' * 100_000, 'nested deeper than 40 levels'),
        ('[' * 50 + ']' * 50, 'nested deeper than 40 levels'),
        ('{"a": 1, "a": 2}', "key 'a' occurs twice"),
        ('{"a": {"b": [0, NaN]}}', 'NaN is not finite'),
        ('{"a": {"b": [0, 1e999]}}', 'file: a: b: 1: number is too large'),
        ('[' + '9' * 400 + ']', 'beyond 64 bits'),
        ('[' + '9' * 5000 + ']', 'beyond 64 bits'),
        ('{"a": "\\u0000"}', 'file: a: text contains a NUL'),
        ('{"\\ud800": 1}', 'surrogate'),
        ('{\n"a": 1\n"b": 2}', 'file:3: not valid JSON'),
        ('', 'not valid JSON'),
    ],
)
def test_what_json_is_refused(text: str, says: str) -> None:
    assert says in refused(parse_json, text)


@pytest.mark.parametrize('parse', [parse_yaml, parse_json])
def test_limits(parse: Callable[..., Any]) -> None:
    assert parse('[[1], [2]]', 'file', limits=Limits(10, 5, 2)) == [[1], [2]]
    assert 'at most 9' in refused(parse, '[[1], [2]]', size=9)
    assert 'more than 3 values' in refused(parse, '[[1], [2]]', values=3)
    assert 'deeper than 1' in refused(parse, '[[1], [2]]', depth=1)


def test_aliases_and_merge_keys_work_within_the_limits() -> None:
    text = (
        'base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: [*b, *b]\nall: {<<: [*b, {x: 9, z: 8}]}'
    )
    read = parse_yaml(text, 'file')
    assert read == yaml.safe_load(text)
    read['two'][0]['x'] = 5
    assert read['base']['x'] == read['two'][1]['x'] == 1  # nothing is shared


def test_a_date_is_text() -> None:
    assert parse_yaml('version: 2026-11-29', 'file') == {'version': '2026-11-29'}


def test_files(tmp_path: Path) -> None:
    file = tmp_path / 'file.yaml'
    file.write_text('\ufeffa: [1, 0x10, 1.5, yes, null, "x"]', encoding='utf-8')
    assert read_yaml(file) == {'a': [1, 16, 1.5, True, None, 'x']}
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(file) == {'a': 1}
    file.write_bytes(b'a: \xff')
    for read in (read_yaml, read_json):
        with pytest.raises(ModelError, match='UTF-8'):
            read(file)
        with pytest.raises(SourceError, match='cannot be read: No such file'):
            read(tmp_path / 'none', SourceError)
        with pytest.raises(ModelError, match='cannot be read'):
            read(Path('nul\0byte'))
        with pytest.raises(ModelError, match='not a regular file'):
            read(tmp_path)
    with file.open('wb') as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ModelError, match='at most'):
        read_json(file)
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    with pytest.raises(ModelError, match='not a regular file'):
        read_yaml(pipe)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=['Cs', 'Cc', 'Cn', 'Co'])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('abcn1', min_size=1), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_what_is_written_is_read(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True), 'file') == value
    assert parse_json(json.dumps(value), 'file') == value


PIECES = (
    'a |: |- |\n|  |[|]|{|}|,|&a |*a |<<|!!int |!!float |!!timestamp |2001-99-99|"|\'|\\u|\\U|'
    'd800|FFFFFFFF|\\0|>-|0x|0b|_|1:|.|.inf|e9|999999|? |%YAML |%TAG |---|#|\t|!|!<|~|=|NaN|1e999|'
    '"a":|\x85|\u2028|\ufeff'
)


@given(
    st.lists(st.sampled_from(PIECES.split('|')), max_size=25).map(''.join) | st.text(max_size=30)
)
def test_any_text_is_a_value_or_our_error(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        with contextlib.suppress(SourceError):
            check_plain(parse(text, 'file', SourceError))


def check_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key)
            check_plain(item)
    elif isinstance(value, list):
        for item in value:
            check_plain(item)
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, str):
        value.encode()
        assert '\0' not in value
    else:
        assert value is None or abs(value) <= LARGEST_INTEGER


def test_two_writers_of_one_file_have_a_new_file_each(tmp_path: Path) -> None:
    path = tmp_path / 'record.yaml'
    with replacing(path) as first, replacing(path) as second:
        first.write_text('first', encoding='utf-8')
        second.write_text('second', encoding='utf-8')
    assert path.read_text(encoding='utf-8') == 'first', 'the outer one ends last'
    with pytest.raises(UnicodeError), replacing(path) as partial:
        partial.write_text('half \ud800', encoding='utf-8')
    assert [file.name for file in tmp_path.iterdir()] == ['record.yaml']
    assert path.read_text(encoding='utf-8') == 'first'
