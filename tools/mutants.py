# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutation testing: changes one expression at a time and checks whether a test fails.

    python tools/mutants.py --sample 40 --out out/mutants.jsonl
    python tools/mutants.py --folder server --sample 40 --out out/mutants.jsonl

A seeded sample of the mutants of each folder runs in a copy of the repository, each with the tests
that import its module, nearest first. Results are appended to a file, and a later run skips them.
A survivor is either not tested or equivalent to the program; a person must decide.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'mt_perception'
FOLDERS = (
    *('model', 'execution', 'image', 'planning', 'nodes', 'offload', 'server'),
    'evaluation/metrics',
)
_BUDGET_S = 10.0
_HELPERS = 2  # Distance that a helper module of the tests adds.
_MOST_TESTS = 4  # Files of tests of a mutant.
_FARTHER = 2  # Tests farther away than the nearest ones by more than this do not run.

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: The file, relative to the root.
        index: Number of the change in the file.
        line: Line of the changed expression.
        change: The change, for a reader.
    """

    path: str
    index: int
    line: int
    change: str

    @property
    def key(self) -> str:
        """Identity of the mutant; it changes with its line's text."""
        return f'{self.path}:{self.line}: {self.change}'

    def source(self) -> str:
        """The changed file."""
        tree = ast.parse((ROOT / self.path).read_text(encoding='utf-8'))
        put, _, changed = list(_changes_of(tree))[self.index]
        put(changed)
        return ast.unparse(ast.fix_missing_locations(tree))


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """The changed copies of a node; none if its kind is not changed."""
    changed = copy.deepcopy(node)
    if isinstance(changed, ast.Compare) and len(changed.ops) == 1:
        changed.ops = [_COMPARISONS[type(changed.ops[0])]()]
        yield changed
    elif isinstance(changed, ast.BoolOp):
        changed.op = ast.Or() if isinstance(changed.op, ast.And) else ast.And()
        yield changed
    elif isinstance(changed, ast.UnaryOp) and isinstance(changed.op, ast.Not):
        yield changed.operand
    elif isinstance(changed, ast.BinOp | ast.AugAssign) and type(changed.op) in _OPERATORS:
        changed.op = _OPERATORS[type(changed.op)]()
        yield changed
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, bool):
        yield ast.Constant(not changed.value)
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, int | float):
        yield ast.Constant(changed.value * 2 + 1)
    elif isinstance(changed, ast.Return) and not isinstance(
        changed.value, ast.Constant | type(None)
    ):
        yield ast.Return(ast.Constant(None))
    elif isinstance(changed, ast.If):
        changed.test = ast.Constant(False)
        yield changed
    elif isinstance(changed, ast.Raise) or (
        isinstance(changed, ast.Expr) and isinstance(changed.value, ast.Call)
    ):
        yield ast.Pass()
    elif isinstance(changed, ast.ExceptHandler):
        changed.body = [ast.Raise()]
        yield changed


def mutable(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Places of a tree that may change: (parent, field, index in a list).

    Annotations, decorators, texts of messages and blocks for type checkers are left out.
    """
    for field, value in ast.iter_fields(tree):
        if field in ('annotation', 'returns', 'decorator_list', 'type_comment'):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test):
                continue
            if isinstance(child, ast.Assign) and 'TypeVar' in ast.dump(child.value):
                continue
            if isinstance(child, ast.Call) and _is_log(child):
                continue
            yield tree, field, index
            yield from mutable(child)


def _is_log(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and 'get_logger' in ast.dump(call.func.value)


def mutants_of(path: Path) -> list[Mutant]:
    """All mutants of a file."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    name, found = str(path.relative_to(ROOT)), []
    for _, node, changed in _changes_of(tree):
        before, after = (ast.unparse(one).split('\n')[0] for one in (node, changed))
        line = getattr(node, 'lineno', 0)
        found.append(Mutant(name, len(found), line, f'{before} → {after}'))
    return found


def _changes_of(
    tree: ast.AST,
) -> Iterator[tuple[Callable[[ast.AST], None], ast.AST, ast.AST]]:
    """Each change of a tree: what makes it, the node, and the changed node."""
    for parent, field, index in mutable(tree):
        value = getattr(parent, field)
        node = value if index is None else value[index]
        for changed in changes(node):
            yield _putter(parent, field, index), node, changed


def _putter(parent: ast.AST, field: str, index: int | None) -> Callable[[ast.AST], None]:
    def put(node: ast.AST) -> None:
        if index is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[index] = node

    return put


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
        budget_s: CPU time of the tests that a mutant runs with; one file may exceed it.
        results: File of the results; durations of tests are kept in it as well.
    """

    def __init__(self, folder: Path, budget_s: float, results: Path) -> None:
        self._folder = folder
        self._budget_s = budget_s
        self._results = results
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
        torch = "importorskip('torch'"
        self._tests = [
            test for test in sorted((ROOT / 'test').glob('test_*.py'))
            if torch not in test.read_text(encoding='utf-8')
        ]  # fmt: skip
        self._seconds: dict[str, float] = {
            row['test']: row['seconds'] for row in read_rows(results) if 'test' in row
        }

    def killed_by(self, mutant: Mutant) -> str:
        """How a mutant was detected; empty if it survived."""
        file = self._folder / mutant.path
        tests = self._tests_of(mutant.path)
        original = file.read_bytes()
        file.write_text(mutant.source(), encoding='utf-8')
        try:
            allowed_s = 60 + 10 * sum(self._seconds[test] for test in tests)
            return self._run(tests, allowed_s) if tests else ''
        finally:
            file.write_bytes(original)

    def _tests_of(self, path: str) -> list[str]:
        """The nearest tests of a file within the budget; the fast ones first."""
        near = sorted(
            (distances(test)[path], test.name) for test in self._tests if path in distances(test)
        )
        chosen: list[str] = []
        for distance, name in near[:_MOST_TESTS]:
            if distance > near[0][0] + _FARTHER:
                break
            seconds = self._baseline(name)
            if seconds >= 0 and (not chosen or self._spent(chosen) + seconds <= self._budget_s):
                chosen.append(name)
        return sorted(chosen, key=lambda name: self._seconds[name])

    def _spent(self, names: list[str]) -> float:
        return sum(self._seconds[name] for name in names)

    def _baseline(self, name: str) -> float:
        """CPU seconds of a test file on the unchanged program; negative if it does not pass."""
        if name not in self._seconds:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            failed = self._run([name], 600.0)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self._seconds[name] = -1.0 if failed else seconds
            append_row(self._results, {'test': name, 'seconds': self._seconds[name]})
        return self._seconds[name]

    def _run(self, names: list[str], allowed_s: float) -> str:
        """Run test files until the first failure; empty if all pass."""
        output = self._folder / 'output.txt'
        child = os.fork()
        if child == 0:
            os._exit(self._test(names, output))
        end_s = time.monotonic() + allowed_s
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end_s:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return f'no end within {allowed_s:.0f} s'
            time.sleep(0.02)
        if ended[1] == 0:
            return ''
        lines = output.read_text(encoding='utf-8', errors='replace').splitlines()
        failures = [line for line in lines if line.startswith(('FAILED', 'ERROR'))]
        return (failures or [f'wait status {ended[1]}'])[0][:200]

    def _test(self, names: list[str], output: Path) -> int:
        """Run pytest in this process, a child in a session of its own; return its status."""
        os.setsid()
        file = os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        for number in (1, 2):
            os.dup2(file, number)
        os.chdir(self._folder)
        os.environ.setdefault('MT_PERCEPTION_DATA', str(ROOT.parent / 'shared' / 'data'))
        os.environ['PYTHONPATH'] = sys.path[0] = str(self._folder)
        tests = [f'test/{name}' for name in names]
        return int(pytest.main(['-x', '-q', '-p', 'no:cacheprovider', *tests]))


def preload() -> None:
    """Import what most tests need; each run of tests then forks from here."""
    names = (
        *('numpy', 'cv2', 'onnx', 'onnxruntime', 'hypothesis', 'yaml', 'rich', 'click'),
        *('rosbags.typesys', 'grpc', 'google.protobuf', 'constriction', 'rclpy'),
    )
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def read_rows(path: Path) -> list[dict[str, object]]:
    """The rows of a file of results; none if it does not exist."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def append_row(path: Path, row: dict[str, object]) -> None:
    """Append a row to a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a', encoding='utf-8') as file:
        file.write(json.dumps(row, ensure_ascii=False) + '\n')


def sampled(folder: str, number: int, seed: int) -> list[Mutant]:
    """A seeded sample of the mutants of a folder."""
    files = sorted((ROOT / PACKAGE / folder).rglob('*.py'))
    every = [mutant for file in files for mutant in mutants_of(file)]
    generator = random.Random(f'{seed} {folder}')  # noqa: S311
    return generator.sample(every, min(number, len(every)))


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
    sys.dont_write_bytecode = True
    preload()
    samples = {f: sampled(f, given.sample, given.seed) for f in given.folder or FOLDERS}
    with tempfile.TemporaryDirectory() as folder:
        place = Copy(Path(folder), given.budget_s, given.out.resolve())
        rows = {row['mutant']: row for row in read_rows(given.out) if 'mutant' in row}
        # Folders in turn, so that a run that ends early has mutants of each.
        turns = range(given.sample)
        for mutant in (m for i in turns for found in samples.values() for m in found[i : i + 1]):
            if time.monotonic() > end_s:
                break
            known = rows.get(mutant.key)
            if known is not None and (known['killed_by'] or not given.survivors):
                continue
            rows[mutant.key] = {'mutant': mutant.key, 'killed_by': place.killed_by(mutant)}
            append_row(given.out, rows[mutant.key])
    for name, found in samples.items():
        done = [rows[mutant.key] for mutant in found if mutant.key in rows]
        alive = [row['mutant'] for row in done if not row['killed_by']]
        share = 1 - len(alive) / max(1, len(done))
        print(f'{name}: {len(done) - len(alive)} of {len(done)} killed ({share:.0%})')
        for text in alive:
            print(f'  survives {text}')


if __name__ == '__main__':
    main()
