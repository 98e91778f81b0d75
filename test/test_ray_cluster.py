# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The start of the tests' Ray cluster, which is repeated, with programs that stand for Ray."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / 'tools'))

import ray_cluster

PROGRAM = f"""
import pathlib, subprocess, sys, time
starts = pathlib.Path(sys.argv[1])
starts.write_text(starts.read_text() + 'x')
if len(starts.read_text()) <= int(sys.argv[2]):
    sys.exit('no port')
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
starts.with_name('child').write_text(str(child.pid))
print({ray_cluster.STARTED!r}, flush=True)
time.sleep(600)
"""


def start(starts: Path, failures: int) -> ray_cluster.Start:
    """A start that fails some times, then leaves a child as Ray does."""
    starts.write_text('')
    return lambda ports, folder: [sys.executable, '-c', PROGRAM, str(starts), str(failures)]


def lives(process: int) -> bool:
    try:
        state = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'


@pytest.mark.parametrize('failures', [0, ray_cluster.STARTS - 1])
def test_a_failed_start_is_repeated_and_all_processes_end(tmp_path: Path, failures: int) -> None:
    starts = tmp_path / 'starts'
    with ray_cluster.ray_cluster(start(starts, failures), dict(os.environ)) as address:
        assert address.startswith('127.0.0.1:')
        child = int((tmp_path / 'child').read_text())
        assert lives(child)
    assert len(starts.read_text()) == failures + 1
    while lives(child):
        time.sleep(0.05)


def test_what_fails_with_the_cluster_is_not_repeated(tmp_path: Path) -> None:
    starts = tmp_path / 'starts'
    with (
        pytest.raises(AssertionError, match='of a test'),
        ray_cluster.ray_cluster(start(starts, 0), dict(os.environ)),
    ):
        raise AssertionError('of a test')
    assert starts.read_text() == 'x'


def test_the_reason_is_shown_when_no_start_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(SystemExit, match='no Ray cluster'),
        ray_cluster.ray_cluster(start(tmp_path / 'starts', 99), dict(os.environ)),
    ):
        pass
    assert capsys.readouterr().out.count('no port') == ray_cluster.STARTS
