# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results as a bag of standard messages."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from small_bags import Contents, write_bag
from tiny_model import write_tiny_model

from mt_perception.errors import OutputError
from mt_perception.evaluation.datasets.open_samples import SourceOptions
from mt_perception.evaluation.datasets.truth_topics import TruthTopics
from mt_perception.evaluation.job import Job, run_job
from mt_perception.evaluation.output import MARKER
from mt_perception.evaluation.records import read_frames


@pytest.fixture
def job(tmp_path: Path) -> Job:
    bag = write_bag(tmp_path / 'bag', Contents())
    model = write_tiny_model(tmp_path / 'tiny')
    return Job(str(bag), str(model), tmp_path / 'out', save_bag=True)


def test_topics_messages_and_stamps(job: Job) -> None:
    run_job(job)
    with AnyReader([job.folder / 'results']) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        assert counts == {
            '/image/compressed': 4,
            '/camera_info': 4,
            '/perception/detections': 4,
            '/perception/depth/image': 4,
            '/perception/depth/camera_info': 4,
            '/perception/segmentation/image': 4,
            '/perception/segmentation/label_info': 1,
            '/perception/overlay/image/compressed': 4,
        }
        for connection, time, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp
            assert stamp.sec * 1_000_000_000 + stamp.nanosec == time
            assert message.header.frame_id == 'camera_optical'


def test_results_can_be_taken_for_truth(job: Job, tmp_path: Path) -> None:
    """What was written is what was found: judged against it, the model is perfect."""
    run_job(job)
    truth = TruthTopics(
        depth='/perception/depth/image',
        boxes='/perception/detections',
        labels='/perception/segmentation/image',
    )
    first = list(read_frames(job.folder / 'frames.jsonl'))
    again = replace(
        job,
        source=str(job.folder / 'results'),
        folder=tmp_path / 'again',
        save_bag=False,
        source_options=SourceOptions(topic='/image/compressed', truth_topics=truth),
    )
    summary = run_job(again)
    assert summary.metrics['depth']['coverage'] == 1
    for old, new in zip(first, read_frames(again.folder / 'frames.jsonl'), strict=True):
        assert old.detections is not None
        assert new.truth is not None
        assert new.truth.boxes is not None
        np.testing.assert_array_equal(new.truth.boxes, old.detections.boxes)
        assert new.truth.labels == old.detections.labels
        assert new.truth.segmentation


def test_an_older_bag_is_replaced_but_nothing_else(job: Job) -> None:
    run_job(job)
    run_job(job)
    assert (job.folder / 'results' / 'metadata.yaml').is_file()
    for file in (job.folder / 'results').iterdir():
        file.unlink()
    (job.folder / 'results' / 'notes.txt').write_text('mine')
    with pytest.raises(OutputError, match='did not write'):
        run_job(job)
    assert (job.folder / 'results' / 'notes.txt').is_file()


def test_an_interrupted_bag_is_not_left_behind(job: Job) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, interrupt)
    assert {p.name for p in job.folder.iterdir()} == {'frames.jsonl.partial', MARKER}


def test_ros_itself_reads_every_message(job: Job) -> None:
    serialization = pytest.importorskip('rclpy.serialization')
    pytest.importorskip('vision_msgs')
    run_job(job)
    with AnyReader([job.folder / 'results']) as reader:
        for connection, _, data in reader.messages():
            package, _, name = connection.msgtype.split('/')
            kind = getattr(import_module(f'{package}.msg'), name)
            message = serialization.deserialize_message(data, kind)
            assert message.header.frame_id == 'camera_optical'
            if connection.msgtype.endswith('Detection2DArray'):
                assert {r.results[0].hypothesis.class_id for r in message.detections} == {'red'}
