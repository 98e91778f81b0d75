# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from the first cell to the last."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import pytest

from mt_perception.image.read import read_image

nbclient = pytest.importorskip('nbclient', reason='pip install "mt_perception[notebooks]"')
pytest.importorskip('ipykernel', reason='pip install "mt_perception[notebooks]"')
import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / 'examples').glob('*.ipynb'))


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.name)
def test_notebooks_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels = read_image(ROOT / 'docs' / 'picture.jpg')
    cv2.imwrite(str(tmp_path / 'street.jpg'), panels[: panels.shape[0] // 2])
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    # No settings of this user.
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    book = nbformat.read(file, as_version=4)
    nbclient.NotebookClient(
        book, timeout=300, resources={'metadata': {'path': str(tmp_path)}}
    ).execute()
    shown = [output for cell in book.cells for output in cell.get('outputs', ())]
    assert len(shown) >= 3


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.name)
def test_notebooks_are_short_listed_and_without_outputs(file: Path) -> None:
    cells = json.loads(file.read_text(encoding='utf-8'))['cells']
    assert sum(len(cell['source']) for cell in cells) <= 60
    assert not any(cell.get('outputs') for cell in cells)
    assert 'Learn how ' in ''.join(cells[0]['source'])
    text = (ROOT / 'examples' / 'README.md').read_text(encoding='utf-8')
    assert f'[{file.name}]({file.name})' in text
