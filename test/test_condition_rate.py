# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The probability of a condition, learned from records and from a source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.cli.main import main
from mt_perception.errors import SourceError
from mt_perception.evaluation.condition_rate import ConditionRate, condition_rate, recorded_labels
from mt_perception.evaluation.records import (
    DetectionRecord,
    FrameRecord,
    frame_line,
    read_frames,
)
from mt_perception.planning.conditions import TaskCondition, parse_condition

RED, GREY = (0, 0, 200), (90, 90, 90)
RULE = 'depth if detection finds red'


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / 'tiny')


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight images, three of them red; the tiny model finds nothing in grey."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for number in range(8):
        colour = RED if number % 3 == 0 else GREY
        cv2.imwrite(str(folder / f'{number}.png'), np.full((64, 64, 3), colour, np.uint8))
    return folder


def record(labels: tuple[str, ...], scores: tuple[float, ...]) -> FrameRecord:
    boxes = np.zeros((len(labels), 4), np.float32)
    found = DetectionRecord(boxes, np.array(scores, np.float32), labels)
    return FrameRecord('0', 's', 0, (64, 64), found, None, {})


def test_a_rate_is_the_share_of_frames() -> None:
    rule = TaskCondition('depth', 'detection', ('red', 'blue'))
    found = [frozenset({'red'}), frozenset({'green'}), frozenset({'blue', 'green'}), frozenset()]
    rate = condition_rate(rule, found)
    assert (rate.held, rate.frames, rate.rule.probability) == (2, 4, 0.5)
    assert condition_rate(TaskCondition('depth', 'detection'), found).held == 3


def test_no_frame_is_no_rate() -> None:
    with pytest.raises(SourceError, match='no frame has a result of detection'):
        condition_rate(parse_condition(RULE), [])


def test_wilsons_interval() -> None:
    """Against the figures of Wilson's paper's example, 10 of 100 and none of 20."""
    low, high = ConditionRate(parse_condition(RULE), 10, 100).interval
    assert (low, high) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    low, high = ConditionRate(parse_condition(RULE), 0, 20).interval
    assert (low, high) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_records_count_detections_of_enough_score(tmp_path: Path) -> None:
    lines = [record(('red', 'blue'), (0.3, 0.9)), record((), ()), record(('red',), (0.5,))]
    folder = tmp_path / 'run'
    folder.mkdir()
    text = ''.join(frame_line(line) + '\n' for line in lines)
    (folder / 'frames.jsonl').write_text(text, encoding='utf-8')
    assert list(recorded_labels(tmp_path, 0.4)) == [{'blue'}, set(), {'red'}]
    with pytest.raises(SourceError, match='has no records'):
        list(recorded_labels(folder / 'nothing', 0.4))


def test_a_source_and_its_records_teach_the_same(
    tiny: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ['--model', str(tiny)]
    assert main(['condition', RULE, str(pictures), *model]) == 0
    seen = capsys.readouterr().out
    assert 'it holds on 3 of 8 frames: 0.375' in seen
    assert f'{RULE} with probability 0.375' in seen
    out = tmp_path / 'out'
    assert main(['run', str(pictures), *model, '--jsonl', '--out', str(out)]) == 0
    capsys.readouterr()
    assert main(['condition', RULE, str(out), *model]) == 0
    assert capsys.readouterr().out == seen


def test_a_run_under_the_rule_leaves_out_what_it_says(
    tiny: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    asked = ['run', str(pictures), '--model', str(tiny), '--jsonl', '--out', str(out)]
    assert main([*asked, '--condition', RULE]) == 0
    tasks = [record.tasks for record in read_frames(out / 'frames.jsonl')]
    assert sum('depth' in served for served in tasks) == 3
    assert all('segmentation' in served for served in tasks)


def test_a_rule_that_the_model_cannot_serve_is_refused(
    tiny: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ['condition', 'depth if detection finds person', str(pictures), '--model', str(tiny)]
    assert main(asked) == 1
    assert 'does not find person; it finds blue, green, red' in ' '.join(
        capsys.readouterr().err.split()
    )
