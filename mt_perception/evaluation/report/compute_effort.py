# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compute of each frame: budgets, paths over time, easy and hard frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.job import Job, revisit
from mt_perception.evaluation.records import FrameRecord
from mt_perception.evaluation.report.frame_pictures import Pictures, Shown, show
from mt_perception.evaluation.report.svg import FULL_IN, canvas, colour, legend, plot, to_svg
from mt_perception.evaluation.report.svg import printable as safe
from mt_perception.evaluation.report.tables import Cell, Row, Table
from mt_perception.evaluation.runs import Run

EASY, HARD = 'easy', 'hard'
MOST_STRIPS = 12


def effort_table(runs: Sequence[Run]) -> Table | None:
    """Wanted and realised compute of every run; None if no run has a budget or a choice.

    Realised compute is a fraction of the run with most: in a sweep, that of budget 1.
    """
    budgets = [run.summary.parameters.get('budget') or {} for run in runs]
    allowed = [float(budget.get('compute', 1)) for budget in budgets]
    chosen = [_chosen(run) for run in runs]
    if all(value == 1 for value in allowed) and not any(chosen):
        return None
    spent = [float(run.summary.counts['macs_mean']) for run in runs]
    most = max(spent) or 1.0
    rows = []
    for run, compute, mean in zip(runs, allowed, spent, strict=True):
        ages = [float(frame.extra['reuse.age_ms']) for frame in run.frames if _is_reused(frame)]
        cells = (
            f'{compute:g}',
            f'{mean / most:.3f}',
            f'{100 * len(ages) / max(1, len(run.frames)):.0f} %',
            f'{max(ages):.0f}' if ages else '-',
        )
        rows.append(Row(run.label, '', tuple(map(Cell, cells))))
    columns = (
        ('wanted', 'fraction of the full path'),
        ('realised', 'fraction of the run with most compute'),
        ('reused', 'frames with a result of an earlier one'),
        ('oldest', 'ms, age of a reused result'),
    )
    return Table('Budgets', columns, tuple(rows))


def _chosen(run: Run) -> bool:
    """Whether the frames of a run have different paths."""
    return len({frame.path for frame in run.frames if not frame.failures}) > 1


def _is_reused(frame: FrameRecord) -> bool:
    return 'reuse.age_ms' in frame.extra


@plot
def path_strips(runs: Sequence[Run], name: str) -> str:
    """The path of every frame, in their order: a line of colours for each run.

    Args:
        runs: The runs.
        name: Unique on the page.
    """
    figure, axes = canvas(FULL_IN, 0.4 * len(runs) + 0.9)
    paths = sorted({frame.path or 'refused' for run in runs for frame in run.frames})
    for row, run in enumerate(runs):
        taken = np.array([paths.index(frame.path or 'refused') for frame in run.frames])
        for number, path in enumerate(paths):
            spans = [(int(at) - 0.5, 1.0) for at in np.flatnonzero(taken == number)]
            axes.broken_barh(
                spans, (row - 0.35, 0.7), color=colour(number), linewidth=0,
                label=safe(path) if row == 0 else None,
            )  # fmt: skip
    axes.set_yticks(range(len(runs)), [safe(run.label) for run in runs], fontsize=8.5)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xlabel('frame')
    legend(figure, axes, 6)
    return to_svg(figure, name, 'the path of every frame')


def with_choice(runs: Sequence[Run]) -> list[Run]:
    """The runs whose frames have different paths, at most ``MOST_STRIPS``."""
    return [run for run in runs if _chosen(run)][:MOST_STRIPS]


def easy_and_hard(frames: Sequence[FrameRecord], each: int) -> dict[str, str]:
    """The keys of the frames with least and most compute, with their kind.

    Frames with reused results are ignored: their compute says nothing of their difficulty.
    """
    made = [f for f in frames if f.macs and not f.failures and not _is_reused(f)]
    # The network's input differs with the shape of the image: what counts is its own share.
    costs = {f.path: np.mean([g.macs for g in made if g.path == f.path]) for f in made}
    if len(costs) < 2:
        return {}
    order = sorted(costs, key=lambda path: costs[path])
    found: dict[str, str] = {}
    for kind, path in ((EASY, order[0]), (HARD, order[-1])):
        taken = [frame.key for frame in made if frame.path == path]
        picks = np.linspace(0, len(taken) - 1, min(each, len(taken))).round().astype(int)
        found |= {taken[i]: kind for i in picks}
    return found


def draw_effort(group: Sequence[tuple[Job, Run]], each: int) -> Pictures:
    """Pictures of easy and of hard frames, by the run that tells them apart most evenly.

    Args:
        group: The jobs on one source and what became of them.
        each: How many of either kind.
    """
    kinds: dict[str, str] = {}
    best: tuple[Job, Run] | None = None
    for job, run in group:
        found = easy_and_hard(run.frames, each)
        if len(found) > len(kinds):
            kinds, best = found, (job, run)
    if best is None:
        return Pictures()
    job, run = best
    records = {record.key: record for record in run.frames}
    made: list[Shown] = []
    try:
        for sample, result in revisit(job, set(kinds)):
            made.append(show(kinds[sample.key], records[sample.key], sample, result))
    except PerceptionError as error:
        return Pictures(warning=f'There are no pictures of easy and hard frames: {error}')
    return Pictures(tuple(sorted(made, key=lambda shown: shown.kind)))
