# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep over budgets: what was kept, the curve, the path of every frame, easy and hard ones."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_paths import write_tiny_paths

pytest.importorskip('jinja2')
pytest.importorskip('matplotlib')

from mt_perception.cli.main import main
from mt_perception.evaluation.records import FrameRecord
from mt_perception.evaluation.report.compute_effort import EASY, HARD, easy_and_hard, effort_table
from mt_perception.evaluation.runs import read_run


@pytest.fixture(scope='module')
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty grey images, dark and bright, at three budgets."""
    place = tmp_path_factory.mktemp('sweep')
    images = place / 'images'
    images.mkdir()
    random = np.random.default_rng(0)
    for number in range(40):
        image = np.full((48, 64, 3), random.integers(0, 255), np.uint8)
        image[10:30, 20:50] = (0, 0, 255)
        cv2.imwrite(str(images / f'{number:02}.png'), image)
    model = write_tiny_paths(place / 'tiny')
    arguments = ['evaluate', images, '--model', model, '--out', place / 'out']
    assert main([*map(str, arguments), '--sweep', 'budget=1,0.6,0.4']) == 0
    return place / 'out'


def folder(swept: Path, budget: str) -> Path:
    return swept / 'images' / f'budget={budget}'


def test_each_point_keeps_its_budget(swept: Path) -> None:
    spent = {}
    for budget in ('1.0', '0.6', '0.4'):
        summary = json.loads((folder(swept, budget) / 'summary.json').read_text())
        assert summary['parameters']['budget']['compute'] == float(budget)
        spent[budget] = summary['counts']['macs_mean']
    assert spent['0.6'] / spent['1.0'] == pytest.approx(0.6, abs=0.08)
    assert spent['0.4'] / spent['1.0'] == pytest.approx(0.4, abs=0.08)


def test_the_report_tells_of_budgets_and_paths(swept: Path) -> None:
    page = (swept / 'report.html').read_text()
    assert '<h2>Budgets</h2>' in page
    assert 'the path of every frame' in page
    assert 'tag easy' in page
    assert 'tag hard' in page
    assert 'are not of what was measured' not in page
    runs = [read_run(folder(swept, budget)) for budget in ('1.0', '0.6', '0.4')]
    table = effort_table(runs)
    assert table is not None
    assert [row.cells[0].text for row in table.rows] == ['1', '0.6', '0.4']
    assert table.rows[0].cells[1].text == '1.000'
    assert effort_table(runs[:1]) is None


def test_easy_are_dark_and_hard_are_bright(swept: Path) -> None:
    run = read_run(folder(swept, '0.6'))
    kinds = easy_and_hard(run.frames, 3)
    assert sorted(kinds.values()) == [EASY] * 3 + [HARD] * 3
    levels = {}
    for key, kind in kinds.items():
        (file,) = (swept.parent / 'images').glob(f'{Path(key).stem}*')
        levels.setdefault(kind, []).append(cv2.imread(str(file))[0, 0, 0])
    assert max(levels[EASY]) < min(levels[HARD]) + 60
    assert np.mean(levels[EASY]) < np.mean(levels[HARD])


def test_frames_that_were_not_run_are_neither(swept: Path) -> None:
    frames: list[FrameRecord] = list(read_run(folder(swept, '1.0')).frames)
    assert easy_and_hard(frames, 3) == {}
    assert easy_and_hard([], 3) == {}
