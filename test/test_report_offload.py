# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep over codecs and a study of links, from the command line to the page."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_cut import write_tiny_cut

for package in ('jinja2', 'matplotlib', 'constriction', 'grpc', 'tritonclient'):
    pytest.importorskip(package)

from mt_perception.cli.main import main
from mt_perception.errors import SourceError
from mt_perception.evaluation.link.study import LOCAL, read_study
from mt_perception.evaluation.rate_distortion import Codec, standard_codecs
from mt_perception.evaluation.report.offload import codec_runs, link_table, rate_table
from mt_perception.evaluation.runs import read_runs


def evaluate(place: Path, *more: str) -> int:
    given = ('--model', place / 'tiny', '--out', place / 'out', '--sweep', 'codec=all')
    return main(['evaluate', *map(str, (place / 'images', *given)), *more])


@pytest.fixture(scope='module')
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images through every codec, and over two links."""
    place = tmp_path_factory.mktemp('sweep')
    (place / 'images').mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        coarse = random.integers(0, 255, (6, 8, 3), np.uint8)
        image = cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)
        image[10:30, 20:50] = (0, 0, 255)
        cv2.imwrite(str(place / 'images' / f'{number:02}.png'), image)
    write_tiny_cut(place / 'tiny')
    assert evaluate(place, '--reference', str(place / 'tiny'), '--link', '20,5') == 0
    return place


def test_every_codec_has_its_bytes_and_figures(swept: Path) -> None:
    runs = list(read_runs(swept / 'out'))
    coded = codec_runs(runs)
    assert {codec.name for codec in coded} == set(standard_codecs(str(swept / 'tiny')))
    sizes = {c.name: r.summary.metrics['cost']['payload_bytes'] for c, r in coded.items()}
    assert sizes['jpeg-10'] < sizes['jpeg-90'] < sizes['image']
    assert sizes['rate-0'] < sizes['rate-1'] < sizes['rate-2']
    # The truth is what the whole network says of the image itself.
    whole = coded[Codec('image')].summary.metrics['depth']['metric']['abs_rel']
    assert whole == pytest.approx(0, abs=1e-6)
    assert coded[Codec('rate')].summary.metrics['depth']['metric']['abs_rel'] > whole
    table = rate_table(runs)
    assert table is not None
    assert len(table.rows) == len(coded)
    assert all(len(row.cells) == len(table.columns) for row in table.rows)


def test_the_study_is_kept_and_read_back(swept: Path) -> None:
    path = swept / 'out' / 'images' / 'link.json'
    study = read_study(path)
    assert study.ways == (LOCAL, 'jpeg-75', 'rate-0', 'rate-1', 'rate-2')
    assert study.settings.mbit_s == (5.0, 20.0)
    assert [row.mbit_s for row in study.find('rate-0')] == [5.0, 20.0]
    assert all(row.p50_ms > 0 and row.p95_ms >= row.p50_ms for row in study.rows)
    table = link_table(study)
    assert [row.name for row in table.rows] == ['5 Mbit/s', '20 Mbit/s']
    assert all(len(row.cells) == len(table.columns) for row in table.rows)
    before = path.stat().st_mtime_ns
    again = ('--reference', str(swept / 'tiny'), '--link', '5,20', '--no-report')
    assert evaluate(swept, *again) == 0
    assert path.stat().st_mtime_ns == before


def test_the_report_shows_curves_links_and_frames(swept: Path) -> None:
    page = (swept / 'out' / 'report.html').read_text()
    for words in ('accuracy over bytes', 'time of a frame over bandwidth', 'Compressed frames'):
        assert words in page, words
    assert 'Measured on this machine' in page
    assert 'tag rate-2' in page
    assert 'JPEG q75' in page


def test_a_link_that_cannot_be_measured_is_said(
    swept: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ['evaluate', str(swept / 'images'), '--model', str(swept / 'tiny'), '--no-report']
    assert main([*given, '--out', str(swept / 'no'), '--link', 'fast']) == 2
    assert main([*given, '--out', str(swept / 'no'), '--link', '0']) == 2
    assert '--link' in ''.join(capfd.readouterr())


@pytest.mark.parametrize('text', ['', '[]', '{"format": 1}', '{"format": 99, "rows": []}'])
def test_a_damaged_study_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 'link.json').write_text(text)
    with pytest.raises(SourceError):
        read_study(tmp_path / 'link.json')


def test_a_study_says_what_it_ran_on(swept: Path) -> None:
    data = json.loads((swept / 'out' / 'images' / 'link.json').read_text())
    assert data['machine']['cores'] >= 1
    assert data['model']['sha256']
