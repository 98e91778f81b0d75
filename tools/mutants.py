# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutation testing: changes one expression at a time and checks whether a test fails.

    python tools/mutants.py --sample 40 --out out/mutants.jsonl
    python tools/mutants.py --folder server --sample 40 --out out/mutants.jsonl

A seeded sample of the mutants of each folder runs in a copy of the repository. The suite runs once
to record the lines that each test runs, in its process and in those it starts; then each mutant
runs with the tests that run its lines. A failing test counts if it passes without the mutant.
Results are appended to a file, and a later run skips them. A survivor is either not tested or
equivalent to the program; a person decides. ``tools/equivalent_mutants.txt`` lists the equivalent
ones.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mutations import Mutant, mutants_of
from recorded_tests import Case, Recorder, cpu_s, run_pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'mt_perception'
FOLDERS = (
    *('model', 'execution', 'image', 'planning', 'nodes', 'offload', 'server'),
    'evaluation/metrics',
)
EQUIVALENT = ROOT / 'tools' / 'equivalent_mutants.txt'
_DECLARATIONS = {'nodes': 'test/test_docs.py::test_generated_tables_are_up_to_date'}
"""Room → test that reads its declarations, which run when the room is imported."""
_NO_END = 'no end'
_BUDGET_S = 20.0
_FIXED_S = 0.1  # What a test costs besides its CPU time.


class Copy:
    """A copy of the repository in which the tests run.

    Args:
        folder: An empty folder.
        budget_s: CPU time of a mutant's tests; a single test may exceed it.
        results: File of the results; what the tests run is kept beside it.
    """

    def __init__(self, folder: Path, budget_s: float, results: Path) -> None:
        self._folder = folder
        self._budget_s = budget_s
        self._recorded = results.with_suffix('.tests.jsonl')
        names = subprocess.run(
            ['git', 'ls-files', '-z'],  # noqa: S607
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split('\0')
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self._cases: dict[str, Case] = {}
        self._read_cases()

    def _read_cases(self) -> None:
        """The cases that pass on the unchanged program; new and changed test files run first."""
        known = {(row['test'], row['checksum']): row['cases'] for row in read_rows(self._recorded)}
        output = self._folder / 'cases.json'
        for test in sorted((self._folder / 'test').glob('test_*.py')):
            if re.search(r"importorskip\('(torch|ray)", test.read_text(encoding='utf-8')):
                continue
            key = (test.name, zlib.crc32(test.read_bytes()))
            if key not in known:
                output.write_text('{}', encoding='utf-8')
                recorder = Recorder(self._folder)
                self._run(lambda r=recorder, t=test: r.run(t.name, output), 600.0, 1200.0)
                known[key] = json.loads(output.read_text(encoding='utf-8'))
                row = dict(zip(('test', 'checksum'), key, strict=True)) | {'cases': known[key]}
                append_row(self._recorded, row)
            self._cases |= {name: Case(**case) for name, case in known[key].items()}

    def killed_by(self, mutant: Mutant) -> str:
        """How a mutant was detected; empty if it survived."""
        cases = self._chosen(mutant)
        file = self._folder / mutant.path
        original = file.read_bytes()
        changed = mutant.source(self._folder)
        # Without the mutant, but written like it: without comments.
        unchanged = ast.unparse(ast.parse(original))
        try:
            while cases:
                self._write(file, changed)
                found = self._run_cases(cases)
                if not found:
                    return ''
                failed = [case for case in cases if case in found.split()] or cases
                self._write(file, unchanged)
                start_s = time.monotonic()
                if not self._run_cases(failed):
                    if not found.startswith(_NO_END):
                        return found
                    # The machine may have been busy: ten times what the program needs now.
                    self._write(file, changed)
                    return self._run_cases(cases, 10 * (time.monotonic() - start_s))
                cases = [case for case in cases if case not in failed]
        finally:
            self._write(file, original.decode())
        return ''

    def _chosen(self, mutant: Mutant) -> list[str]:
        """Cases within the budget: those that run the mutant's lines, then others near them.

        A test that shares a fixture or a cached result with another one runs only the rest of
        the lines, so those of the same test files follow.
        """
        uses = lines_of(mutant, self._folder)
        hits = {name for name, case in self._cases.items() if case.hits(uses)}
        said = mentioning(mutant.names, self._folder)
        named = {name for name in self._cases if name.split('[')[0].split('/')[-1] in said}
        if mutant.names:
            hits |= {_DECLARATIONS.get(Path(mutant.path).parts[1], '')} & self._cases.keys()
        files = {name.split('::')[0] for name in hits}
        near = {
            name for name, case in self._cases.items()
            if name.split('::')[0] in files or mutant.path in case.lines
        }  # fmt: skip

        def rank(name: str) -> tuple[bool, float]:
            case = self._cases[name]
            share = 1.0 if name in named else case.share(uses)
            return name not in hits | named, -share / (_FIXED_S + case.seconds)

        chosen: list[str] = []
        spent_s = 0.0
        for name in sorted(hits | named | near, key=rank):
            seconds = self._cases[name].seconds + _FIXED_S
            if not chosen or spent_s + seconds <= self._budget_s:
                chosen.append(name)
                spent_s += seconds
        return chosen

    def _write(self, file: Path, text: str) -> None:
        """Write a file and remove its bytecode, which may have the date of another version."""
        file.write_text(text, encoding='utf-8')
        for cached in (file.parent / '__pycache__').glob(f'{file.stem}.*.pyc'):
            cached.unlink()

    def _run_cases(self, cases: list[str], least_s: float = 0.0) -> str:
        """Run cases up to the first failure; empty if all pass."""
        spent_s = sum(self._cases[case].seconds for case in cases)
        limit_s = max(60 + 20 * spent_s, least_s)
        return self._run(lambda: run_pytest(cases), 10 + 4 * spent_s, limit_s)

    def _run(self, test: Callable[[], int | None], most_s: float, wall_s: float) -> str:
        """Run tests in a child, a session of its own; the first failure, or empty."""
        output = self._folder / 'output.txt'
        child = os.fork()
        if child == 0:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(most_s), resource.RLIM_INFINITY))
            status = 70
            with contextlib.suppress(BaseException):
                self._enter(output)
                status = test() or 0
            os._exit(status)
        end_s = time.monotonic() + wall_s
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end_s:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return f'{_NO_END} within {wall_s:.0f} s'
            time.sleep(0.02)
        if ended[1] == 0:
            return ''
        lines = output.read_text(encoding='utf-8', errors='replace').splitlines()
        failures = [line for line in lines if line.startswith(('FAILED', 'ERROR'))]
        return (failures or [f'wait status {ended[1]}'])[0][:200]

    def _enter(self, output: Path) -> None:
        """Make the copy this process's place, and a file its output."""
        file = os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        for number in (1, 2):
            os.dup2(file, number)
        os.chdir(self._folder)
        os.environ.setdefault('MT_PERCEPTION_DATA', str(ROOT.parent / 'shared' / 'data'))
        os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'
        # Else each run would compile the whole package.
        os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
        sys.dont_write_bytecode = False
        os.environ['PYTHONPATH'] = sys.path[0] = str(self._folder)


def lines_of(mutant: Mutant, root: Path) -> dict[str, set[int]]:
    """Lines of the package that run a mutant: file → lines.

    Those of its statement; for a statement of a module or class, which runs when the module is
    imported, those that mention the names it defines.
    """
    if not mutant.names:
        return {mutant.path: set(mutant.lines)}
    found: dict[str, set[int]] = {}
    for file in (root / PACKAGE).rglob('*.py'):
        text = file.read_text(encoding='utf-8')
        pattern = re.compile(rf'\b(?:{"|".join(map(re.escape, mutant.names))})\b')
        lines = {i for i, line in enumerate(text.splitlines(), 1) if pattern.search(line)}
        if lines:
            found[str(file.relative_to(root))] = lines
    return found


def mentioning(names: Sequence[str], root: Path) -> set[str]:
    """Tests that mention one of these names: 'file::function'. They may read a constant alone."""
    pattern = re.compile(rf'\b(?:{"|".join(map(re.escape, names))})\b')
    found: set[str] = set()
    for file in (root / 'test').glob('test_*.py') if names else ():
        text = file.read_text(encoding='utf-8')
        if pattern.search(text):
            for one in ast.parse(text).body:
                if isinstance(one, ast.FunctionDef) and pattern.search(ast.unparse(one)):
                    found.add(f'{file.name}::{one.name}')
    return found


def preload() -> None:
    """Import what most tests need; each run of tests then forks from here."""
    names = (
        *('numpy', 'cv2', 'onnx', 'onnxruntime', 'hypothesis', 'yaml', 'rich', 'click'),
        *('rosbags.typesys', 'grpc', 'google.protobuf', 'constriction', 'rclpy'),
    )
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of results; none if it does not exist.

    Raises:
        SystemExit: The file holds something else.
    """
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    except ValueError:
        rows = [None]
    if not all(isinstance(row, dict) and row.keys() & {'mutant', 'checksum'} for row in rows):
        raise SystemExit(f'{path} is not a file of results; name another one with --out')
    return rows


def append_row(path: Path, row: dict[str, object]) -> None:
    """Append a row to a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a', encoding='utf-8') as file:
        file.write(json.dumps(row, ensure_ascii=False) + '\n')


def sampled(folder: str, number: int, seed: int) -> list[Mutant]:
    """A seeded sample of the mutants of a folder; a larger one begins with a smaller one."""
    files = sorted((ROOT / PACKAGE / folder).rglob('*.py'))
    every = [mutant for file in files for mutant in mutants_of(file, ROOT)]
    random.Random(f'{seed} {folder}').shuffle(every)  # noqa: S311
    return every[:number]


def equivalent() -> set[str]:
    """Lasting keys of the mutants that a person found equivalent."""
    lines = EQUIVALENT.read_text(encoding='utf-8').splitlines()
    return {line for line in lines if line and not line.startswith((' ', '#'))}


def print_scores(samples: dict[str, list[Mutant]], rows: dict[str, dict[str, Any]]) -> None:
    """Print the score of each folder and its survivors; equivalent mutants do not count."""
    same = equivalent()
    for name, found in samples.items():
        done = [mutant for mutant in found if mutant.key in rows]
        alive = [mutant for mutant in done if not rows[mutant.key]['killed_by']]
        excused = [mutant for mutant in alive if mutant.lasting_key in same]
        killed, counted = len(done) - len(alive), len(done) - len(excused)
        share = f'{killed} of {counted} killed ({killed / max(1, counted):.0%})'
        print(f'{name}: {share}, {len(excused)} equivalent')
        for mutant in alive:
            if mutant not in excused:
                print(f'  survives {mutant.key}')


def main() -> None:
    """Run the sample and print the score of each folder."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--folder', action='append', help='May be given several times.')
    parser.add_argument('--sample', type=int, default=40, help='Mutants of each folder.')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--minutes', type=float, default=600.0, help='Time limit of the run.')
    parser.add_argument('--budget-s', type=float, default=_BUDGET_S, help='Tests of a mutant.')
    parser.add_argument('--survivors', action='store_true', help='Run known survivors again.')
    parser.add_argument('--out', type=Path, default=Path('out/mutants.jsonl'))
    given = parser.parse_args()
    end_s = time.monotonic() + given.minutes * 60
    rows = {row['mutant']: row for row in read_rows(given.out)}
    samples = {f: sampled(f, given.sample, given.seed) for f in given.folder or FOLDERS}
    preload()
    with tempfile.TemporaryDirectory() as folder:
        place = Copy(Path(folder), given.budget_s, given.out.resolve())
        # Folders in turn, so that a run that ends early has mutants of each.
        turns = range(given.sample)
        for mutant in (m for i in turns for found in samples.values() for m in found[i : i + 1]):
            if time.monotonic() > end_s:
                break
            known = rows.get(mutant.key)
            if known is not None and (known['killed_by'] or not given.survivors):
                continue
            before_s = cpu_s()
            killed_by = place.killed_by(mutant)
            spent_s = round(cpu_s() - before_s, 1)
            row = {'mutant': mutant.key, 'killed_by': killed_by, 'cpu_s': spent_s}
            rows[mutant.key] = row
            append_row(given.out, row)
    print_scores(samples, rows)


if __name__ == '__main__':
    main()
