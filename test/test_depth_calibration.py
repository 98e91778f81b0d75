# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a depth calibration: read as written, and only for its camera and model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mt_perception.errors import CalibrationError, CameraError, OptionError, number
from mt_perception.geometry.camera import Calibration, resized
from mt_perception.geometry.depth_calibration import (
    DepthCalibration,
    is_calibration,
    read_calibration,
)
from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.geometry.plane import GroundPlane
from mt_perception.types import FISHEYE, Intrinsics

CAMERA = Intrinsics(fx=600, fy=610, cx=320, cy=238, width=640, height=480)
CALIBRATION = DepthCalibration(
    DepthFit(0.71, 0.02, 0.08, 0.9), CAMERA, 'optical', 'net 1.0', 'bag: 4 frames', 0.4, 0.2
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / 'depth.yaml'
    power = replace(CALIBRATION, fit=DepthFit(0.71, exponent=1.2))
    for one in (CALIBRATION, power, replace(CALIBRATION, abs_rel_before=None, abs_rel_after=None)):
        file.write_text(one.text())
        assert is_calibration(one.text())
        assert read_calibration(file) == one


def test_sentences_have_no_number_of_hundreds_of_digits() -> None:
    far = replace(CAMERA, cx=1e308)
    assert len(CALIBRATION.refusal(far, 'optical', 'net 1.0')) < 200
    assert '1e+308' in CALIBRATION.refusal(far, 'optical', 'net 1.0')
    assert len(DepthFit(1e300, shift=-1e308).text()) < 100
    with pytest.raises(OptionError, match=r'measures 1e\+100 m/s2'):
        GroundPlane.from_gravity(np.array([0.0, 1e100, 0.0]), 1.0)
    with pytest.raises(CameraError, match=r'1e\+308 and 600'):
        Calibration((480, 640), (1e308, 0, 320, 0, 600, 240, 0, 0, 1)).intrinsics((480, 640))
    numbers = [number(value) for value in (554.25, -0.04, 1e9, math.inf, math.nan)]
    assert numbers == ['554.2', '-0.0', '1e+09', 'inf', 'nan']


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('factor: 0.71', 'factor: 0'),
        ('factor: 0.71', 'factor: -1'),
        ('factor: 0.71', 'factor: .nan'),
        ('factor: 0.71', 'factor: 1.0e-320'),
        ('factor: 0.71', 'scale: 1'),
        ('exponent: 1.0', 'exponent: 0.1'),
        ('exponent: 1.0', 'exponent: .nan'),
        ('fx: 600', 'fx: 0'),
        ('fx: 600', 'fx: 1.0e+308'),
        ('width: 640', 'width: 0'),
        ('projection: pinhole', 'projection: cube'),
        ('frame_id: optical', 'frame_id: 3'),
        ('camera:', 'camera: 3\nother:'),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / 'depth.yaml'
    text = CALIBRATION.text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(CalibrationError, match=r'depth\.yaml'):
        read_calibration(file)
    with pytest.raises(CalibrationError):
        read_calibration(tmp_path / 'none.yaml')


def test_a_file_without_an_exponent_is_read(tmp_path: Path) -> None:
    """Version 0.7.0 wrote none."""
    file = tmp_path / 'depth.yaml'
    file.write_text(CALIBRATION.text().replace('exponent: 1.0\n', ''))
    assert read_calibration(file) == CALIBRATION


def test_it_is_for_its_camera_at_any_size() -> None:
    assert not CALIBRATION.refusal(CAMERA, '/optical', 'net 1.0')
    assert not CALIBRATION.refusal(resized(CAMERA, 240, 320), 'optical', 'net 1.0')
    assert not CALIBRATION.refusal(CAMERA, '', 'net 1.0')


@pytest.mark.parametrize(
    ('camera', 'frame_id', 'model', 'reason'),
    [
        (replace(CAMERA, fx=700), 'optical', 'net 1.0', 'another camera: fx'),
        (replace(CAMERA, cy=200), 'optical', 'net 1.0', 'another camera: cy'),
        (replace(CAMERA, height=360), 'optical', 'net 1.0', 'another camera'),
        (replace(CAMERA, projection=FISHEYE), 'optical', 'net 1.0', 'is a fisheye'),
        (CAMERA, 'rear', 'net 1.0', "'rear'"),
        (CAMERA, 'optical', 'net 2.0', 'net 2.0'),
    ],
)
def test_another_camera_or_model_is_refused(
    camera: Intrinsics, frame_id: str, model: str, reason: str
) -> None:
    assert reason in CALIBRATION.refusal(camera, frame_id, model)
