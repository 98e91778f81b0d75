# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs tests in this process and records the lines of the package that each of them runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException

_CASE = 'MUTANTS_CASE'
"""Environment variable with the running test, for programs that it starts."""


@dataclass
class Case:
    """A test: its CPU time and the lines of the package that it runs."""

    seconds: float = 0.0
    lines: dict[str, list[int]] = field(default_factory=dict)

    def hits(self, lines: dict[str, set[int]]) -> bool:
        """Whether the test runs one of these lines of the package's files."""
        return any(not found.isdisjoint(self.lines.get(k, ())) for k, found in lines.items())

    def share(self, lines: dict[str, set[int]]) -> float:
        """Share of its lines that are in files of these lines: how much it is about them."""
        inside = sum(len(self.lines.get(path, ())) for path in lines)
        return inside / max(1, sum(map(len, self.lines.values())))


class Recorder:
    """A plugin of pytest that records a ``Case`` of each test that passes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children = folder / 'children'
        self._coverage = Coverage(data_file=None, source=[str(folder / 'mt_perception')])
        self._cases: dict[str, Case] = {}
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test, with its own context of coverage."""
        self._coverage.switch_context(item.nodeid)
        os.environ[_CASE] = item.nodeid
        before_s = cpu_s()
        try:
            return (yield)
        finally:
            self._cases[item.nodeid] = Case(cpu_s() - before_s)
            self._coverage.switch_context('')

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that fails or is skipped."""
        if report.failed or report.skipped:
            self._failed.add(report.nodeid)

    def run(self, name: str, output: Path) -> None:
        """Run a test file and write its cases."""
        self._record_children()
        self._coverage.start()
        run_pytest([name], self)
        self._coverage.stop()
        self._add(self._coverage.get_data())
        for file in self._children.glob('data.*'):
            data = CoverageData(str(file))
            with contextlib.suppress(CoverageException):  # The process was killed.
                data.read()
                self._add(data)
            file.unlink()
        passed = {k: vars(case) for k, case in self._cases.items() if k not in self._failed}
        output.write_text(json.dumps(passed), encoding='utf-8')

    def _record_children(self) -> None:
        """Let programs that a test starts record their lines; coverage's .pth file starts it."""
        self._children.mkdir(exist_ok=True)
        config = self._children / 'coveragerc'
        source, data = self._folder / 'mt_perception', self._children / 'data'
        config.write_text(
            f'[run]\nsource = {source}\ndata_file = {data}\nparallel = true\n'
            f'sigterm = true\ncontext = ${{{_CASE}}}\ndisable_warnings = no-data-collected\n',
            encoding='utf-8',
        )
        os.environ['COVERAGE_PROCESS_START'] = str(config)

    def _add(self, data: CoverageData) -> None:
        for file in data.measured_files():
            path = str(Path(file).relative_to(self._folder))
            for line, cases in sorted(data.contexts_by_lineno(file).items()):
                for case in cases:
                    if case in self._cases:
                        self._cases[case].lines.setdefault(path, []).append(line)


def cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def run_pytest(names: Sequence[str], *plugins: object) -> int:
    """Run test files or cases in this process, up to the first failure; return the status."""
    given = ['-q', '-p', 'no:cacheprovider', '-p', '_hypothesis_pytestplugin']
    if not plugins:
        given.append('-x')
    tests = [name if name.startswith('test/') else f'test/{name}' for name in names]
    return int(pytest.main([*given, *tests], plugins=list(plugins)))
