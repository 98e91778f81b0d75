# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception replay``: what comes through the node equals what is made in process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from small_bags import Contents, write_bag
from tiny_model import fragile_head, write_tiny_model
from tiny_paths import write_tiny_paths

pytest.importorskip('rclpy')
pytest.importorskip('vision_msgs')

from mt_perception.cli import calibrate as calibrate_command
from mt_perception.cli import replay as replay_command
from mt_perception.cli.main import main
from mt_perception.cli.replay import differing_lines
from mt_perception.evaluation.output import OutputFolder
from mt_perception.evaluation.records import read_frames


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a domain that follows from its process, also under xdist."""
    monkeypatch.delenv('ROS_DOMAIN_ID', raising=False)


def replay(source: Path, model: Path, out: Path, *options: object) -> int:
    arguments = [source, '--model', model, '--out', out, *options]
    return main(['replay', *map(str, arguments)])


def test_a_bag_through_the_node_equals_the_bag_in_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / 'kitchen', Contents(frames=6, boxes=True, labels=True))
    model = write_tiny_model(tmp_path / 'tiny')
    assert replay(bag, model, tmp_path / 'out', '--topic', '/camera/image_raw') == 0
    assert 'all 6 frames came through the node' in ' '.join(capfd.readouterr().out.split())
    folder = tmp_path / 'out' / 'kitchen'
    theirs = list(read_frames(folder / 'through_node' / 'frames.jsonl'))
    assert len(theirs) == 6
    for record in theirs:
        assert record.failures == {}
        assert set(record.digests) == {'image', 'truth', 'depth', 'segmentation'}
        assert set(record.latency_ms) > {'preprocess', 'messages', 'transport', 'total'}
        assert 'trunk' in record.block_ms
    summaries = [
        json.loads((folder / name / 'summary.json').read_text())
        for name in ('through_node', 'in_process')
    ]
    assert summaries[0]['metrics'] == summaries[1]['metrics']
    assert summaries[0]['metrics']['detection']['ap'] is not None
    assert summaries[0]['timing']['latency_ms']['transport']['p50'] >= 0


def test_a_second_replay_into_one_folder_leaves_the_log_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / 'kitchen', Contents(frames=2))
    folder = tmp_path / 'out' / 'kitchen'
    log = OutputFolder(folder / 'through_node').file('perception.log')
    log.write_text('of the first')
    with OutputFolder(folder).exclusive():
        options = ('--topic', '/camera/image_raw')
        assert replay(bag, write_tiny_model(tmp_path / 'tiny'), tmp_path / 'out', *options) == 1
    assert 'another command is writing' in capsys.readouterr().err
    assert log.read_text() == 'of the first'


def test_images_of_unknown_cameras_and_failing_heads(tmp_path: Path) -> None:
    images = tmp_path / 'images'
    images.mkdir()
    random = np.random.default_rng(0)
    for index, size in enumerate([(48, 64), (64, 48), (33, 51)]):
        picture = random.integers(0, 255, (*size, 3), np.uint8)
        cv2.imwrite(str(images / f'{index}.png'), picture)
    cv2.imwrite(str(images / '3.png'), np.zeros((48, 64, 3), np.uint8))
    model = write_tiny_model(tmp_path / 'tiny', replace={'depth': fragile_head()})
    assert replay(images, model, tmp_path / 'out', '--size', 96, '--score', 0.1) == 0
    file = tmp_path / 'out' / 'images' / 'through_node' / 'frames.jsonl'
    records = list(read_frames(file))
    assert [bool(r.failures) for r in records] == [False, False, False, True]
    assert [r.network_size for r in records[:2]] == [(72, 96), (96, 72)]


def test_within_a_budget_the_same_frames_make_the_same_plans(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'kitchen', Contents(frames=12))
    model = write_tiny_paths(tmp_path / 'tiny')
    options = ['--budget', 0.5, '--stale-ms', 2000, '--topic', '/camera/image_raw']
    assert replay(bag, model, tmp_path / 'out', *options) == 0
    records = list(read_frames(tmp_path / 'out' / 'kitchen' / 'through_node' / 'frames.jsonl'))
    assert len({record.path for record in records}) > 1
    assert records[-1].extra['budget.compute'] == 0.5


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        (('--topic', '/nothing'), '/nothing.*image topics: .*/camera/image_raw'),
        (('--depth-topic', '/nothing'), 'no depth topic .*/nothing.*/camera/depth'),
        (('--boxes-topic', '/nothing'), 'no boxes topic .*/nothing'),
    ],
)
@pytest.mark.parametrize('command', [replay_command, calibrate_command])
def test_topics_are_checked_before_a_model_is_loaded(
    command: ModuleType,
    wrong: tuple[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = command.__name__.rpartition('.')[2]
    if name == 'calibrate' and wrong[0] == '--boxes-topic':
        pytest.skip('calibrate has no boxes')

    def load(*arguments: object, **named: object) -> None:
        raise AssertionError('a model was loaded')

    for loader in ('open_predictor', 'Pipeline'):
        monkeypatch.setattr(command, loader, load, raising=False)
    bag = write_bag(tmp_path / 'kitchen', Contents(frames=2, boxes=True))
    given = [name, bag, '--model', write_tiny_model(tmp_path / 'tiny'), '--out', tmp_path / 'out']
    topic = () if '--topic' in wrong else ('--topic', '/camera/image_raw')
    assert main([*map(str, given), *topic, *wrong]) == 1
    assert re.search(said, ' '.join(capfd.readouterr().err.split()))
    assert not (tmp_path / 'out').exists()


def test_differing_lines(tmp_path: Path) -> None:
    one, other = tmp_path / 'one', tmp_path / 'other'
    one.write_text('{"a": 1, "timing": 3}\n{"a": 2}\n{"a": 3}\n')
    other.write_text('{"a": 1, "timing": 4}\n{"a": 7}\n')
    assert differing_lines(one, other) == [2, 3]
