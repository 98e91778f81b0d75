# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One evaluation from beginning to end, its files, and what may go wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_bags import Contents, picture, write_bag
from tiny_model import fragile_head, write_tiny_model

from mt_perception.errors import ModelError, OutputError, SourceError
from mt_perception.evaluation.datasets.open_samples import SourceOptions
from mt_perception.evaluation.job import Job, revisit, run_job
from mt_perception.evaluation.output import MARKER, OutputFolder
from mt_perception.evaluation.predictor import RunSettings
from mt_perception.evaluation.records import (
    FrameRecord,
    read_frames,
    read_summary,
    summary_text,
    without_timing,
)
from mt_perception.execution.options import Options

EVERYTHING = Contents(boxes=True, labels=True)
OPTIONS = SourceOptions(topic='/camera/image_raw')


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / 'tiny')


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Job:
    bag = write_bag(tmp_path / 'bag', EVERYTHING)
    return Job(str(bag), str(model), tmp_path / 'out', source_options=OPTIONS)


def lines(folder: Path) -> list[str]:
    return (folder / 'frames.jsonl').read_text().splitlines()


def records(folder: Path) -> list[FrameRecord]:
    return list(read_frames(folder / 'frames.jsonl'))


def test_all_three_tasks_are_measured(job: Job) -> None:
    summary = run_job(job)
    assert summary.metrics['detection']['objects'] == 4
    assert summary.metrics['detection']['ap50'] is not None
    assert summary.metrics['segmentation']['miou'] > 0.5
    assert summary.metrics['depth']['metric']['abs_rel'] > 0
    assert summary.metrics['stability']['pairs'] == 3
    assert summary.counts['frames'] == 4
    assert summary.counts['failed'] == 0
    assert summary.data['truth'] == ('boxes', 'depth', 'labels')
    assert summary.model['name'] == 'tiny'
    assert len(summary.model['sha256']) == 64
    assert summary.machine['cores'] >= 1
    assert summary.versions['onnxruntime']
    assert summary.timing['latency_ms']['total']['p50'] > 0
    read = read_summary(job.folder / 'summary.json')
    assert summary_text(read) == summary_text(summary)


def test_records_hold_what_the_summary_is_made_of(job: Job) -> None:
    run_job(job)
    found = records(job.folder)
    assert [r.key for r in found] == sorted(r.key for r in found)
    for record in found:
        assert record.detections is not None
        assert record.truth is not None
        assert record.truth.labels == ('red',)
        assert record.truth.exhaustive == ('red',)
        assert set(record.digests) == {'image', 'truth', 'depth', 'segmentation'}
        assert set(record.metrics) >= {'detection', 'segmentation', 'depth'}
        assert record.blocks == ('trunk', 'detection', 'segmentation', 'depth')
        assert record.macs > 0


def test_two_runs_are_equal_byte_for_byte_but_for_timing(job: Job, tmp_path: Path) -> None:
    other = replace(job, folder=tmp_path / 'other')
    run_job(job)
    run_job(other)
    first, second = lines(job.folder), lines(other.folder)
    assert [without_timing(a) for a in first] == [without_timing(b) for b in second]
    texts = [(folder / 'summary.json').read_text() for folder in (job.folder, other.folder)]
    assert without_timing(texts[0]) == without_timing(texts[1])
    for line in first:
        assert json.loads(line)['timing']['latency_ms']['total'] > 0


def test_other_pixels_and_other_truth_have_other_hashes(job: Job, tmp_path: Path) -> None:
    same = run_job(job).data
    bag = write_bag(tmp_path / 'other_truth', replace(EVERYTHING, depth='32FC1'))
    other = run_job(replace(job, source=str(bag), folder=tmp_path / 'o')).data
    assert other['sha256'] == same['sha256']
    jpeg = replace(EVERYTHING, compressed=True)
    bag = write_bag(tmp_path / 'jpeg', jpeg)
    other = run_job(replace(job, source=str(bag), folder=tmp_path / 'p')).data
    assert other['sha256'] != same['sha256']


def test_a_finished_job_is_known_again(job: Job, tmp_path: Path) -> None:
    assert job.finished() is None
    summary = run_job(job)
    assert summary_text(job.finished()) == summary_text(summary)
    other = RunSettings(Options(size=128, score_threshold=0.0))
    assert replace(job, settings=other).finished() is None
    (job.folder / 'summary.json').write_text('{"format": 1}')
    assert job.finished() is None


def test_another_model_in_the_same_place_is_another_job(job: Job, model: Path) -> None:
    run_job(job)
    write_tiny_model(model, edit=lambda manifest: manifest.update(version='2'))
    assert job.finished() is None


def test_an_interrupted_run_leaves_no_summary(job: Job) -> None:
    run_job(job)

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, interrupt)
    assert job.finished() is None


def test_limit_and_tasks(job: Job) -> None:
    settings = replace(job.settings, tasks=('depth',))
    summary = run_job(replace(job, limit=2, settings=settings))
    assert summary.counts['frames'] == 2
    assert records(job.folder)[0].blocks == ('trunk', 'depth')
    assert summary.metrics['detection'] == {}
    with pytest.raises(ModelError, match='does not serve pose; it serves'):
        run_job(replace(job, settings=replace(job.settings, tasks=('pose',))))


def test_progress_is_told(job: Job) -> None:
    told: list[tuple[int, int | None]] = []
    run_job(job, lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_task_that_fails_counts_as_failed_and_the_others_are_measured(
    job: Job, model: Path, tmp_path: Path
) -> None:
    write_tiny_model(model, replace={'depth': fragile_head()})
    folder = tmp_path / 'images'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), picture(0))
    cv2.imwrite(str(folder / 'b.png'), np.zeros((48, 64, 3), np.uint8))
    summary = run_job(Job(str(folder), job.model, job.folder))
    good, bad = records(job.folder)
    assert good.failures == {}
    assert 'depth' in bad.failures
    assert bad.detections is not None
    assert summary.counts['failed'] == 1
    assert summary.metrics['cost']['failures'] == {'depth': 1}


def test_refused_frames_are_counted_and_the_next_ones_run(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), np.zeros((48, 64, 3), np.uint8))
    (folder / 'b.png').write_bytes(b'no image')
    cv2.imwrite(str(folder / 'c.png'), np.zeros((48, 64, 3), np.uint8))
    summary = run_job(Job(str(folder), job.model, job.folder))
    assert summary.counts['frames'] == 2
    assert summary.counts['refused'] == 1
    assert list(summary.failures.values()) == [1]
    assert [r.key for r in records(job.folder)] == ['a', 'c']


def test_a_source_without_a_usable_image(job: Job, tmp_path: Path) -> None:
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'b.png').write_bytes(b'no image')
    with pytest.raises(SourceError, match=r'has no usable image.* unknown_compression 1 times'):
        run_job(Job(str(tmp_path / 'images'), job.model, job.folder))
    assert not (job.folder / 'summary.json').exists()


def test_pseudo_truth_is_marked(job: Job) -> None:
    summary = run_job(replace(job, reference=job.model))
    assert summary.data['pseudo'] == 'tiny'
    assert all(r.truth is not None and r.truth.pseudo == 'tiny' for r in records(job.folder))
    # A model agrees with itself.
    assert summary.metrics['segmentation']['miou'] == 1
    assert summary.metrics['depth']['metric']['abs_rel'] == 0
    assert summary.metrics['detection']['ap50'] > 0.9


def test_a_reference_needs_no_truth_in_the_bag(job: Job, tmp_path: Path) -> None:
    far = replace(EVERYTHING, truth_delay_ns=3600 * 10**9)
    bag = write_bag(tmp_path / 'far', far)
    with pytest.raises(SourceError, match='no ground truth is near'):
        run_job(replace(job, source=str(bag)))
    summary = run_job(replace(job, source=str(bag), reference=job.model))
    assert summary.metrics['depth']['metric']['abs_rel'] == 0


def test_revisited_frames_give_the_same_results(job: Job) -> None:
    run_job(job)
    wanted = records(job.folder)[1::2]
    seen = list(revisit(job, {r.key for r in wanted}))
    assert [s.key for s, _ in seen] == [r.key for r in wanted]
    for record, (_, result) in zip(wanted, seen, strict=True):
        assert result.detections is not None
        assert record.detections is not None
        np.testing.assert_array_equal(result.detections.boxes, record.detections.boxes)


@pytest.mark.parametrize('place', ['/proc/no', '{tmp}/file/out', '/dev/null/out'])
def test_output_that_cannot_be_written(job: Job, tmp_path: Path, place: str) -> None:
    (tmp_path / 'file').write_text('')
    folder = Path(place.format(tmp=tmp_path))
    with pytest.raises(OutputError, match='cannot write to'):
        run_job(replace(job, folder=folder))


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_full_disk(job: Job) -> None:
    OutputFolder(job.folder).file('frames.jsonl.partial').symlink_to('/dev/full')
    with pytest.raises(OutputError, match='No space left'):
        run_job(job)
    assert job.finished() is None


def test_names_from_a_bag_stay_data(job: Job, tmp_path: Path) -> None:
    evil = '../../<script>alert(1)</script>/etc'
    contents = replace(EVERYTHING, cameras=['/../../up/<b>'], frame_id=evil)
    bag = write_bag(tmp_path / 'evil', contents)
    before = set(tmp_path.rglob('*'))
    options = replace(OPTIONS, topic='/../../up/<b>')
    run_job(replace(job, source=str(bag), source_options=options, save_bag=True))
    made = set(tmp_path.rglob('*')) - before
    assert all(path.is_relative_to(job.folder) for path in made)
    assert {path.name for path in made if path.is_file()} == {
        MARKER,
        'frames.jsonl',
        'summary.json',
        'metadata.yaml',
        'results.mcap',
    }
