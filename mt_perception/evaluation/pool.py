# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs many jobs: one by one, in several processes, or on a Ray cluster."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import cv2

from mt_perception.errors import OptionError, PerceptionError
from mt_perception.evaluation.job import Job, run_job
from mt_perception.evaluation.predictor import Predictor
from mt_perception.evaluation.records import Summary
from mt_perception.evaluation.runner import Progress


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a summary, or the reason why there is none.

    Attributes:
        job: The job.
        summary: Its summary, or None.
        error: Why there is none, in one sentence.
        kept: Whether the summary is that of an earlier run.
    """

    job: Job
    summary: Summary | None = None
    error: str = ''
    kept: bool = False


def attempt(
    job: Job,
    progress: Progress = lambda done, total: None,
    opened: Callable[[Job], Predictor | None] = lambda job: None,
) -> Outcome:
    """Run a job; whatever goes wrong in it becomes its outcome and stays inside it.

    Args:
        job: The job.
        progress: Told after every frame.
        opened: Opens the model of a job in a way of its own, or leaves that to the job.
    """
    try:
        return Outcome(job, run_job(job, progress, opened(job)))
    except PerceptionError as error:
        return Outcome(job, error=str(error))
    except Exception as error:  # One bag of many may hit a fault of ours: the others still run.
        return Outcome(job, error=f'unexpected {type(error).__name__}: {error}')


def run_here(
    jobs: Sequence[Job],
    progress: Callable[[Job], Progress] = lambda job: lambda done, total: None,
    opened: Callable[[Job], Predictor | None] = lambda job: None,
) -> Iterator[Outcome]:
    """Run jobs one after the other in this process.

    Args:
        jobs: The jobs.
        progress: Makes, for each job, what is told after each of its frames.
        opened: Opens the model of a job in a way of its own, or leaves that to the job.
    """
    for job in jobs:
        yield attempt(job, progress(job), opened)


def run_in_pool(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Run jobs in several processes; outcomes come as they are ready.

    A process that dies (out of memory, a fault in native code) takes the pool with it: the jobs
    that were left are then run alone, each in a process of its own, and so the culprit is named.
    """
    left = list(jobs)
    with _executor(workers) as executor:
        futures = {executor.submit(attempt, job): job for job in left}
        for future in as_completed(futures):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                break
            left.remove(futures[future])
            yield outcome
    for job in left:
        yield _alone(job)


def _alone(job: Job) -> Outcome:
    with _executor(1) as executor:
        try:
            return executor.submit(attempt, job).result()
        except BrokenProcessPool:
            return Outcome(job, error='its process died: out of memory, or a fault in native code')


def _executor(workers: int) -> ProcessPoolExecutor:
    # Not forked: ONNX Runtime's and OpenCV's threads do not survive a fork.
    return ProcessPoolExecutor(workers, get_context('spawn'), initializer=_one_thread)


def _one_thread() -> None:
    """The processes share the cores; OpenCV alone would take them all in each."""
    cv2.setNumThreads(1)


def run_on_ray(jobs: Sequence[Job], workers: int | None = None) -> Iterator[Outcome]:
    """Run jobs on the cluster that ``RAY_ADDRESS`` names, or on one started here.

    Sources, models and the output folder must have the same paths on every machine (a shared
    file system), and mt_perception must be installed on all of them.

    Args:
        jobs: The jobs.
        workers: Processors of a cluster started here; None takes all of this machine.

    Raises:
        OptionError: Ray is not installed.
    """
    try:
        ray = importlib.import_module('ray')
    except ImportError as error:
        raise OptionError('ray is not installed; pip install "mt_perception[ray]"') from error
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        yield from _outcomes(ray, jobs)
    finally:
        if started_here:
            ray.shutdown()


def _outcomes(ray: Any, jobs: Sequence[Job]) -> Iterator[Outcome]:
    remote = ray.remote(max_retries=0)(attempt)
    pending = {
        remote.options(num_cpus=max(1, job.settings.threads)).remote(job): job for job in jobs
    }
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1)
        for reference in ready:
            job = pending.pop(reference)
            try:
                yield ray.get(reference)
            except ray.exceptions.RayError as error:
                reason = str(error).splitlines()[0]
                yield Outcome(job, error=f'its Ray worker died: {reason}')
