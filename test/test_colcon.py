# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``colcon test`` runs the tests of the package, and fails when one fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from test_packaging import NOT_SHIPPED, ROOT

if shutil.which('colcon') is None:
    pytest.skip('needs colcon: make test-colcon', allow_module_level=True)

TEST = '{header}\n\n\ndef test_arithmetic() -> None:\n    assert 1 + 1 == {sum}\n'
HEADER = '# SPDX-License-Identifier: Apache-2.0'


def colcon(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ['colcon', *arguments],
        cwd=workspace,
        # The packages of this environment, as ROS and pip would provide them.
        env={**os.environ, 'PYTHONPATH': sysconfig.get_path('purelib')},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built workspace with the package and one test instead of its own, which take minutes."""
    folder = tmp_path_factory.mktemp('workspace')
    package = folder / 'src' / 'mt_perception'
    shutil.copytree(ROOT, package, ignore=NOT_SHIPPED)
    shutil.rmtree(package / 'test')
    (package / 'test').mkdir()
    built = colcon(folder, 'build', '--packages-select', 'mt_perception')
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.parametrize(('total', 'failures'), [(2, 0), (3, 1)])
def test_colcon_runs_the_tests(workspace: Path, total: int, failures: int) -> None:
    file = workspace / 'src' / 'mt_perception' / 'test' / 'test_sum.py'
    file.write_text(TEST.format(header=HEADER, sum=total), encoding='utf-8')
    tested = colcon(workspace, 'test', '--packages-select', 'mt_perception')
    assert tested.returncode == 0, tested.stdout + tested.stderr
    result = colcon(workspace, 'test-result', '--all')
    assert f'1 test, 0 errors, {failures} failure' in result.stdout
    assert result.returncode == failures
