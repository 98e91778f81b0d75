# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every example does what its first sentence says, on real pictures, bags, nodes and hosts."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import small_bags

from mt_perception.image.read import read_image

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / 'examples'
FILES = sorted(FOLDER.glob('*.py'))
FRAMES = 10


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f'example_{name}', FOLDER / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def street() -> np.ndarray:
    """The photograph in the README's picture: people and cars in a street."""
    panels = read_image(ROOT / 'docs' / 'picture.jpg')
    height, width = panels.shape[0] // 2, panels.shape[1] // 2
    return np.ascontiguousarray(panels[:height, :width])


@pytest.fixture(scope='module')
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that pans over the street."""
    picture = street()
    size = (picture.shape[1] - 4 * FRAMES, picture.shape[0])
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10.0, size)
    for index in range(FRAMES):
        writer.write(picture[:, 4 * index : 4 * index + size[0]])
    writer.release()
    return path


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_examples_are_short_and_listed(file: Path) -> None:
    text = file.read_text(encoding='utf-8')
    assert len(text.splitlines()) <= 60
    assert re.search(r'^"""Learn how to [^\n]+\.$', text, re.MULTILINE)
    assert f'[{file.name}]({file.name})' in (FOLDER / 'README.md').read_text(encoding='utf-8')
    tests = [Path(__file__), Path(__file__).with_name('test_training_example.py')]
    assert any(f"example('{file.stem}')" in test.read_text(encoding='utf-8') for test in tests)


def test_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, out = tmp_path / 'street.png', tmp_path / 'out.png'
    cv2.imwrite(str(picture), street())
    example('picture').main(str(picture), str(out))
    assert 'm away' in capsys.readouterr().out
    assert not np.array_equal(read_image(out), street())


def test_video(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'out.mp4'
    example('video').main(str(film), str(out))
    # The camera pans: objects stay, so there are far fewer of them than detections.
    shown = capsys.readouterr().out
    assert 0 < sum(map(int, re.findall(r': (\d+) objects', shown))) < 20
    assert int(cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES


def test_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = small_bags.write_bag(tmp_path / 'bag')
    example('bag').main(str(bag))
    assert capsys.readouterr().out.count('calibrated camera') == 4


def test_budget(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example('budget').main(str(film))
    shares = [float(x) for x in re.findall(r': ([\d.]+) of the', capsys.readouterr().out)]
    assert shares[0] == 1
    assert shares[1] < 0.65
    assert shares[3] < 0.45


def test_condition(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example('condition').main(str(film))
    assert re.match(rf'\d+ of {FRAMES} frames', capsys.readouterr().out)


def test_evaluate_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Two seconds: one second of a recording gives no interval.
    bag = small_bags.write_bag(tmp_path / 'bag', small_bags.Contents(frames=15, boxes=True))
    example('evaluate_bag').main(str(bag), str(tmp_path / 'out'))
    shown = capsys.readouterr().out
    assert 'size 256: 15 frames' in shown
    assert re.search(r'cost macs: .*, better', shown)


def test_import_model(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('onnx', reason='pip install "mt_perception[import]"')
    picture = tmp_path / 'street.png'
    cv2.imwrite(str(picture), street())
    network = data / 'teachers' / 'yolox_nano_416.onnx'
    example('import_model').main(str(network), str(picture), str(tmp_path / 'model'))
    assert re.search(r'^(person|car|bicycle) 0', capsys.readouterr().out, re.MULTILINE)


def test_remote_host(film: Path, model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('tritonclient.grpc', reason='pip install "mt_perception[offload]"')
    pytest.importorskip('prometheus_client', reason='pip install "mt_perception[serve]"')
    from hosts import running_host

    with running_host(model_path) as host:
        example('remote_host').main(str(film), host.target)
        assert host.outcomes().get('OK', 0) > 0
    assert re.search(rf'[1-9]\d* of {FRAMES} by the host', capsys.readouterr().out)


def test_listener_node() -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    from ros_graph import answer_of
    from std_msgs.msg import Header, String

    from mt_perception.nodes.conversions import DetectionsMessage
    from mt_perception.types import Detections

    found = Detections(
        np.array([[0, 0, 9, 9]], np.float32),
        np.array([0.9], np.float32),
        np.array([1]),
        ('a', 'b'),
    )
    sent = DetectionsMessage().fill(Header(frame_id='camera'), found)
    node = example('listener_node').Listener
    answer = answer_of(node, sent, 'perception/detections', String, 'names')
    assert answer.data == 'b'


def test_own_node() -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from ros_graph import answer_of, image_message
    from std_msgs.msg import Float32

    sent = image_message(street())
    answer = answer_of(example('own_node').FreeGround, sent, 'image', Float32, 'free_ground')
    assert 0 < answer.data < 1
