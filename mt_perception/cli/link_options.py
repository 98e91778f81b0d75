# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options of ``evaluate`` that measure what a frame takes over narrow links."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.link.study import (
    DELAY_MS,
    LINK_FILE,
    LinkSettings,
    LinkStudy,
    kept_study,
    write_study,
)
from mt_perception.evaluation.peers.opening import PREFIX

LINK_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        '--link',
        metavar='MBIT_S,…',
        help='Also time frames over links of so many Mbit/s: run here, sent as JPEG, as features.',
    ),
    click.option(
        '--link-delay-ms', default=DELAY_MS, show_default=True, help='Of these links, one way.'
    ),
)


def link_settings(given: Mapping[str, Any]) -> LinkSettings | None:
    """What was typed for LINK_OPTIONS; None where nothing was."""
    if not given['link']:
        return None
    try:
        mbit_s = tuple(sorted({float(text) for text in given['link'].split(',')}))
    except ValueError as error:
        raise click.UsageError(f'--link is a list such as 0.5,1,5: {error}') from error
    if not all(0 < value < 1e5 for value in mbit_s) or not 0 <= given['link_delay_ms'] < 1e4:
        raise click.UsageError('--link and --link-delay-ms must be above 0, and not too large')
    return LinkSettings(mbit_s, given['link_delay_ms'])


def measured_links(
    jobs: Sequence[Job], settings: LinkSettings, fresh: bool, console: Console
) -> tuple[list[LinkStudy], list[tuple[str, str]]]:
    """Measure every source with every model of ours.

    Args:
        jobs: The jobs of the evaluation.
        settings: What to measure.
        fresh: Whether to measure again what is there already.
        console: Where progress is shown.

    Returns:
        The studies, and (source, reason) of those that failed.
    """
    # What it takes is an extra; where it is missing the command says which one.
    from mt_perception.evaluation.link.measure import measure

    studies, failed = [], []
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        for job in _once(jobs):
            path = (job.folder.parent if job.swept else job.folder) / LINK_FILE
            kept = None if fresh else kept_study(path, job, settings)
            if kept is not None:
                studies.append(kept)
                continue
            task = bar.add_task(f'{job.name} over links', total=None)

            def progress(done: int, total: int, task: Any = task) -> None:
                bar.update(task, completed=done, total=total)

            try:
                study = measure(replace(job, reference=None), settings, progress)
                write_study(path, study)
            except PerceptionError as error:
                failed.append((job.source, f'over links: {error}'))
            else:
                studies.append(study)
    return studies, failed


def _once(jobs: Sequence[Job]) -> list[Job]:
    """The first job of every source and model folder, without what was swept beside them."""
    first: dict[tuple[str, str], Job] = {}
    for job in jobs:
        if not job.model.startswith(PREFIX):
            plain = replace(job, settings=replace(job.settings, codec=''))
            first.setdefault((job.source, job.model), plain)
    return list(first.values())
