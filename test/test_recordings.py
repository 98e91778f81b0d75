# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings with meta.json, and the parts of the validation data that choose and report."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import CHOOSE, REPORT, read_parts
from mt_perception.evaluation.datasets.recording import Recording, read_recording
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy

ROOT = Path(__file__).parent.parent
CAMERA = {'width': 64, 'height': 48, 'fx': 50.0, 'fy': 52.0, 'cx': 31.5, 'cy': 23.5}
SPLIT = """
images:
  coco: {choose: ['1'], report: ['2', '3']}
scenes:
  office: {choose: [desk], report: [corridor]}
  kitchen: {report: [kitchen]}
focal_px: {office: 570}
"""


def write(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / 'meta.json').write_text(json.dumps({**CAMERA, **changes}))
    return folder


def test_a_camera_of_its_own_comes_before_that_of_the_recording(tmp_path: Path) -> None:
    own = {'b': [100.0, 100.0, 30.0, 20.0]}
    recording = read_recording(write(tmp_path, intrinsics=own, scenes={'a': 'desk'}))
    assert recording is not None
    a, b = (recording.intrinsics(key, (48, 64)) for key in 'ab')
    assert a is not None
    assert (a.fx, a.fy, a.cx, a.cy) == (50, 52, 31.5, 23.5)
    assert b is not None
    assert b.fx == 100
    assert recording.scenes == {'a': 'desk'}


def test_the_camera_follows_the_stored_size(tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path))
    assert recording is not None
    half = recording.intrinsics('a', (24, 32))
    assert half is not None
    assert (half.fx, half.fy, half.cx, half.cy) == (25, 26, 15.5, 11.5), 'the centre stays centre'
    assert (half.width, half.height) == (32, 24)


def test_an_unknown_camera_stays_unknown(tmp_path: Path) -> None:
    assert read_recording(tmp_path) is None
    recording = read_recording(write(tmp_path, fx=None))
    assert recording is not None
    assert recording.intrinsics('a', (48, 64)) is None


@pytest.mark.parametrize(
    'changes',
    [
        {'fx': 0.0},
        {'fx': 1e300},
        {'fy': 1e-300},
        {'fx': 'wide'},
        {'width': 0},
        {'width': None},
        {'intrinsics': {'a': [1.0, 2.0]}},
        {'intrinsics': [1.0]},
        {'scenes': 3},
    ],
)
def test_an_impossible_recording_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(SourceError, match=r'meta\.json'):
        read_recording(write(tmp_path, **changes))


def test_a_folder_gives_each_image_its_camera_and_only_the_keys(tmp_path: Path) -> None:
    write(tmp_path, intrinsics={'b': [100.0, 100.0, 31.5, 23.5]})
    (tmp_path / 'rgb').mkdir()
    for key in 'abc':
        cv2.imwrite(str(tmp_path / 'rgb' / f'{key}.png'), np.zeros((48, 64, 3), np.uint8))
    classes = ClassMap((), (), read_taxonomy())
    options = SourceOptions(keys=frozenset('bc'))
    with open_samples(str(tmp_path), options, classes) as samples:
        found = {sample.key: sample.frame.intrinsics for sample in samples}
    assert [camera and camera.fx for camera in found.values()] == [100, 50]
    assert list(found) == ['b', 'c']
    with (
        pytest.raises(SourceError, match='none of them'),
        open_samples(str(tmp_path), SourceOptions(keys=frozenset('x')), classes),
    ):
        pass


def test_images_and_scenes_have_parts(tmp_path: Path) -> None:
    path = tmp_path / 'split.yaml'
    path.write_text(SPLIT)
    parts = read_parts(path)
    office = Recording((48, 64), None, scenes={'x': 'desk', 'y': 'corridor', 'z': 'hall'})
    assert parts.part_of('coco', '1', None) == CHOOSE
    assert parts.part_of('coco', '3', None) == REPORT
    assert parts.part_of('coco', '4', None) is None
    assert [parts.part_of('office', k, office) for k in 'xyz'] == [CHOOSE, REPORT, None]
    assert parts.part_of('kitchen', 'any', None) == REPORT, 'a folder without scenes is one'
    assert parts.folders(CHOOSE) == ('coco', 'office')
    assert parts.focal_px == {'office': 570.0}


def test_scenes_that_a_model_was_trained_on_later_are_not_reported(tmp_path: Path) -> None:
    path = tmp_path / 'split.yaml'
    path.write_text(SPLIT + '\ntrained_later: {net 2.0.0: [office]}\n')
    parts = read_parts(path)
    assert parts.unseen_by('net 2.0.0').folders(REPORT) == ('coco', 'kitchen')
    assert parts.unseen_by('net 1.9.0').folders(REPORT) == parts.folders(REPORT)


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('images: {coco: {choose: [a], report: [a]}}', 'in both parts: a'),
        ('images: {coco: {train: [a]}}', 'choose and report'),
        ('scenes: [a]', 'map of folders'),
        ('pictures: {}', 'expected the maps'),
        ('trained_later: {net 2.0.0: office}', 'trained_later'),
        ('focal_px: {a: -1}', 'focal_px'),
    ],
)
def test_parts_that_overlap_or_are_malformed_are_refused(
    tmp_path: Path, text: str, match: str
) -> None:
    path = tmp_path / 'split.yaml'
    path.write_text(text)
    with pytest.raises(SourceError, match=match):
        read_parts(path)


def test_the_shipped_split_has_scenes_enough_to_report_on() -> None:
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    scenes = [name for part in parts.scenes.values() for name in part.get(REPORT, ())]
    assert len(scenes) >= 12
    assert len(set(scenes)) == len(scenes)
    for folder in ('coco', 'coco_val_boxes'):
        assert min(len(parts.images[folder][part]) for part in (CHOOSE, REPORT)) > 50
