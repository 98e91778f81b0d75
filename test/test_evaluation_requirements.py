# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``evaluate --require``: bounds on metrics, exit status and JUnit XML."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.cli.main import main
from mt_perception.errors import OptionError
from mt_perception.evaluation.records import Summary
from mt_perception.evaluation.requirements import (
    check_requirements,
    junit_xml,
    parse_requirements,
)

SUMMARY = Summary(
    source='lab',
    model={'name': 'tiny'},
    data={},
    parameters={'swept': {'size': 64}},
    metrics={
        'detection': {'ap': 0.3, 'classes': {}},
        'depth': {'metric': {'abs_rel': 0.2}, 'median': {'abs_rel': 0.1}, 'coverage': 1.0},
        'segmentation': {},
    },
    counts={'frames': 3},
    failures={},
    machine={},
    versions={},
    timing={'latency_ms': {'total': {'p95': 20.0}}},
)


@pytest.mark.parametrize(
    ('text', 'passes'),
    [
        ('detection.ap>=0.30', True),
        ('detection.ap>0.30', False),
        ('detection.ap>=0.31', False),
        ('depth.abs_rel<=0.2', True),
        ('depth.abs_rel < 0.2', False),
        ('depth.median.abs_rel<=0.1', True),
        ('depth.coverage>=1', True),
        ('latency_ms.p95<=20', True),
        ('counts.frames>=4', False),
        ('segmentation.miou>=0', False),
        ('detection.classes>=0', False),
        ('detection.ap.x>=0', False),
    ],
)
def test_a_requirement(text: str, passes: bool) -> None:
    (check,) = check_requirements(parse_requirements(text), [SUMMARY])
    assert check.passed == passes


@pytest.mark.parametrize(
    'text',
    ['', 'ap', 'detection.ap', 'detection.ap>=x', 'ap>=1', 'detect.ap>=1', 'cost.macs>=nan'],
)
def test_a_requirement_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match='--require'):
        parse_requirements(text)


def test_junit() -> None:
    checks = check_requirements(parse_requirements('detection.ap>=0.3,depth.rmse<=1'), [SUMMARY])
    root = ET.fromstring(junit_xml(checks, [('broken\x00.bag', 'cannot be <read>')]))
    suites = {suite.get('name'): suite for suite in root}
    lab = suites['lab tiny size=64']
    assert (lab.get('tests'), lab.get('failures'), lab.get('errors')) == ('2', '1', '0')
    (failure,) = lab.iter('failure')
    assert failure.get('message') == (
        'lab tiny size=64: depth.rmse was not measured, required depth.rmse<=1'
    )
    (error,) = root.iter('error')
    assert error.get('message') == 'cannot be <read>'


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / 'lab' / 'images'
    images.mkdir(parents=True)
    cv2.imwrite(str(images / 'a.png'), np.full((48, 64, 3), 90, np.uint8))
    rows = {
        'images': [{'id': 1, 'file_name': 'a.png'}],
        'categories': [{'id': 1, 'name': 'person'}],
        'annotations': [{'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [1, 1, 9, 9]}],
    }
    (tmp_path / 'lab' / 'instances.json').write_text(json.dumps(rows))
    junit = tmp_path / 'junit.xml'
    arguments = ['evaluate', str(tmp_path / 'lab'), '--out', str(tmp_path / 'out'), '--no-report']
    arguments += ['--model', str(write_tiny_model(tmp_path / 'tiny')), '--junit', str(junit)]
    assert main([*arguments, '--require', 'counts.frames>=1']) == 0
    assert not list(ET.parse(junit).iter('failure'))
    assert main([*arguments, '--require', 'counts.frames>=1,counts.frames>=2']) == 1
    assert len(list(ET.parse(junit).iter('failure'))) == 1
    assert 'counts.frames is 1, required counts.frames>=2' in capsys.readouterr().out
    # Places that cannot be written are found before the evaluation; folders are made.
    notes = tmp_path / 'notes.xml'
    notes.write_text('mine')
    arguments[-1] = str(notes)
    assert main([*arguments, '--fresh', '--out', str(tmp_path / 'later')]) == 1
    assert 'did not write it' in capsys.readouterr().err
    assert notes.read_text() == 'mine'
    assert not (tmp_path / 'later').exists()
    arguments[-1] = str(tmp_path / 'new' / 'folder' / 'junit.xml')
    assert main(arguments) == 0
    assert Path(arguments[-1]).is_file()
