# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""HOTA and IDF1 equal TrackEval's; true tracks are read from MOTChallenge's text files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bags import picture
from tiny_model import write_tiny_model

from mt_perception.cli.main import main
from mt_perception.evaluation.datasets.mot import read_tracks
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample, TrueObjects
from mt_perception.evaluation.metrics.matching import box_overlaps
from mt_perception.evaluation.metrics.tracking import (
    TrackedFrame,
    TrackingMetric,
    track_metrics,
    tracked_frame,
)
from mt_perception.evaluation.records import (
    DetectionRecord,
    FrameRecord,
    TruthRecord,
    frame_line,
    parse_frame,
)
from mt_perception.reports import Execution
from mt_perception.types import Detections, Frame, Result

# What TrackEval 1.3.0 returns for recording(seed): HOTA, DetA, AssA, LocA, IDF1.
TRACKEVAL = {
    0: (0.354301960160, 0.447676997176, 0.281653586206, 0.743070306048, 0.523636363636),
    1: (0.304003861844, 0.401999207622, 0.230892305685, 0.742577687383, 0.457142857143),
    2: (0.215876922429, 0.455848090761, 0.105289700887, 0.745067668727, 0.256410256410),
    3: (0.341539050403, 0.451009522406, 0.262394939031, 0.743308298839, 0.442477876106),
}


def recording(seed: int, frames: int = 25) -> list[TrackedFrame]:
    """Objects that move; detections with noise, gaps, additions and exchanged identities."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    boxes = rng.uniform(0, 120, (count, 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(20, 60, (count, 2))], axis=1)
    speed = np.tile(rng.uniform(-3, 3, (count, 2)), 2)
    ids = np.arange(count)
    found = []
    for _ in range(frames):
        boxes = boxes + speed
        there, seen = rng.random(count) < 0.9, rng.random(count) < 0.8
        if rng.random() < 0.1:
            ids = rng.permutation(ids)
        if rng.random() < 0.05:
            ids = ids + count
        extra = rng.integers(0, 2)
        odd = rng.uniform(0, 120, (extra, 2))
        tracked = np.concatenate(
            [
                (boxes + rng.normal(0, 5, boxes.shape))[seen],
                np.concatenate([odd, odd + 40], axis=1),
            ]
        )
        identities = np.concatenate([ids[seen], 1000 + np.arange(extra)])
        names = np.full(max(count, len(identities)), 'person', object)
        found.append(
            TrackedFrame(
                np.flatnonzero(there) + 7,
                identities,
                box_overlaps(boxes[there], tracked),
                names[: int(there.sum())],
                names[: len(identities)],
            )
        )
    return found


@pytest.mark.parametrize('seed', TRACKEVAL)
def test_equals_trackeval(seed: int) -> None:
    found = track_metrics(recording(seed))
    keys = ('hota', 'det_a', 'ass_a', 'loc_a', 'idf1')
    assert [found[key] for key in keys] == pytest.approx(TRACKEVAL[seed], abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_equals_the_installed_trackeval(seed: int) -> None:
    metrics = pytest.importorskip('trackeval.metrics')
    frames = recording(seed, 12)
    true_ids = np.unique(np.concatenate([f.true_ids for f in frames]))
    ids = np.unique(np.concatenate([f.ids for f in frames]))
    data = {
        'num_gt_dets': sum(len(f.true_ids) for f in frames),
        'num_tracker_dets': sum(len(f.ids) for f in frames),
        'num_gt_ids': len(true_ids),
        'num_tracker_ids': len(ids),
        'gt_ids': [np.searchsorted(true_ids, f.true_ids) for f in frames],
        'tracker_ids': [np.searchsorted(ids, f.ids) for f in frames],
        'similarity_scores': [f.overlaps for f in frames],
    }
    hota = metrics.HOTA().eval_sequence(data)
    identity = metrics.Identity({'PRINT_CONFIG': False}).eval_sequence(data)
    expected = [hota[key].mean() for key in ('HOTA', 'DetA', 'AssA', 'LocA')]
    found = track_metrics(frames)
    assert [found[key] for key in ('hota', 'det_a', 'ass_a', 'loc_a')] == pytest.approx(expected)
    assert found['idf1'] == pytest.approx(identity['IDF1'])


def record(**changes: object) -> FrameRecord:
    """Two people, one of whom is to be ignored, and a dog; four detections."""
    boxes = np.array([[0, 0, 10, 20], [50, 0, 60, 20], [0, 50, 30, 60]], np.float32)
    truth = TruthRecord(
        boxes,
        ('person', 'person', 'dog'),
        (False, True, False),
        np.ones(3),
        ('person',),
        segmentation=False,
        depth=False,
        pseudo='',
        track_ids=(3, 4, 5),
    )
    found = DetectionRecord(
        np.concatenate([boxes, [[0, 0, 10, 19]]]).astype(np.float32),
        np.full(4, 0.5, np.float32),
        ('person', 'person', 'dog', 'person'),
        (8, 9, 10, -1),
    )
    return FrameRecord('1', 's', 1, (90, 90), found, truth, {}, **changes)  # type: ignore[arg-type]


def test_what_counts() -> None:
    """Ignored regions, classes without annotation and detections without a track do not."""
    frame = tracked_frame(record())
    assert frame is not None
    assert frame.true_ids.tolist() == [3]
    assert frame.ids.tolist() == [8]
    metric = TrackingMetric()
    metric.add(record())
    assert metric.evaluate()['hota'] == pytest.approx(1)
    assert metric.evaluate()['classes']['person']['idf1'] == 1


def test_records_keep_identities() -> None:
    again = parse_frame(frame_line(record()))
    assert again.truth is not None
    assert again.truth.track_ids == (3, 4, 5)
    assert again.detections is not None
    assert again.detections.track_ids == (8, 9, 10, -1)


def test_another_class_is_no_match() -> None:
    person = np.array(['person'], object)
    frames = [
        TrackedFrame(np.array([1]), np.array([2]), np.zeros((1, 1)), person, np.array(['dog']))
    ]
    assert track_metrics(frames)['hota'] == 0
    assert track_metrics(frames)['idf1'] == 0


MOT = """1,2,11,21,30,40,1,1,1.0
1,5,1,1,5,5,0,8,0.5
1,6,1,1,5,5,0,11,0.5
3,2,12,21,30,40,1,1,1.0
4,x,12,21,30,40,1,1,1.0
4,2,12,21,0,40,1,1,1.0
"""


def test_mot_file(tmp_path: Path) -> None:
    path = tmp_path / 'gt.txt'
    path.write_text(MOT)
    tracks = read_tracks(path)
    assert tracks.labels == ('person',)
    assert [image.file_name for image in tracks.images] == [f'{n:06d}.jpg' for n in (1, 2, 3)]
    first, second, _ = (image.annotations for image in tracks.images)
    assert [(one.track, one.label, one.crowd) for one in first] == [
        (2, 'person', False),
        (5, 'person', True),
    ]
    np.testing.assert_array_equal(first[0].box, [10, 20, 40, 60])
    assert not second
    assert sum(tracks.skipped.counts.values()) == 3


def test_mot_without_classes_and_with_names(tmp_path: Path) -> None:
    path = tmp_path / 'gt.txt'
    path.write_text('1,1,1,1,9,9,1,-1,-1,-1\n')
    assert read_tracks(path).labels == ('person',)
    path.write_text('1,1,1,1,9,9,1,2\n')
    assert read_tracks(path, {2: 'forklift'}).labels == ('forklift',)


@pytest.mark.parametrize(
    'line',
    ['1,1e300,1,1,9,9,1', '1,1,1e300,1,9,9,1', '1,1,1,1,nan,9,1', '2000000,1,1,1,9,9,1'],
)
def test_a_line_with_a_value_out_of_range_is_skipped(tmp_path: Path, line: str) -> None:
    path = tmp_path / 'gt.txt'
    path.write_text(f'{line}\n2,1,1,1,9,9,1\n')
    tracks = read_tracks(path)
    assert len(tracks.images) == 2
    assert sum(tracks.skipped.counts.values()) == 1


def write_sequence(folder: Path, frames: int) -> Path:
    (folder / 'img1').mkdir(parents=True)
    (folder / 'gt').mkdir()
    for number in range(1, frames + 1):
        cv2.imwrite(str(folder / 'img1' / f'{number:06d}.png'), picture(number % 5))
    rows = [f'{number},1,5,5,20,20,1,1,1' for number in range(1, frames + 1)]
    (folder / 'gt' / 'gt.txt').write_text('\n'.join(rows))
    return folder


def test_sequence_folder(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / 'MOT17-02', 30)
    classes = ClassMap(('person',), (), read_taxonomy())
    with open_samples(str(folder), SourceOptions(split='held_out'), classes) as samples:
        truths = [sample.truth for sample in samples]
    assert len(truths) == 5
    for truth in truths:
        assert truth is not None
        assert truth.objects is not None
        assert truth.objects.track_ids is not None
        assert truth.objects.track_ids.tolist() == [1]


def test_video_with_tracks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """``evaluate --truth`` of a video turns tracking on, and prints HOTA and IDF1."""
    video = tmp_path / 'a.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 64))
    for _ in range(6):
        image = np.full((64, 64, 3), 128, np.uint8)
        image[8:40, 8:40] = 0, 0, 255
        writer.write(image)
    writer.release()
    truth = write_sequence(tmp_path / 'truth', 4)
    model = write_tiny_model(tmp_path / 'model')
    names = tmp_path / 'names.yaml'
    names.write_text('classes: {1: red}')
    out = tmp_path / 'out'
    arguments = ['evaluate', str(video), '--truth', str(truth), '--class-names', str(names)]
    assert main([*arguments, '--model', str(model), '--out', str(out), '--no-report']) == 0
    assert 'HOTA' in capfd.readouterr().out
    summary = json.loads(next(out.rglob('summary.json')).read_text())
    found = summary['metrics']['tracking']
    assert (found['frames'], found['true_tracks']) == (4, 1)
    # The tiny model finds a box around every cell, and each is a track.
    assert 0 < found['tracks'] < 40
    assert 0 < found['hota'] < 1
    assert summary['parameters']['tracking'] is True


def test_an_overlap_of_exactly_a_threshold_reaches_it() -> None:
    """One match at an IoU of 0.5 is found at the 10 thresholds up to 0.5, of 19."""
    person = np.array(['person'], object)
    frame = TrackedFrame(np.array([1]), np.array([2]), np.full((1, 1), 0.5), person, person)
    assert track_metrics([frame])['det_a'] == pytest.approx(10 / 19)
    assert track_metrics([frame])['idf1'] == 1


def test_what_a_summary_counts() -> None:
    metric = TrackingMetric()
    assert metric.evaluate() == {}
    metric.add(record())
    metric.add(FrameRecord('2', 's', 2, (90, 90), None, None, {}))
    figures = metric.evaluate()
    assert (figures['frames'], figures['true_tracks'], figures['tracks']) == (1, 1, 1)
    assert list(figures['classes']) == ['person']
    nobody = np.array([], object)
    nothing = TrackedFrame(np.array([], int), np.array([], int), np.zeros((0, 0)), nobody, nobody)
    assert track_metrics([nothing])['hota'] is None
    metric.reset()
    assert metric.evaluate() == {}


def test_a_frame_tells_how_many_objects_it_found() -> None:
    boxes = np.array([[0, 0, 10, 20], [50, 0, 60, 20]], np.float32)
    objects = TrueObjects(
        boxes, np.zeros(2, np.int64), np.zeros(2, np.bool_), np.ones(2), frozenset({0}),
        ('person',), track_ids=np.array([3, 4]),
    )  # fmt: skip
    seen = Detections(
        boxes[:1], np.ones(1, np.float32), np.zeros(1, np.int64), ('person',),
        track_ids=np.array([7]),
    )  # fmt: skip
    run = Execution((), (), 'full', '', 0, (0, 0), {})
    result = Result(1, '', seen, None, None, run)
    frame = Frame(np.zeros((90, 90, 3), np.uint8), 1)
    metric = TrackingMetric()
    sample = Sample(frame, GroundTruth(objects=objects), 'k', 's')
    assert metric.process(sample, result) == {'objects': 2, 'found': 1}
    assert metric.process(Sample(frame, None, 'k', 's'), result) == {}
    assert metric.evaluate()['frames'] == 1
