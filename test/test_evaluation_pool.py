# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Many jobs in one process, in several, and on Ray; one that fails stops no other."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_bags import Contents, write_bag
from tiny_model import write_tiny_model

from mt_perception.evaluation import pool
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.pool import JobResult, run_here, run_in_pool, run_on_ray
from mt_perception.evaluation.records import read_frames, without_timing


@pytest.fixture
def ten(tmp_path: Path) -> list[Job]:
    """Ten bags, of which the fourth is truncated."""
    model = write_tiny_model(tmp_path / 'tiny')
    jobs = []
    for index in range(10):
        bag = write_bag(tmp_path / f'bag{index}', Contents(frames=2 + index % 3))
        jobs.append(Job(str(bag), str(model), tmp_path / 'out' / bag.name))
    file = next(Path(jobs[3].source).glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:3000])
    return jobs


def check_nine_and_a_named_failure(outcomes: list[JobResult], ten: list[Job]) -> None:
    assert len(outcomes) == 10
    good = [o for o in outcomes if o.summary]
    (bad,) = [o for o in outcomes if not o.summary]
    assert len(good) == 9
    assert bad.job == ten[3]
    assert 'bag3' in bad.error
    assert 'cannot be read' in bad.error
    for outcome in good:
        frames = list(read_frames(outcome.job.folder / 'frames.jsonl'))
        assert len(frames) == outcome.summary.counts['frames']


def test_one_bad_bag_of_ten_one_by_one(ten: list[Job]) -> None:
    check_nine_and_a_named_failure(list(run_here(ten)), ten)


def test_one_bad_bag_of_ten_in_a_pool(ten: list[Job], tmp_path: Path) -> None:
    outcomes = list(run_in_pool(ten, 2))
    check_nine_and_a_named_failure(outcomes, ten)
    alone = replace(ten[0], folder=tmp_path / 'alone')
    list(run_here([alone]))
    here, there = (f / 'frames.jsonl' for f in (alone.folder, ten[0].folder))
    assert [without_timing(line) for line in here.read_text().splitlines()] == [
        without_timing(line) for line in there.read_text().splitlines()
    ]


def test_a_fault_of_ours_stays_inside_its_job(ten: list[Job]) -> None:
    wrong = replace(ten[0], taxonomy=3)
    outcomes = list(run_here([wrong, ten[1]]))
    assert 'unexpected' in outcomes[0].error
    assert outcomes[1].summary


class DeadlyTaxonomy:
    """Kills the process that reads it, as a fault in native code would."""

    def __fspath__(self) -> str:
        os._exit(9)

    def stat(self) -> None:
        os._exit(9)


def test_a_process_that_dies_is_named_and_the_others_run(ten: list[Job]) -> None:
    deadly = replace(ten[0], taxonomy=DeadlyTaxonomy())
    outcomes = list(run_in_pool([ten[1], deadly, ten[2]], 2))
    assert {o.job.source: bool(o.summary) for o in outcomes} == {
        ten[1].source: True,
        deadly.source: False,
        ten[2].source: True,
    }
    (dead,) = [o for o in outcomes if not o.summary]
    assert 'process died' in dead.error


def test_opencv_takes_one_thread_in_a_worker() -> None:
    with pool._executor(1) as executor:
        import cv2

        assert executor.submit(cv2.getNumThreads).result() == 1


@pytest.mark.skipif('RAY_ADDRESS' not in os.environ, reason='needs a cluster: make test-ray')
def test_ray_gives_the_same(ten: list[Job]) -> None:
    pytest.importorskip('ray')
    check_nine_and_a_named_failure(list(run_on_ray(ten)), ten)
