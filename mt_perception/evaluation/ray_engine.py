# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Many jobs on a Ray cluster: the same work as in the local pool, on other machines."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from mt_perception.errors import OptionError
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.pool import Outcome, attempt


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
