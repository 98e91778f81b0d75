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

from mt_perception.errors import OptionError, OutputError, PerceptionError
from mt_perception.evaluation.job import Job, run_job
from mt_perception.evaluation.predictor import Predictor
from mt_perception.evaluation.records import Summary
from mt_perception.evaluation.runner import Progress
from mt_perception.resources import install_command

_NAMED = 3
"""Differences that an error names."""


@dataclass(frozen=True)
class JobResult:
    """The result of a job: a summary, or an error.

    Attributes:
        job: The job.
        summary: Its summary, or None.
        error: The reason for None, in one sentence.
        kept: Whether the summary is from an earlier run.
    """

    job: Job
    summary: Summary | None = None
    error: str = ''
    kept: bool = False


def completed(jobs: Sequence[Job]) -> list[JobResult]:
    """The jobs that are complete, from their folders.

    Raises:
        OutputError: A folder holds a completed evaluation of something else.
    """
    kept = []
    for job in jobs:
        earlier = job.earlier()
        if earlier is None:
            continue
        summary, changed = earlier
        if changed:
            more = f' and {len(changed) - _NAMED} more' if len(changed) > _NAMED else ''
            raise OutputError(
                f'{job.folder} holds a completed evaluation that differs in '
                f'{", ".join(changed[:_NAMED])}{more}; to keep it, choose another --out; to '
                'evaluate again and replace it, add --fresh'
            )
        kept.append(JobResult(job, summary, kept=True))
    return kept


def attempt(
    job: Job,
    progress: Progress = lambda done, total: None,
    opened: Callable[[Job], Predictor | None] = lambda job: None,
) -> JobResult:
    """Run a job; an error becomes its result.

    Args:
        job: The job.
        progress: Called after each frame.
        opened: Loads the model of a job; None lets the job load it.
    """
    try:
        return JobResult(job, run_job(job, progress, opened(job)))
    except PerceptionError as error:
        return JobResult(job, error=str(error))
    except Exception as error:  # A bug on one bag must not stop the other jobs.
        return JobResult(job, error=f'unexpected {type(error).__name__}: {error}')


def run_here(
    jobs: Sequence[Job],
    progress: Callable[[Job], Progress] = lambda job: lambda done, total: None,
    opened: Callable[[Job], Predictor | None] = lambda job: None,
) -> Iterator[JobResult]:
    """Run jobs one after the other in this process.

    Args:
        jobs: The jobs.
        progress: Returns, for a job, the function to call after each of its frames.
        opened: Loads the model of a job; None lets the job load it.
    """
    for job in jobs:
        yield attempt(job, progress(job), opened)


def run_in_pool(jobs: Sequence[Job], workers: int) -> Iterator[JobResult]:
    """Run jobs in several processes; results are yielded as they are ready.

    A process that dies (out of memory, a crash in native code) breaks the pool. The remaining jobs
    then run one by one, each in a process of its own, which identifies the job that crashes.
    """
    left = list(jobs)
    with _executor(workers) as executor:
        futures = {executor.submit(attempt, job): job for job in left}
        for future in as_completed(futures):
            try:
                result = future.result()
            except BrokenProcessPool:
                break
            left.remove(futures[future])
            yield result
    for job in left:
        yield _alone(job)


def _alone(job: Job) -> JobResult:
    with _executor(1) as executor:
        try:
            return executor.submit(attempt, job).result()
        except BrokenProcessPool:
            return JobResult(job, error='the process died: out of memory, or a native crash')


def _executor(workers: int) -> ProcessPoolExecutor:
    # Not forked: ONNX Runtime's and OpenCV's threads do not survive a fork.
    return ProcessPoolExecutor(workers, get_context('spawn'), initializer=_one_thread)


def _one_thread() -> None:
    """The processes share the cores; OpenCV would use all of them in each."""
    cv2.setNumThreads(1)


def run_on_ray(jobs: Sequence[Job], workers: int | None = None) -> Iterator[JobResult]:
    """Run jobs on the cluster of ``RAY_ADDRESS``, or on a local one.

    Sources, models and the output folder must have the same paths on every machine (a shared
    file system), and mt_perception must be installed on all of them.

    Args:
        jobs: The jobs.
        workers: CPUs of a local cluster; None uses all.

    Raises:
        OptionError: Ray is not installed.
    """
    try:
        ray = importlib.import_module('ray')
    except ImportError as error:
        raise OptionError(f'ray is not installed; {install_command("ray")}') from error
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        yield from _results(ray, jobs)
    finally:
        if started_here:
            ray.shutdown()


def _results(ray: Any, jobs: Sequence[Job]) -> Iterator[JobResult]:
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
                yield JobResult(job, error=f'the Ray worker died: {reason}')
