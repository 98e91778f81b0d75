# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options: what the model can serve is taken, everything else is refused by name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny_model import write_tiny_model

from mt_perception.errors import OptionError
from mt_perception.execution.options import Options
from mt_perception.model.folder import read_manifest
from mt_perception.model.manifest import Manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_manifest(write_tiny_model(tmp_path))


@pytest.mark.parametrize(
    'options',
    [
        Options(),
        Options(size=32),
        Options(size=512),
        Options(score_threshold=0, nms_iou=1),
        Options(classes=('red', 'blue')),
        Options(max_depth_m=math.inf),
    ],
)
def test_good_options(manifest: Manifest, options: Options) -> None:
    assert options.checked(manifest) is options


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (Options(size=24), 'from 32 to 512'),
        (Options(size=520), 'from 32 to 512'),
        (Options(size=-32), 'from 32 to 512'),
        (Options(size=65), 'multiple of 8'),
        (Options(score_threshold=1.1), 'score_threshold'),
        (Options(score_threshold=math.nan), 'score_threshold'),
        (Options(nms_iou=-0.1), 'nms_iou'),
        (Options(max_detections=0), 'max_detections'),
        (Options(max_depth_m=0), 'max_depth_m'),
        (Options(max_depth_m=math.nan), 'max_depth_m'),
        (Options(classes=('red', 'unicorn')), 'unicorn'),
        (Options(camera_height_m=-0.1), 'camera_height_m'),
        (Options(camera_height_m=math.nan), 'camera_height_m'),
        (Options(camera_height_m=math.inf), 'camera_height_m'),
    ],
)
def test_bad_options(manifest: Manifest, options: Options, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        options.checked(manifest)


def test_a_fixed_size_is_not_changed(tmp_path: Path) -> None:
    def fix(data: dict[str, object]) -> None:
        data['input'] = {'fixed': [48, 64], 'pad_value': 114}

    manifest = read_manifest(write_tiny_model(tmp_path, edit=fix))
    assert Options(size=64).checked(manifest)
    with pytest.raises(OptionError, match='fixed input size 64x48'):
        Options(size=48).checked(manifest)
