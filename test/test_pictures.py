# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures, videos and the table at the end of a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from mt_perception.cli import video_writer
from mt_perception.cli.picture_writer import PictureWriter
from mt_perception.cli.run_summary import (
    RunSummary,
    latency_warning,
    percentiles_text,
    spending,
    summary_table,
)
from mt_perception.cli.video_writer import video_format
from mt_perception.errors import OutputError
from mt_perception.evaluation.output import OutputFolder
from mt_perception.reports import BudgetReport, Execution, ReuseReport, ScaleReport
from mt_perception.types import Detections, Result


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), 120, np.uint8)


def test_every_nth_picture_is_saved(tmp_path: Path) -> None:
    with PictureWriter(OutputFolder(tmp_path / 'out'), every=3, rate_hz=None) as pictures:
        for number in range(7):
            assert pictures.next_is_wanted == (number % 3 == 0)
            if pictures.next_is_wanted:
                pictures.add(picture())
            else:
                pictures.skip()
    assert pictures.saved == 3
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.png')) == [
        'frame_000000.png',
        'frame_000003.png',
        'frame_000006.png',
    ]


def test_a_video_survives_odd_and_changing_sizes(tmp_path: Path) -> None:
    with PictureWriter(OutputFolder(tmp_path / 'out'), every=0, rate_hz=10.0) as pictures:
        pictures.add(picture(49, 65))
        pictures.add(picture(120, 160))
        pictures.add(picture(48, 64))
    capture = cv2.VideoCapture(str(tmp_path / 'out' / 'video.mp4'))
    shapes = []
    while (read := capture.read())[0]:
        shapes.append(read[1].shape)
    assert shapes == [(48, 64, 3)] * 3


def test_videos_are_h264_with_pyav(tmp_path: Path) -> None:
    pytest.importorskip('av')
    with PictureWriter(OutputFolder(tmp_path / 'out'), every=0, rate_hz=29.97) as pictures:
        for _ in range(5):
            pictures.add(picture())
    capture = cv2.VideoCapture(str(tmp_path / 'out' / 'video.mp4'))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, 'little')
    assert (code, round(capture.get(cv2.CAP_PROP_FPS), 2)) == (b'h264', 29.97)
    assert video_format() == 'H.264'


def test_videos_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_writer, 'find_spec', lambda name: None)
    test_a_video_survives_odd_and_changing_sizes(tmp_path)
    assert 'pip install av' in video_format()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'out').write_text('in the way')
    with pytest.raises(OutputError, match='is a file'):
        PictureWriter(OutputFolder(tmp_path / 'out'), every=1, rate_hz=None)


def test_the_table_says_what_was_counted() -> None:
    summary = RunSummary(frames_in=10, frames_out=8, latency_ms=[10.0, 20.0, 30.0])
    found = Detections(
        np.zeros((3, 4), np.float32),
        np.ones(3, np.float32),
        np.array([1, 1, 0]),
        ('cup', 'per[son]'),
    )
    summary.add_detections(found)
    summary.left_out.update(Counter(short_data=2))
    summary.failures['depth: no'] = 1
    console = Console(width=100)
    with console.capture() as shown:
        console.print(summary_table('a run', summary, [('provider', 'CPU')], 'one frame'))
    text = ' '.join(shown.get().split())
    for part in (
        'frames in │ 10',
        'frames out │ 8',
        'dropped │ 2 (short_data 2)',
        'p50 20.0',
        'detections │ 3 (per[son] 2, cup 1)',
        'failures │ 1 (depth: no 1)',
        'provider │ CPU',
    ):
        assert part in text


def test_a_long_list_is_cut() -> None:
    summary = RunSummary()
    summary.detections.update({f'class {n}': 20 - n for n in range(12)})
    table = summary_table('', summary, [], 'x')
    cells = [str(cell) for column in table.columns for cell in column.cells]
    assert any('class 7 13 and 4 more' in cell for cell in cells)
    assert not any('class 8' in cell for cell in cells)


def test_the_table_says_where_the_scale_of_depth_is_from() -> None:
    summary = RunSummary()
    summary.add_result(result('full', depth_scale=ScaleReport()))
    assert not summary.scales, 'it was not wanted'
    summary.add_result(result('full', depth_scale=ScaleReport('ground', 1.2, spread=0.1)))
    summary.add_result(result('full', depth_scale=ScaleReport(refused='no ground')))
    table = summary_table('', summary, [], 'x')
    rows = dict(zip(*([str(cell) for cell in each.cells] for each in table.columns), strict=True))
    assert rows['depth'] == (
        'the scale of depth is from: ground in 1 of 2 frames (+-10 %), network in 1 of 2 frames; '
        '1 times: no ground'
    )


def test_percentiles_are_rounded() -> None:
    assert percentiles_text([1.0, 2.0, 3.0]) == 'p50 2.0  p95 2.9  p99 3.0 ms'


def result(path: str, **reports: Any) -> Result:
    execution = Execution(
        ('depth',), ('trunk',), path, '', 1, (8, 8), stage_ms={'total': 30.0}, **reports
    )
    return Result(0, '', None, None, None, execution)


def test_the_table_says_what_was_spent() -> None:
    summary = RunSummary()
    for _ in range(3):
        summary.add_result(result('full', budget=BudgetReport(0.5, 0.9)))
    reuse = ReuseReport(1.0, 'depth', 100.0)
    summary.add_result(
        result('light', budget=BudgetReport(0.5, 0.52), reuse=reuse, skipped=('depth',))
    )
    assert spending(summary) == [
        ('budget', '0.50 of the full path, realised 0.52'),
        ('paths', 'full 75%, light 25%'),
        ('reuse', '1 of 4 frames'),
        ('skipped', '1 (depth 1)'),
    ]
    assert spending(RunSummary()) == []


def test_a_missed_latency_target_is_said() -> None:
    summary = RunSummary(latency_ms=[10.0] * 19 + [100.0])
    assert latency_warning(summary, 0, 1) is None
    assert latency_warning(summary, 50, 1) is None
    summary.latency_ms += [100.0]
    assert 'no lighter path' in (latency_warning(summary, 50, 1) or '')
    assert 'p95 is 100.0 ms; try a smaller' in (latency_warning(summary, 50, 3) or '')
