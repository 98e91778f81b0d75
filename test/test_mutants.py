# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The mutants of ``make mutants``: what is changed, and what is excused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / 'tools'))

pytest.importorskip('coverage', reason='needs the extra "dev"')
import mutants
from mutations import mutants_of

PROGRAM = """
def clipped(value: int) -> int:
    if value > 3 and value:
        raise ValueError('too large')
    return value + 1
"""


def test_mutants_of_a_program(tmp_path: Path) -> None:
    file = tmp_path / 'program.py'
    file.write_text(PROGRAM, encoding='utf-8')
    found = {mutant.lasting_key: mutant for mutant in mutants_of(file, tmp_path)}
    assert set(found) == {
        'program.py:clipped: if value > 3 and value: → if False:',
        'program.py:clipped: value > 3 and value → value > 3 or value',
        'program.py:clipped: value > 3 → value >= 3',
        'program.py:clipped: 3 → 7',
        "program.py:clipped: raise ValueError('too large') → pass",
        'program.py:clipped: return value + 1 → return None',
        'program.py:clipped: value + 1 → value - 1',
        'program.py:clipped: 1 → 3',
    }
    mutant = found['program.py:clipped: value + 1 → value - 1']
    assert 'return value - 1' in mutant.source(tmp_path)
    assert list(mutant.lines) == [5]


CONSTANTS = """
LIMIT = 3
class Options:
    size: int = 4
def clipped(options):
    return list(zip([options.size], [LIMIT], strict=True))
"""


def test_a_constant_is_tested_where_its_name_is_used(tmp_path: Path) -> None:
    """Its own line runs when the module is imported, which is not recorded for a test."""
    file = tmp_path / mutants.PACKAGE / 'program.py'
    file.parent.mkdir()
    file.write_text(CONSTANTS, encoding='utf-8')
    (file.parent / 'user.py').write_text('import program\nx = program.LIMIT\n', encoding='utf-8')
    lines = {m.change: mutants.lines_of(m, tmp_path) for m in mutants_of(file, tmp_path)}
    package = mutants.PACKAGE
    assert lines['3 → 7'] == {f'{package}/program.py': {2, 6}, f'{package}/user.py': {2}}
    assert lines['4 → 9'] == {f'{package}/program.py': {4, 6}}
    assert 'True → False' not in lines


def test_a_test_that_reads_a_constant_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / 'test').mkdir()
    text = 'def test_a():\n    assert LIMIT == 3\n\n\ndef test_b():\n    assert LIMITS\n'
    (tmp_path / 'test' / 'test_x.py').write_text(text, encoding='utf-8')
    assert mutants.mentioning(('LIMIT', 'size'), tmp_path) == {'test_x.py::test_a'}
    assert mutants.mentioning((), tmp_path) == set()


def test_equivalent_mutants_exist() -> None:
    existing = {
        mutant.lasting_key
        for folder in mutants.FOLDERS
        for file in (ROOT / mutants.PACKAGE / folder).rglob('*.py')
        for mutant in mutants_of(file, ROOT)
    }
    assert mutants.equivalent() <= existing


def test_results_are_not_appended_to_another_file(tmp_path: Path) -> None:
    for content in ('name: x\n', '{"a": 1}\n', '[1]\n'):
        file = tmp_path / 'other'
        file.write_text(content, encoding='utf-8')
        with pytest.raises(SystemExit, match='is not a file of results; name another'):
            mutants.read_rows(file)
