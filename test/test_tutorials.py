# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tutorials work: their files are written and their blocks run, in order, in one folder.

Blocks of ``bash`` and ``python`` run; a block with a title is a file; ``console`` is for other
machines.
"""

from __future__ import annotations

import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_bags
import yaml
from tiny_model import write_tiny_model

from mt_perception.image.read import read_image

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / 'docs' / 'tutorials'
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)
FRAMES = 12
CONSOLE_SCRIPT = 'import sys\nfrom mt_perception.cli.main import main\nsys.exit(main())\n'


@pytest.fixture(scope='module')
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that pans over a street."""
    panels = read_image(ROOT / 'docs' / 'picture.jpg')
    street = panels[: panels.shape[0] // 2, : panels.shape[1] // 2]
    size = (street.shape[1] - 4 * FRAMES, street.shape[0])
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10.0, size)
    for index in range(FRAMES):
        writer.write(np.ascontiguousarray(street[:, 4 * index : 4 * index + size[0]]))
    writer.release()
    cv2.imwrite(str(path.with_name('street.jpg')), street)
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return int(listener.getsockname()[1])


def blocks(name: str) -> list[tuple[str, str, str]]:
    """(language, title, text) of every block of a tutorial."""
    return FENCE.findall((FOLDER / f'{name}.md').read_text(encoding='utf-8'))


def run_tutorial(name: str, folder: Path, **shortened: str) -> str:
    """Run a tutorial in a folder and return what it printed.

    Args:
        name: Name of the page.
        folder: Folder with the files that it starts from.
        shortened: Text of the tutorial → what a test has the time for.
    """
    program = folder / 'bin' / 'mt_perception'
    program.parent.mkdir()
    program.write_text(f'#!{sys.executable}\n{CONSOLE_SCRIPT}')
    program.chmod(0o755)
    script = ['set -e']
    shortened = {'8001': str(free_port()), **shortened}
    for number, (language, title, text) in enumerate(blocks(name)):
        for long, short in shortened.items():
            text = text.replace(long, short)
        if title:
            (folder / title).write_text(text, encoding='utf-8')
        elif language == 'bash':
            script.append(text)
        elif language == 'python':
            (folder / f'block_{number}.py').write_text(text, encoding='utf-8')
            script.append(f'{sys.executable} block_{number}.py')
    done = subprocess.run(
        ['bash', '-c', '\n'.join(script)],
        cwd=folder,
        env={
            **os.environ,
            'PATH': f'{program.parent}:{os.environ["PATH"]}',
            'PYTHONPATH': str(ROOT),
            'COLUMNS': '200',
        },
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_tutorial_has_a_test() -> None:
    text = Path(__file__).read_text(encoding='utf-8')
    index = (FOLDER / 'index.md').read_text(encoding='utf-8')
    for page in FOLDER.glob('*.md'):
        if page.stem != 'index':
            name = page.stem.replace('-', '_')
            assert f'def test_{name}(' in text, f'no test runs {page.name}'
            assert f']({page.name})' in index


def test_budget(film: Path, tmp_path: Path) -> None:
    (tmp_path / 'film.mp4').symlink_to(film)
    shown = run_tutorial('budget', tmp_path, **{'--limit 40': '--limit 3'})
    macs = [int(value) for value in re.findall(r': (\d+) MMAC a frame', shown)]
    assert macs[1] < 0.7 * macs[0]
    assert (tmp_path / 'sweep' / 'report.html').is_file()


def test_remote_host(film: Path, tmp_path: Path) -> None:
    pytest.importorskip('tritonclient.grpc', reason='pip install "mt_perception[offload]"')
    pytest.importorskip('prometheus_client', reason='pip install "mt_perception[serve]"')
    (tmp_path / 'film.mp4').symlink_to(film)
    shown = run_tutorial('remote-host', tmp_path)
    assert re.search(r'\d+ frames were finished by 127', shown)
    assert re.search(rf'frames out +│ {FRAMES} ', shown)
    assert (tmp_path / 'robot' / 'frames.jsonl').read_text().count('"offload.remote"') == FRAMES


def test_evaluate(tmp_path: Path) -> None:
    small_bags.write_bag(tmp_path / 'drive1', small_bags.Contents(boxes=True))
    write_tiny_model(tmp_path / 'my_model')
    shown = run_tutorial('evaluate', tmp_path)
    assert 'macs' in shown
    assert (tmp_path / 'change.json').is_file()
    assert (tmp_path / 'metrics.xml').is_file()


def test_own_network(film: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip('onnx', reason='pip install "mt_perception[import]"')
    network = data / 'teachers' / 'yolox_nano_416.onnx'
    (tmp_path / 'yolox_nano.onnx').symlink_to(network)
    (tmp_path / 'street.jpg').symlink_to(film.with_name('street.jpg'))
    shown = run_tutorial('own-network', tmp_path)
    assert re.search(r"\['\w+'", shown.splitlines()[-1])
    assert (tmp_path / 'my_model' / 'import.png').is_file()


def test_own_data(film: Path, model_path: Path, tmp_path: Path) -> None:
    pytest.importorskip('torch', reason='pip install "mt_perception[train]"')
    for name in ('drive1', 'drive2'):
        (tmp_path / name).mkdir()
        video = cv2.VideoCapture(str(film))
        for index in range(12):
            image = video.read()[1][:, :: 1 if name == 'drive1' else -1]
            cv2.imwrite(str(tmp_path / name / f'{index:03d}.png'), image)
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'cspnano').symlink_to(model_path)
    short = {'--every 1': '--every 0 --min-change 0', 'steps: 1000': 'steps: 2'}
    short |= {'batch_size: 8': 'batch_size: 2', 'every: 200': 'every: 2', 'every: 100': 'every: 2'}
    short |= {'[[320, 416], [416, 320]]': '[[64, 96]]', 'threads: 1': 'threads: 1'}
    run_tutorial('own-data', tmp_path, **short)
    assert (tmp_path / 'models' / 'yard' / 'manifest.yaml').is_file()
    assert (tmp_path / 'report' / 'report.html').is_file()


def test_subscribe(tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    from ros_graph import answer_of
    from std_msgs.msg import Float32
    from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

    source = next(text for _, title, text in blocks('subscribe') if title == 'nearest_person.py')
    (tmp_path / 'nearest_person.py').write_text(source, encoding='utf-8')
    node = runpy.run_path(str(tmp_path / 'nearest_person.py'))['NearestPerson']
    sent = Detection3DArray()
    for name, x, z in (('person', 3.0, 4.0), ('person', 0.0, 9.0), ('car', 0.0, 1.0)):
        found = Detection3D(results=[ObjectHypothesisWithPose()])
        found.results[0].hypothesis.class_id = name
        found.bbox.center.position.x, found.bbox.center.position.z = x, z
        sent.detections.append(found)
    answer = answer_of(node, sent, 'perception/detections_3d', Float32, 'nearest_person')
    assert answer.data == 5.0


def test_cameras(tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    import rclpy

    from mt_perception.nodes.cameras import perception_nodes

    text = next(text for _, title, text in blocks('cameras') if title == 'cameras.yaml')
    (tmp_path / 'cameras.yaml').write_text(text, encoding='utf-8')
    arguments = ['--ros-args', '--params-file', str(tmp_path / 'cameras.yaml')]
    # The tiny model: the tutorial is about the parameters of each node.
    arguments += ['-p', f'model:={write_tiny_model(tmp_path / "tiny")}']
    rclpy.init(args=arguments)
    try:
        nodes = perception_nodes(arguments)
        thresholds = {
            node.get_fully_qualified_name(): node.get_parameter('detection.score_threshold').value
            for node in nodes
        }
        assert thresholds == {'/front/perception': 0.35, '/left/perception': 0.5}
        assert all(node.get_parameter('budget.compute').value == 0.5 for node in nodes)
        for node in nodes:
            node.destroy_node()
    finally:
        rclpy.shutdown()


@pytest.mark.parametrize('page', sorted(FOLDER.glob('*.md')), ids=lambda page: page.stem)
def test_parameters_of_tutorials_are_accepted(page: Path) -> None:
    from mt_perception.nodes.parameters import PerceptionSettings

    text = page.read_text(encoding='utf-8')
    for name, value in re.findall(r'ros2 param set \S*/perception (\S+) (\S+)', text):
        PerceptionSettings().changed({name: yaml.safe_load(value)})


def test_nav2() -> None:
    # The costmap itself is tested in test_nav2; here: the tutorial names its files and topics.
    text = (FOLDER / 'nav2.md').read_text(encoding='utf-8')
    topics = (ROOT / 'docs' / 'topics.md').read_text(encoding='utf-8')
    for topic in set(re.findall(r'`(~/\w+)`', text)):
        assert f'| `{topic}` |' in topics
    for file in set(re.findall(r'examples/nav2/[\w.]+', text)):
        assert (ROOT / file).is_file()


def test_metric_depth(tmp_path: Path) -> None:
    small_bags.write_bag(tmp_path / 'drive1')
    shown = run_tutorial('metric-depth', tmp_path)
    sources = re.findall(r'^(network|ground|camera unknown)', shown, re.MULTILINE)
    assert len(sources) == 4
    assert re.search('AbsRel|no better', shown)
