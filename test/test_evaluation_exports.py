# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``evaluate --rerun`` and ``--coco``: results in the formats of other tools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images with a red square, which is annotated; a crowd on the last."""
    folder = tmp_path / 'shelves'
    (folder / 'images').mkdir(parents=True)
    image = np.full((64, 64, 3), 128, np.uint8)
    image[16:48, 16:48] = 0, 0, 255
    for number in range(3):
        cv2.imwrite(str(folder / 'images' / f'{number}.png'), image)
    box = {'category_id': 1, 'bbox': [16, 16, 32, 32], 'area': 1024}
    index = {
        'images': [{'id': n, 'file_name': f'{n}.png'} for n in range(3)],
        'categories': [{'id': 1, 'name': 'red'}],
        'annotations': [{**box, 'id': n, 'image_id': n, 'iscrowd': n == 2} for n in range(3)],
    }
    (folder / 'instances.json').write_text(json.dumps(index))
    return folder


def evaluate(data: Path, tmp_path: Path, *arguments: object) -> int:
    model = write_tiny_model(tmp_path / 'tiny')
    out = ['--out', str(tmp_path / 'out'), '--no-report', '--model', str(model)]
    return main(['evaluate', str(data), *out, *map(str, arguments)])


def test_a_folder_in_cocos_formats(tmp_path: Path, data: Path) -> None:
    """Pycocotools reads the folder and finds the same AP as the evaluation."""
    coco = tmp_path / 'coco'
    assert evaluate(data, tmp_path, '--coco', coco) == 0
    assert sorted(p.name for p in (coco / 'data').glob('*.jpg')) == [
        f'{n:06d}.jpg' for n in (1, 2, 3)
    ]
    tools = pytest.importorskip('pycocotools.coco')
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = tools.COCO(str(coco / 'labels.json'))
        found = COCOeval(truth, truth.loadRes(str(coco / 'predictions.json')), 'bbox')
        found.params.catIds = [3]
        found.evaluate()
        found.accumulate()
        found.summarize()
    assert truth.loadCats(3)[0]['name'] == 'red'
    summary = json.loads(next((tmp_path / 'out').rglob('summary.json')).read_text())
    expected = summary['metrics']['detection']['ap50']
    assert found.stats[1] == pytest.approx(expected, abs=1e-6)
    # A second time, into the folder of the first.
    assert evaluate(data, tmp_path, '--coco', coco) == 0


def test_a_rerun_recording(tmp_path: Path, data: Path) -> None:
    pytest.importorskip('rerun')
    path = tmp_path / 'out.rrd'
    for _ in range(2):  # An earlier one is replaced.
        assert evaluate(data, tmp_path, '--rerun', path) == 0
    content = path.read_bytes()
    assert content.startswith(b'RRF')
    for entity in ('image', 'image/detections', 'image/depth', 'image/truth/detections'):
        assert f'/camera/{entity}'.encode() in content


def test_a_file_that_is_no_recording_is_kept(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rerun = pytest.importorskip('rerun')
    (tmp_path / 'notes').write_text('mine')
    other = rerun.RecordingStream('robot')
    other.save(tmp_path / 'other.rrd')
    other.disconnect()
    before = (tmp_path / 'other.rrd').read_bytes()
    assert evaluate(data, tmp_path, '--rerun', tmp_path / 'other.rrd') == 1
    assert (tmp_path / 'other.rrd').read_bytes() == before
    assert evaluate(data, tmp_path, '--rerun', tmp_path / 'notes') == 1
    assert 'is not a Rerun recording' in capsys.readouterr().err
    assert (tmp_path / 'notes').read_text() == 'mine'


def test_rerun_without_its_package(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mt_perception.evaluation.exports.rerun_file.find_spec', lambda name: None)
    assert evaluate(data, tmp_path, '--rerun', tmp_path / 'out.rrd') == 1
    assert 'pip install rerun-sdk' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_exports_are_for_one_evaluation(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(data, tmp_path, '--coco', tmp_path / 'a', '--sweep', 'size=32,64') == 2
    assert 'for one evaluation; found 2' in capsys.readouterr().err
