# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Energy of a run: packages are summed, a counter may start again, absent ones are no zero."""

from __future__ import annotations

from pathlib import Path

import pytest
from rapl import joules


def zone(folder: Path, name: str, kind: str, energy_uj: int) -> Path:
    path = folder / name
    path.mkdir()
    (path / 'name').write_text(f'{kind}\n')
    (path / 'energy_uj').write_text(f'{energy_uj}\n')
    (path / 'max_energy_range_uj').write_text('999999\n')
    return path


def test_packages_are_summed_and_counters_start_again(tmp_path: Path) -> None:
    first = zone(tmp_path, 'intel-rapl:0', 'package-0', 100_000)
    second = zone(tmp_path, 'intel-rapl:1', 'package-1', 900_000)
    core = zone(tmp_path, 'intel-rapl:0:0', 'core', 0)

    def run() -> None:
        for path, step in ((first, 50_000), (second, 60_000), (core, 40_000)):
            energy = int((path / 'energy_uj').read_text()) + step
            (path / 'energy_uj').write_text(str(energy % 1_000_000))

    assert joules(run, 4, tmp_path) == pytest.approx(0.11)


def test_without_counters_nothing_is_measured(tmp_path: Path) -> None:
    assert joules(lambda: None, 1, tmp_path) is None
    assert joules(lambda: None, 1, tmp_path / 'absent') is None
