# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report: completed evaluations as one HTML page without other files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mt_perception.errors import OutputError
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.output import write_text
from mt_perception.evaluation.runs import Run, read_run
from mt_perception.resources import install_command

if TYPE_CHECKING:
    from mt_perception.evaluation.link.study import LinkStudy

REPORT_FILE = 'report.html'
NEEDED = ('jinja2', 'matplotlib')
MOST_PICTURES = 45
"""Number of pictures in a report, which keeps it small enough for mail."""

MOST_OF_A_KIND = 3


def check_available() -> None:
    """Make sure that a report can be drawn.

    Raises:
        OutputError: A package that the report needs is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise OutputError(f'a report needs {" and ".join(missing)}; {install_command("eval")}')


def write_report(
    path: Path,
    title: str,
    jobs: Sequence[Job],
    failed: Sequence[tuple[str, str]] = (),
    links: Sequence[LinkStudy] = (),
) -> None:
    """Write the report of completed jobs; frames with pictures run again.

    Args:
        path: The HTML file.
        title: Of the page.
        jobs: The jobs in order; the first one of each source is its main one.
        failed: Source and reason of failed jobs.
        links: Times of frames over narrow links.

    Raises:
        OutputError: A package is missing, or the file cannot be written.
        SourceError: Records cannot be read any more.
    """
    check_available()
    # Imported late: only a report needs these packages.
    from mt_perception.evaluation.report.compressed_frames import draw_compressed
    from mt_perception.evaluation.report.compute_effort import draw_effort
    from mt_perception.evaluation.report.frame_pictures import draw
    from mt_perception.evaluation.report.models import model_graphs
    from mt_perception.evaluation.report.page import render

    groups: dict[str, list[tuple[Job, Run]]] = {}
    for job in jobs:
        run = read_run(job.folder)
        groups.setdefault(run.data, []).append((job, run))
    each = max(1, min(MOST_OF_A_KIND, MOST_PICTURES // (3 * len(groups))))
    pictures = [
        draw(*group[0], each if number < MOST_PICTURES // 3 else 0)
        .joined(draw_effort(group, each if number < MOST_PICTURES // 6 else 0))
        .joined(draw_compressed(group, 2 if number < MOST_OF_A_KIND else 0))
        for number, group in enumerate(groups.values())
    ]
    runs = [_with_unique_names([run for _, run in group]) for group in groups.values()]
    models = model_graphs(job.model for job in jobs)
    write_text(path, render(title, runs, pictures, failed, models, links))


def _with_unique_names(runs: Sequence[Run]) -> list[Run]:
    """The runs; equal names get the name of their folder."""
    count = Counter(run.label for run in runs)
    return [
        replace(run, name=f'{run.label} {run.folder.name}') if count[run.label] > 1 else run
        for run in runs
    ]
