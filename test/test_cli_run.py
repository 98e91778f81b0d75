# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception run`` on images, videos and bags with a model that sees colours."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_bags import Contents, write_bag
from tiny_model import write_tiny_model

from mt_perception.cli.main import main
from mt_perception.cli.run import is_topic, read_calibration
from mt_perception.errors import CameraError, SourceError
from mt_perception.evaluation.output import MARKER

CALIBRATION = """
image_width: 64
image_height: 48
camera_matrix: {rows: 3, cols: 3, data: [60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1]}
"""


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny'))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(6):
        picture = np.full((48, 64, 3), 90, np.uint8)
        picture[8:40, 8:40] = (20, 20, 230)
        cv2.imwrite(str(folder / f'{number}.png'), picture)
    return folder


def test_a_folder_becomes_pictures_a_video_and_lines(
    tiny: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    (images / 'broken.png').write_bytes(b'no image')
    arguments = ['--model', tiny, '--out', str(out), '--show-every', '2', '--save-video']
    assert main(['run', str(images), *arguments, '--jsonl']) == 0
    names = sorted(path.name for path in out.iterdir() if path.name != MARKER)
    assert names == [
        'frame_000000.png',
        'frame_000002.png',
        'frame_000004.png',
        'frames.jsonl',
        'video.mp4',
    ]
    assert cv2.imread(str(out / names[0])).shape[2] == 3
    assert cv2.VideoCapture(str(out / 'video.mp4')).read()[0]
    lines = [json.loads(line) for line in (out / 'frames.jsonl').read_text().splitlines()]
    assert len(lines) == 6
    assert 'red' in lines[0]['detections']['labels']
    shown = ' '.join(capsys.readouterr().out.split())
    for part in ('frames in │ 7', 'frames out │ 6', 'unknown_compression 1', 'red'):
        assert part in shown


def test_only_the_tasks_that_are_wanted_run(
    tiny: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / 'out')
    assert main(['run', str(images), '--model', tiny, '--out', out, '--task', 'depth']) == 0
    shown = capsys.readouterr().out
    assert 'trunk, depth (path full)' in shown


def test_the_limit_ends_the_run(
    tiny: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / 'out')
    assert main(['run', str(images), '--model', tiny, '--out', out, '--limit', '2']) == 0
    assert 'frames out │ 2' in ' '.join(capsys.readouterr().out.split())


def test_pictures_of_an_earlier_run_are_replaced(tiny: str, images: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    main(['run', str(images), '--model', tiny, '--out', str(out), '--show-every', '1'])
    (out / 'notes.txt').write_text('mine')
    main(['run', str(images), '--model', tiny, '--out', str(out), '--show-every', '3'])
    names = sorted(path.name for path in out.iterdir() if path.name != MARKER)
    assert names == ['frame_000000.png', 'frame_000003.png', 'notes.txt']


def test_a_bag_is_run_with_its_camera(tiny: str, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents())
    out = tmp_path / 'out'
    assert main(['run', str(bag), '--model', tiny, '--out', str(out), '--jsonl']) == 0
    lines = (out / 'frames.jsonl').read_text().splitlines()
    assert json.loads(lines[0])['stamp_ns'] == 1_700_000_000_000_000_000


def test_nothing_usable_is_an_error(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / 'a.png').write_bytes(b'no image')
    out = str(tmp_path / 'out')
    assert main(['run', str(folder), '--model', tiny, '--out', out]) == 1
    assert 'has no usable frame' in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_an_error(
    tiny: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('in the way')
    out = str(tmp_path / 'file' / 'out')
    assert main(['run', str(images), '--model', tiny, '--out', out]) == 1
    assert 'cannot write to' in capsys.readouterr().err


def test_a_calibration_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'camera.yaml'
    path.write_text(CALIBRATION)
    camera = read_calibration(path)
    assert (camera.fx, camera.cy, camera.width) == (60.0, 23.5, 64)


@pytest.mark.parametrize(
    'text', ['', '[]', 'image_width: 64', '{', 'image_width: x\nimage_height: 1']
)
def test_what_is_no_calibration_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / 'camera.yaml'
    path.write_text(text)
    with pytest.raises(SourceError, match=r'is no calibration file|camera.yaml:1:'):
        read_calibration(path)


def test_a_calibration_of_zeros_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'camera.yaml'
    path.write_text(CALIBRATION.replace('60.0', '0.0'))
    with pytest.raises(CameraError, match='uncalibrated'):
        read_calibration(path)


def test_a_focal_length_scales_depth(
    tiny: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['run', str(images), '--model', tiny, '--out', str(tmp_path / 'out')]
    assert main([*arguments, '--focal-px', '80']) == 0
    assert main([*arguments, '--focal-px', '-1']) == 2
    calibration = tmp_path / 'camera.yaml'
    calibration.write_text('{}')
    both = ['--focal-px', '80', '--camera-info', str(calibration)]
    assert main([*arguments, *both]) == 2
    assert 'not both' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('source', 'found'),
    [
        ('topic:/tmp/image', True),
        ('/no_such_folder/image_raw', True),
        ('camera/image_raw', False),
        ('/tmp', False),
        ('/no_such_folder/film.mp4', 'only letters'),
        ('/no_such_folder/my-film', 'only letters'),
        ('/tmp/no_such_file', 'write topic:/tmp/no_such_file'),
    ],
)
def test_a_missing_file_is_not_taken_for_a_topic(source: str, found: bool | str) -> None:
    if isinstance(found, bool):
        assert is_topic(source) is found
        return
    with pytest.raises(SourceError, match=rf'no file or folder {source}; .*{found}'):
        is_topic(source)
