# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutation testing: changes one expression at a time and checks whether a test fails.

    python tools/mutants.py --sample 40 --out out/mutants.jsonl
    python tools/mutants.py --folder server --sample 40 --out out/mutants.jsonl

A seeded sample of the mutants of each folder runs in a copy of the repository. Each mutant runs
with the tests that execute its lines, in the test files nearest to its module by imports. Results
are appended to a file, and a later run skips them. A survivor is either not tested or equivalent
to the program; a person decides. ``tools/equivalent_mutants.txt`` lists the equivalent ones.
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
from collections.abc import Callable, Iterable
from functools import cache
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
_BUDGET_S = 6.0
_HELPERS = 2  # Distance that a helper module of the tests adds.
_MOST_FILES = 4  # Files of tests of a mutant.
_FARTHER = 2  # Tests farther away than the nearest ones by more than this do not run.
_SYSTEM = re.compile(r'ros_graph|from hosts|subprocess\.(run|Popen)')
"""Tests of processes and of time, which a busy machine may fail."""


@cache
def imports(path: Path) -> frozenset[Path]:
    """Files of the repository that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)]
        for name in names:
            parts = name.split('.')
            bases = [ROOT] if parts[0] == PACKAGE else [ROOT / 'test', ROOT / 'benchmarks']
            for base in bases:
                file = base.joinpath(*parts).with_suffix('.py')
                if file.is_file() and file != path:
                    found.add(file)
    return frozenset(found)


@cache
def distances(test: Path) -> dict[str, int]:
    """File of the package → number of imports between a test and it."""
    found: dict[Path, int] = {}
    level = {test: 0}
    while level:
        following: dict[Path, int] = {}
        for file, distance in level.items():
            for target in imports(file):
                step = 1 if target.is_relative_to(ROOT / PACKAGE) else _HELPERS
                if distance + step < min(found.get(target, 99), following.get(target, 99)):
                    following[target] = distance + step
        found |= following
        level = following
    return {str(file.relative_to(ROOT)): distance for file, distance in found.items()}


class Copy:
    """A copy of the repository in which the tests run.

    Args:
        folder: An empty folder.
        budget_s: CPU time of a mutant's tests in one file; a single test may exceed it.
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
        self._tests = [
            test for test in sorted((ROOT / 'test').glob('test_*.py'))
            if not re.search(r"importorskip\('(torch|ray)", test.read_text(encoding='utf-8'))
        ]  # fmt: skip
        self._cases: dict[tuple[str, int], dict[str, Case]] = {
            (row['test'], row['changed']): {k: Case(**case) for k, case in row['cases'].items()}
            for row in read_rows(self._recorded)
        }

    def killed_by(self, mutant: Mutant) -> str:
        """How a mutant was detected; empty if it survived."""
        ran = False
        for name in self._near(mutant.path):
            cases = self._chosen([k for k, c in self._of(name).items() if c.hits(mutant)], name)
            ran = ran or bool(cases)
            if found := self._failure(mutant, name, cases):
                return found
        if ran:
            return ''
        # Lines of an import or of another process are not recorded for a test.
        for name in self._near(mutant.path)[:2]:
            cases = [k for k, case in self._of(name).items() if mutant.path in case.lines]
            if found := self._failure(mutant, name, self._chosen(cases or self._of(name), name)):
                return found
        return ''

    def _near(self, path: str) -> list[str]:
        """The test files that are nearest to a file by imports."""
        near = sorted(
            (distances(test)[path], test.name) for test in self._tests if path in distances(test)
        )
        return [name for far, name in near[:_MOST_FILES] if far <= near[0][0] + _FARTHER]

    def _chosen(self, cases: Iterable[str], name: str) -> list[str]:
        """Cases of a test file within the budget, the fast ones first."""
        seconds = {case: self._of(name)[case].seconds for case in cases}
        chosen: list[str] = []
        for case in sorted(seconds, key=lambda one: seconds[one]):
            if not chosen or seconds[case] + sum(seconds[one] for one in chosen) <= self._budget_s:
                chosen.append(case)
        return chosen

    def _of(self, name: str) -> dict[str, Case]:
        """The cases of a test file that pass on the unchanged program."""
        key = (name, int((ROOT / 'test' / name).stat().st_mtime))
        if key not in self._cases:
            output = self._folder / 'cases.json'
            output.write_text('{}', encoding='utf-8')
            self._run(lambda: Recorder(self._folder).run(name, output), 600.0, 1200.0)
            cases = json.loads(output.read_text(encoding='utf-8'))
            append_row(self._recorded, {'test': name, 'changed': key[1], 'cases': cases})
            self._cases[key] = {k: Case(**case) for k, case in cases.items()}
        return self._cases[key]

    def _failure(self, mutant: Mutant, name: str, cases: list[str]) -> str:
        """How cases of a test file fail with a mutant; empty if they pass."""
        while cases:
            file = self._folder / mutant.path
            original = file.read_bytes()
            file.write_text(mutant.source(ROOT), encoding='utf-8')
            try:
                found = self._run_cases(name, cases)
            finally:
                file.write_bytes(original)
                self._forget(file)
            system = _SYSTEM.search((ROOT / 'test' / name).read_text(encoding='utf-8'))
            failed = [case for case in cases if case in found.split()]
            if not system or not failed or not self._run_cases(name, failed):
                return found
            # The test fails without the mutant as well.
            cases = [case for case in cases if case not in failed]
        return ''

    def _forget(self, file: Path) -> None:
        """Remove the bytecode of a file; its date may be that of the changed one."""
        for cached in (file.parent / '__pycache__').glob(f'{file.stem}.*.pyc'):
            cached.unlink()

    def _run_cases(self, name: str, cases: list[str]) -> str:
        """Run cases up to the first failure; empty if all pass."""
        spent_s = sum(self._of(name)[case].seconds for case in cases)
        return self._run(lambda: run_pytest(cases), 10 + 4 * spent_s, 60 + 20 * spent_s)

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
                return f'no end within {wall_s:.0f} s'
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
        os.environ['PYTHONPATH'] = sys.path[0] = str(self._folder)


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
    if not all(isinstance(row, dict) and row.keys() & {'mutant', 'test'} for row in rows):
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
