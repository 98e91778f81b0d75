# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Renders the sections of a report into one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mt_perception.evaluation.link.study import LinkStudy
from mt_perception.evaluation.report.frame_pictures import Pictures
from mt_perception.evaluation.report.models import ModelGraph
from mt_perception.evaluation.report.sections import section
from mt_perception.evaluation.report.tables import overview_table
from mt_perception.evaluation.runs import Run

TEMPLATES = Path(__file__).with_name('templates')


def render(
    title: str,
    groups: Sequence[Sequence[Run]],
    pictures: Sequence[Pictures],
    failed: Sequence[tuple[str, str]] = (),
    models: Sequence[ModelGraph] = (),
    links: Sequence[LinkStudy] = (),
) -> str:
    """The whole page; text from bags and data sets is escaped.

    Args:
        title: Of the page.
        groups: The runs of each source, the main one first.
        pictures: Frames of the first run of each source.
        failed: Source and reason of failed jobs.
        models: Task graphs of the models.
        links: Times of frames over narrow links.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    first = groups[0][0].summary
    machine = {**first.machine, 'memory': f'{first.machine["memory_bytes"] / 2**30:.0f} GiB'}
    machine.pop('memory_bytes')
    return environment.get_template('page.html').render(
        title=title,
        style=(TEMPLATES / 'style.css').read_text(encoding='utf-8'),
        sections=[
            section(number, runs, shown, links)
            for number, (runs, shown) in enumerate(zip(groups, pictures, strict=True))
        ],
        overview=overview_table([runs[0] for runs in groups]) if len(groups) > 1 else None,
        failed=failed,
        models=models,
        machine=sorted(machine.items()),
        versions=sorted(first.versions.items()),
    )
