# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception models`` lists what is installed and says which to use."""

from __future__ import annotations

from pathlib import Path

import pytest

from mt_perception.cli import models as command
from mt_perception.cli.main import main
from mt_perception.cli.models import advice
from mt_perception.model.folder import read_manifest
from mt_perception.resources import find_model, list_models


def test_every_installed_model_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['models']) == 0
    shown = capsys.readouterr().out
    for name in list_models():
        assert name in shown
    assert 'least compute: cspnano (0.' in shown
    assert 'best AP: cspnano_picodet' in shown


def test_the_advice_follows_the_figures_and_the_documents_say_the_same() -> None:
    found = {name: read_manifest(find_model(name)) for name in ('cspnano', 'cspnano_picodet')}
    lines = advice(list(found.values()))
    assert 'offloading: cspnano only' in lines
    page = (Path(__file__).parent.parent / 'docs' / 'models.md').read_text()
    for metric, row in (('ap', '| AP of'), ('miou', '| mIoU of'), ('abs_rel', '| AbsRel of')):
        (line,) = (line for line in page.splitlines() if line.startswith(row))
        for one in found.values():
            assert f'{command._value(one, metric):.3f}' in line
    assert advice([found['cspnano']]) == []


def test_nothing_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, 'list_models', list)
    assert main(['models']) == 0
    assert 'no model is installed' in capsys.readouterr().out
