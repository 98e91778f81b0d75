# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Values out of range and unset shell variables end a command with one sentence."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from mt_perception.cli.main import main
from mt_perception.errors import OffloadError
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.settings import OffloadSettings

RULE = 'segmentation if detection finds person'


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / 'images'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), np.full((48, 64, 3), 90, np.uint8))
    return folder


@pytest.mark.parametrize(
    ('command', 'says'),
    [
        (['run', 'IMAGES', '--limit', '-1'], '--limit'),
        (['condition', RULE, 'IMAGES', '--limit', '-1'], '--limit'),
        (['evaluate', 'IMAGES', '--limit', '-1'], '--limit'),
        (['run', 'IMAGES', '--show-every', '-1'], '--show-every'),
        (['run', 'IMAGES', '--threads', '-1'], '--threads'),
        (['evaluate', 'IMAGES', '--threads', '257'], '--threads'),
        (['evaluate', 'IMAGES', '--focal-px', 'nan'], '--focal-px must be between 0 and'),
        (['dataset', 'IMAGES', '--out', 'new', '--focal-px', '-1'], '--focal-px must be between'),
        (['dataset', 'IMAGES', '--out', 'new', '--every', 'nan'], 'nan is not a finite'),
        (['dataset', 'IMAGES', '--out', 'new', '--every-m', 'nan'], 'nan is not a finite'),
        (['dataset', 'IMAGES', '--out', 'new', '--min-change', 'nan'], 'nan is not a finite'),
        (['dataset', 'IMAGES', '--out', 'new', '--max-images', '-1'], '--max-images'),
        (['replay', 'IMAGES', '--limit', '-1'], '--limit'),
        (['evaluate', 'IMAGES', '--tolerance-ms', 'nan'], 'nan is not a finite'),
        (['evaluate', 'IMAGES', '--workers', '-3'], '--workers'),
        (['calibrate', 'IMAGES', '--tolerance-ms', '-1'], '--tolerance-ms'),
        (['calibrate', 'IMAGES', '--distance-px', 'inf', '3', '--metres', '1'], 'not a finite'),
        (['benchmark', '--threads', '9999'], '--threads'),
        (['benchmark', '--frames', '0'], '--frames'),
        (['benchmark', '--image-size', '9' * 5000 + 'x1'], 'expected WIDTHxHEIGHT'),
        (['compare', 'IMAGES', 'IMAGES', '--seed', '-1'], '--seed'),
        (['benchmark', '--image-size', '99999x99999'], 'at most 16384 pixels'),
        (['serve', '--drain-s', '-1'], '--drain-s'),
        (['serve', '--drain-s', 'nan'], '--drain-s'),
        (['evaluate', 'IMAGES', '--sweep', 'size=abc'], '--sweep size=abc: expected numbers'),
        (['run', ''], 'name of the source is empty'),
        (['run', 'IMAGES', '--offload', ''], 'expected HOST:PORT'),
        (['evaluate', 'IMAGES', '--offload', ''], 'expected HOST:PORT'),
        (['run', 'IMAGES', '--camera-info', 'TEXT'], 'its content is no mapping'),
        (['import', 'new', '--depth', 'TEXT'], 'name an ONNX file'),
    ],
)
def test_a_value_out_of_range(
    command: list[str],
    says: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    text = tmp_path / 'text'
    text.write_text('hello')
    given = {'IMAGES': str(images), 'TEXT': str(text)}
    assert main([given.get(part, part) for part in command]) in (1, 2)
    shown = capsys.readouterr()
    assert says in ' '.join((shown.out + shown.err).split())


def test_evaluate_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(['evaluate', '']) == 1
    assert "'' does not exist" in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('deadline_ms', [math.nan, math.inf, 0.0, -5.0])
def test_a_deadline_is_a_finite_time(deadline_ms: float) -> None:
    with pytest.raises(OffloadError, match='expected a finite time above 0'):
        OffloadSettings([Endpoint('127.0.0.1:1')], deadline_ms)
