# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A comparison finds real differences, calls noise noise, and refuses what cannot be compared."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mt_perception.cli import compare as command
from mt_perception.errors import SourceError
from mt_perception.evaluation.comparison import (
    BETTER,
    EQUAL,
    NOISE,
    WORSE,
    Change,
    Comparison,
    compare_runs,
    pair_runs,
)
from mt_perception.evaluation.record_writer import RecordWriter
from mt_perception.evaluation.records import (
    FRAMES_FILE,
    DetectionRecord,
    FrameRecord,
    Summary,
    TruthRecord,
)
from mt_perception.evaluation.runs import Run, read_runs

BOX = np.array([[10, 10, 60, 60]], np.float32)
AWAY = np.array([[200, 200, 260, 260]], np.float32)


def frame(index: int, hit: bool, *, macs: int = 100, latency: float = 5.0) -> FrameRecord:
    """A frame with one cup, that is found or missed, and a segmentation of two classes."""
    pixels = 90 if hit else 60
    return FrameRecord(
        key=str(index),
        source='s',
        stamp_ns=index * 200_000_000,
        image_size=(300, 300),
        detections=DetectionRecord(
            BOX if hit else AWAY, np.array([0.5 + index / 1000], np.float32), ('cup',)
        ),
        truth=TruthRecord(
            BOX, ('cup',), (False,), np.array([2500.0]), ('cup', 'door'), True, False, ''
        ),
        metrics={
            'segmentation': {
                'confusion': {
                    'wall': {'wall': pixels, 'floor': 100 - pixels},
                    'floor': {'floor': 100},
                }
            }
        },
        tasks=('detection', 'segmentation'),
        macs=macs,
        latency_ms={'total': latency + index % 7},
    )


def run(name: str, frames: list[FrameRecord], **data: object) -> Run:
    labels = {'detection': ['cup', 'door'], 'segmentation': ['wall', 'floor']}
    summary = Summary(
        source='s',
        model={'name': name, 'labels': labels},
        data={'kind': 'folder', 'sha256': 'd' * 64, 'pseudo': '', **data},
        parameters={},
        metrics={},
        counts={},
        failures={},
        machine={},
        versions={},
        timing={},
    )
    return Run(Path(name), summary, tuple(frames))


def by_name(comparison: Comparison) -> dict[str, Change]:
    return {f'{c.metric}.{c.name}': c for c in comparison.changes}


def hits(count: int, of: int = 60) -> list[bool]:
    return [index * count // of != (index + 1) * count // of for index in range(of)]


def test_a_run_against_itself_is_noise() -> None:
    one = run('a', [frame(i, hit) for i, hit in enumerate(hits(40))])
    found = compare_runs(one, one, resamples=100)
    verdicts = {f'{c.metric}.{c.name}': c.verdict for c in found.changes}
    # MACs are counted: no difference is none.
    assert verdicts.pop('cost.macs') == EQUAL
    assert set(verdicts.values()) == {NOISE}
    assert all(c.low == c.high == 0 and c.a == c.b for c in found.changes)
    assert found.units == found.frames == 60


def test_a_real_difference_is_found_with_its_direction() -> None:
    a = run('a', [frame(i, hit) for i, hit in enumerate(hits(30))])
    better = [frame(i, hit, macs=80, latency=9) for i, hit in enumerate(hits(57))]
    found = by_name(compare_runs(a, run('b', better), resamples=300))
    for name in ('detection.ap', 'detection.ap50', 'segmentation.miou', 'cost.macs'):
        assert found[name].verdict == BETTER
    assert found['cost.latency_ms'].verdict == WORSE
    assert found['cost.macs'].a == 100
    change = found['detection.ap50']
    assert change.low < change.b - change.a < change.high
    gain = compare_runs(a, run('b', better), resamples=100).delta_mtl
    assert gain is not None
    parts = [found['detection.ap'], found['segmentation.miou']]
    assert gain.value == pytest.approx(sum((c.b - c.a) / c.a for c in parts) / 2)
    reversed_ = by_name(compare_runs(run('b', better), a, resamples=300))
    assert reversed_['detection.ap'].verdict == WORSE


def test_a_difference_within_noise_is_called_noise() -> None:
    rng = np.random.default_rng(0)
    a = run('a', [frame(i, bool(rng.random() < 0.7)) for i in range(60)])
    b = run('b', [frame(i, bool(rng.random() < 0.7)) for i in range(60)])
    change = by_name(compare_runs(a, b, resamples=300))['detection.ap']
    assert change.a != change.b
    assert change.verdict == NOISE


def test_the_same_seed_gives_the_same_intervals() -> None:
    a = run('a', [frame(i, hit) for i, hit in enumerate(hits(30))])
    b = run('b', [frame(i, hit) for i, hit in enumerate(hits(33))])
    assert compare_runs(a, b, 100, seed=4) == compare_runs(a, b, 100, seed=4)
    assert compare_runs(a, b, 100, seed=4) != compare_runs(a, b, 100, seed=5)


def test_one_second_of_a_recording_proves_nothing() -> None:
    first = [frame(i, hit) for i, hit in enumerate(hits(2, 4))]
    second = [frame(i, True, macs=80) for i in range(4)]
    found = compare_runs(run('a', first, kind='bag'), run('b', second, kind='bag'), 100)
    assert found.units == 1
    assert any(change.a != change.b for change in found.changes)
    named = by_name(found)
    macs = named.pop('cost.macs')
    assert {change.verdict for change in named.values()} == {NOISE}
    # MACs are counted: that difference is none of chance.
    assert (macs.verdict, macs.low, macs.high) == (BETTER, -20, -20)
    assert 'exact' in command.comparison_table(found).columns[4].cells
    assert any('no verdict' in note for note in found.notes)
    json.dumps(found.to_json(), allow_nan=False)


def test_frames_of_a_recording_are_drawn_by_the_second() -> None:
    frames = [frame(i, i % 3 > 0) for i in range(60)]
    single = compare_runs(run('a', frames), run('b', frames), 100)
    bag = run('a', frames, kind='bag')
    together = compare_runs(bag, bag, 100)
    assert (single.units, together.units) == (60, 12)
    assert any('only 12 independent units' in note for note in together.notes)


def test_models_of_other_classes_are_compared_on_the_shared_ones() -> None:
    frames = [frame(i, i % 3 > 0) for i in range(30)]
    a, b = run('a', frames), run('b', frames)
    labels = {'detection': ['cup'], 'segmentation': ['wall', 'sky']}
    b = replace(b, summary=replace(b.summary, model={'name': 'b', 'labels': labels}))
    doors = replace(frames[0].truth, labels=('door',))
    a = replace(a, frames=tuple(replace(f, truth=doors) if f.key == '1' else f for f in frames))
    found = compare_runs(a, b, 100)
    assert any('detection: on the 1 classes' in note for note in found.notes)
    assert any('segmentation: on the 1 classes' in note for note in found.notes)
    # On the wall alone: what was taken for floor is wrong, and no floor counts against it.
    change = by_name(found)['segmentation.miou']
    assert change.a == change.b == by_name(found)['segmentation.pixel_accuracy'].a


@pytest.mark.parametrize(
    ('data', 'sentence'),
    [
        ({'sha256': 'e' * 64}, 'have different data'),
        ({'pseudo': 'teacher'}, 'the ground truth of'),
    ],
)
def test_what_cannot_be_compared_is_refused(data: dict[str, str], sentence: str) -> None:
    frames = [frame(i, True) for i in range(5)]
    with pytest.raises(SourceError, match=sentence):
        compare_runs(run('a', frames), run('b', frames, **data), 100)


def test_runs_are_paired_by_their_data() -> None:
    frames = [frame(0, True)]
    one, two = run('a1', frames), run('a2', frames, sha256='f' * 64)
    assert pair_runs([one, two], [two]) == [(two, two)]
    with pytest.raises(SourceError, match='have different data'):
        pair_runs([one], [two])
    with pytest.raises(SourceError, match='2 runs on the same data'):
        pair_runs([one], [one, one])


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    for name, count in (('a', 30), ('b', 57)):
        one = run(name, [frame(i, hit) for i, hit in enumerate(hits(count))])
        with RecordWriter(tmp_path / name) as writer:
            for record in one.frames:
                writer.add(record)
            writer.finish(one.summary)
    out = tmp_path / 'comparison.json'
    result = CliRunner().invoke(
        command.compare,
        [str(tmp_path / 'a'), str(tmp_path / 'b'), '--resamples', '100', '--out', str(out)],
    )
    assert result.exit_code == 0, result.output
    assert 'detection ap50' in result.output
    assert BETTER in result.output
    assert 'Δ_MTL of B against A: +' in result.output
    (written,) = json.loads(out.read_text())
    read_back = {f'{c["metric"]}.{c["name"]}': c for c in written['changes']}
    one, other = (next(read_runs(tmp_path / name)) for name in 'ab')
    again = by_name(compare_runs(one, other, 100))
    assert read_back['detection.ap']['low'] == again['detection.ap'].low


def test_records_that_are_missing_are_noticed(tmp_path: Path) -> None:
    with RecordWriter(tmp_path) as writer:
        for index in range(3):
            writer.add(frame(index, True))
        writer.finish(replace(run('a', []).summary, counts={'frames': 3}))
    frames = tmp_path / FRAMES_FILE
    lines = frames.read_text().splitlines(keepends=True)
    assert len(next(read_runs(tmp_path)).frames) == 3
    for kept in (2, 0):
        frames.write_text(''.join(lines[:kept]))
        with pytest.raises(SourceError, match=f'has {kept} records, but summary.json counts 3'):
            list(read_runs(tmp_path))


def test_records_damaged_by_hand_are_compared_or_refused_with_their_line(tmp_path: Path) -> None:
    depth = dict.fromkeys(('abs_rel', 'rmse', 'delta1'), 0.1)
    extra = {'depth': {'metric': depth, 'pixels': 9}, 'stability': {'mask_flips': 0.1}}
    with RecordWriter(tmp_path) as writer:
        for index in range(3):
            whole = frame(index, True)
            writer.add(replace(whole, metrics={**whole.metrics, **extra}))
        writer.finish(replace(run('a', []).summary, counts={'frames': 3}))
    (before,) = read_runs(tmp_path)
    path = tmp_path / FRAMES_FILE
    lines = path.read_text().splitlines()
    draw = random.Random(0)
    refused = []
    for _ in range(100):
        fields = json.loads(lines[1])
        place, key = draw.choice(list(places(fields)))
        place[key] = draw.choice([None, True, -1, 0.5, 'x', [], {}, [[]], {'a': 1}, [None]])
        path.write_text('\n'.join((lines[0], json.dumps(fields), lines[2])) + '\n')
        try:
            compare_runs(before, next(read_runs(tmp_path)), 20)
        except SourceError as error:
            refused.append(str(error))
    assert len(refused) > 50
    named = f'{FRAMES_FILE}, line 2|different data'
    assert [each for each in refused if not re.search(named, each)] == []


def places(value: object) -> Iterator[tuple[Any, str | int]]:
    """Each container in parsed JSON with each of its keys."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def test_a_folder_without_an_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match='has no completed evaluation'):
        list(read_runs(tmp_path))
