# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception calibrate``: bags, folders, a laser scanner, a tape measure; and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_bags import (
    PERIOD_NS,
    START_NS,
    camera_info,
    header,
    image_message,
    make,
    write_messages,
)
from tiny_model import DEPTH_OF_WHITE, write_tiny_model

from mt_perception.cli.main import main
from mt_perception.evaluation.datasets.scan_truth import project
from mt_perception.geometry.camera import Calibration
from mt_perception.geometry.depth_calibration import read_calibration
from mt_perception.geometry.rays import rays
from mt_perception.geometry.transforms import Transform

FOCAL = 60.0
FACTOR, EXPONENT = 0.5, 1.2


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny_model(tmp_path / 'model'))


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose brightness is the tiny model's depth, and true metres."""
    columns = np.linspace(60 + index, 250, 64)
    grey = np.tile(columns, (48, 1)).astype(np.uint8)
    network = DEPTH_OF_WHITE * FOCAL * grey / 255
    return cv2.merge([grey] * 3), FACTOR * network**EXPONENT


def write_scenes(folder: Path, frames: int = 8) -> Path:
    (folder / 'rgb').mkdir(parents=True)
    (folder / 'depth_mm').mkdir()
    for index in range(frames):
        picture, metres = scene(index)
        cv2.imwrite(str(folder / 'rgb' / f'{index}.png'), picture)
        cv2.imwrite(str(folder / 'depth_mm' / f'{index}.png'), (metres * 1e3).astype(np.uint16))
    camera = {'width': 64, 'height': 48, 'fx': FOCAL, 'fy': FOCAL, 'cx': 31.5, 'cy': 23.5}
    (folder / 'meta.json').write_text(json.dumps(camera))
    return folder


def test_a_folder_with_depth(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_scenes(tmp_path / 'data'), tmp_path / 'depth.yaml'
    assert main(['calibrate', str(folder), '--model', model, '--out', str(out)]) == 0
    found = read_calibration(out)
    assert found.fit.factor == pytest.approx(FACTOR, rel=0.02)
    assert found.fit.exponent == pytest.approx(EXPONENT, rel=0.02)
    assert found.fit.shift == 0
    assert found.camera.fx == FOCAL
    assert found.model.startswith('tiny')
    assert found.abs_rel_before is not None
    assert found.abs_rel_after is not None
    assert found.abs_rel_after < 0.02 < found.abs_rel_before
    assert f'AbsRel {found.abs_rel_after:.3f} after' in capsys.readouterr().out

    arguments = ['evaluate', str(folder), '--model', model, '--no-report', '--task', 'depth']
    calibrated = ['--depth-scale', 'calibration', '--depth-calibration', str(out)]
    assert main([*arguments, *calibrated, '--out', str(tmp_path / 'out')]) == 0
    summary = json.loads((tmp_path / 'out' / 'data' / 'summary.json').read_text())
    assert summary['metrics']['depth']['metric']['abs_rel'] < 0.02
    record = json.loads((tmp_path / 'out' / 'data' / 'frames.jsonl').read_text().splitlines()[0])
    assert record['extra']['depth_scale.source'] == 'calibration'
    assert main(['calibrate', str(folder), '--model', model, '--out', str(out)]) == 0


def test_a_tape_measure_gives_the_scale(tmp_path: Path, model: str) -> None:
    folder, out = write_scenes(tmp_path / 'data'), tmp_path / 'depth.yaml'
    arguments = ['calibrate', str(folder), '--model', model, '--out', str(out)]
    assert main([*arguments, '--distance-px', '60', '20', '--metres', '2.4']) == 0
    found = read_calibration(out)
    network = DEPTH_OF_WHITE * FOCAL * scene(0)[0][20, 60, 0] / 255
    assert found.fit.factor == pytest.approx(2.4 / network, rel=0.02)
    assert found.fit.shift == 0
    assert found.abs_rel_after is None
    for wrong in (['--metres', '2'], ['--distance-px', '1', '1', '--metres', '0']):
        assert main([*arguments, *wrong]) == 2
    assert main([*arguments, '--distance-px', '99', '1', '--metres', '2']) == 2


def _shown(capsys: pytest.CaptureFixture[str]) -> str:
    return ' '.join(capsys.readouterr().err.split())


def scan_bag(path: Path, with_tf: bool = True) -> Path:
    """A scanner 0.1 m below the camera whose beams lie in the camera's horizontal plane."""
    rows = []
    zero = make('geometry_msgs/msg/Vector3', x=0.0, y=0.1, z=0.0)
    # From x forward, y left, z up to x right, y down, z forward.
    turn = make('geometry_msgs/msg/Quaternion', x=0.5, y=-0.5, z=0.5, w=0.5)
    if with_tf:
        back = make('geometry_msgs/msg/Transform', translation=zero, rotation=turn)
        stamped = make(
            'geometry_msgs/msg/TransformStamped',
            header=header(START_NS, 'camera_optical'), child_frame_id='laser', transform=back,
        )  # fmt: skip
        rows.append(('/tf_static', START_NS, make('tf2_msgs/msg/TFMessage', transforms=[stamped])))
    for index in range(8):
        stamp = START_NS + index * PERIOD_NS
        head = header(stamp)
        picture, metres = scene(index)
        rows.append(('/camera/camera_info', stamp, camera_info(head)))
        rows.append(('/camera/image_raw', stamp, image_message(head, picture, 'bgr8')))
        columns = np.arange(63, -1, -1)
        angles = np.arctan((31.5 - columns) / FOCAL)
        even = np.linspace(angles[0], angles[-1], 64)
        depth = np.interp(even, angles, metres[24, columns])
        scan = make(
            'sensor_msgs/msg/LaserScan', header=header(stamp + 5_000_000, 'laser'),
            angle_min=float(even[0]), angle_max=float(even[-1]),
            angle_increment=float(even[1] - even[0]), time_increment=0.0, scan_time=0.1,
            range_min=0.05, range_max=10.0, ranges=(depth / np.cos(even)).astype(np.float32),
            intensities=np.zeros(0, np.float32),
        )  # fmt: skip
        rows.append(('/scan', stamp, scan))
    return write_messages(path, rows)


def test_a_laser_scanner(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = scan_bag(tmp_path / 'bag'), tmp_path / 'depth.yaml'
    arguments = ['--model', model, '--out', str(out), '--scan-topic']
    assert main(['calibrate', str(bag), *arguments, '/scan']) == 0
    found = read_calibration(out)
    assert found.fit.factor == pytest.approx(FACTOR, rel=0.1)
    assert found.abs_rel_after is not None
    assert found.abs_rel_after < 0.06
    assert found.frame_id == 'camera_optical'
    assert main(['calibrate', str(bag), *arguments, '/other']) == 1
    assert 'there are /scan' in _shown(capsys)
    lost = scan_bag(tmp_path / 'lost', with_tf=False)
    assert main(['calibrate', str(lost), *arguments, '/scan']) == 1
    assert 'no /tf_static' in _shown(capsys)


@pytest.mark.parametrize('lens', ['plumb_bob', 'equidistant'])
def test_a_scan_is_projected_through_the_lens(lens: str) -> None:
    values = {'plumb_bob': (-0.2, 0.0, 0.001, -0.0005, 0.0), 'equidistant': (-0.01, 0.04, 0, 0)}
    matrix = (400.0, 0.0, 318.0, 0.0, 405.0, 242.0, 0.0, 0.0, 1.0)
    camera = Calibration((480, 640), matrix, (), lens, values[lens]).intrinsics((480, 640))
    pixels = np.array([[60.0, 60.0], [318.0, 242.0], [600.0, 400.0]])
    directions, depths = rays(camera, pixels), np.array([1.0, 2.0, 4.0])
    ahead = np.column_stack([directions, np.ones(3)]) * depths[:, None]
    # Behind the camera, beside the image, and where the polynomial folds back.
    others = np.array([[0.0, 0.0, -1.0], [4.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    still = Transform(np.eye(3), np.zeros(3))
    found = project(np.concatenate([ahead, others]), still, camera)
    np.testing.assert_array_equal(np.stack([found.columns, found.rows], axis=1), pixels)
    np.testing.assert_array_equal(found.metres, depths)


def test_data_without_a_calibration_is_refused(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_scenes(tmp_path / 'data'), tmp_path / 'depth.yaml'
    for index in range(8):
        # The half that is fitted is of another scene than the half that measures.
        metres = DEPTH_OF_WHITE * FOCAL * scene(index)[0][..., 0] / 255 * (2 - index % 2)
        file = folder / 'depth_mm' / f'{index}.png'
        cv2.imwrite(str(file), (metres * 1e3).astype(np.uint16))
    arguments = ['calibrate', str(folder), '--model', model, '--out', str(out)]
    assert main(arguments) == 1
    assert 'does not reduce the error on the frames that were not fitted' in _shown(capsys)
    assert not out.exists()
    for file in (folder / 'depth_mm').iterdir():
        file.unlink()
    assert main([*arguments, '--limit', '2']) == 1
    assert 'no pixel has both a known distance' in _shown(capsys)
    foreign = tmp_path / 'mine.yaml'
    foreign.write_text('a: 1')
    tape = ['--distance-px', '60', '20', '--metres', '2.4']
    assert main([*arguments[:-1], str(foreign), *tape]) == 1
    assert foreign.read_text() == 'a: 1'
    # Found before the source is read, which may take hours.
    assert main(['calibrate', 'missing', '--model', model, '--out', str(foreign)]) == 1
    assert 'mine.yaml exists and mt_perception did not write it' in _shown(capsys)
