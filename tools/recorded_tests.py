# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs tests in this process and records the lines of the package that each of them runs."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from coverage import Coverage
from mutations import Mutant


@dataclass
class Case:
    """A test: its CPU time and the lines of the package that it runs."""

    seconds: float = 0.0
    lines: dict[str, list[int]] = field(default_factory=dict)

    def hits(self, mutant: Mutant) -> bool:
        """Whether the test runs the statement of a mutant."""
        return not set(mutant.lines).isdisjoint(self.lines.get(mutant.path, ()))


class Recorder:
    """A plugin of pytest that records a ``Case`` of each test that passes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._coverage = Coverage(data_file=None, source=[str(folder / 'mt_perception')])
        self._cases: dict[str, Case] = {}
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test, with its own context of coverage."""
        self._coverage.switch_context(item.nodeid)
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
        self._coverage.start()
        run_pytest([name], self)
        self._coverage.stop()
        data = self._coverage.get_data()
        for file in data.measured_files():
            path = str(Path(file).relative_to(self._folder))
            for line, cases in sorted(data.contexts_by_lineno(file).items()):
                for case in cases:
                    if case in self._cases:
                        self._cases[case].lines.setdefault(path, []).append(line)
        passed = {k: vars(case) for k, case in self._cases.items() if k not in self._failed}
        output.write_text(json.dumps(passed), encoding='utf-8')


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
