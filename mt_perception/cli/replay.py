# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception replay``: a bag in lock-step through the real node, evaluated like evaluate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mt_perception.cli.evaluate import SOURCE_OPTIONS, source_options, write_page
from mt_perception.cli.metrics_table import metrics_table
from mt_perception.cli.new_path import NewPath
from mt_perception.cli.processes import (
    NodeProcess,
    configured_node,
    interruptible,
    own_domain,
    prepare_local_ros,
    ros_environment,
)
from mt_perception.cli.shared_options import BUDGET_OPTIONS, COUNT, budget_of, with_options
from mt_perception.errors import NodeError
from mt_perception.evaluation.datasets.open_samples import check_source
from mt_perception.evaluation.datasets.sample_source import source_name
from mt_perception.evaluation.job import Job, run_job
from mt_perception.evaluation.output import OutputFolder
from mt_perception.evaluation.predictor import Predictor, RunSettings, open_predictor
from mt_perception.evaluation.records import FRAMES_FILE, Summary, read_frames, without_timing
from mt_perception.execution.options import Options
from mt_perception.resources import find_model
from mt_perception.types import DETECTION, Frame, Result

if TYPE_CHECKING:
    from mt_perception.nodes.round_trip_predictor import RoundTripPredictor

READY_S = 30.0
THROUGH_NODE, IN_PROCESS = 'through_node', 'in_process'


@click.command()
@click.argument('source')
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option('--out', default='out/replay', type=NewPath(), help='Folder of results.')
@click.option('--limit', type=COUNT, default=0, help='Number of frames; 0: all.')
@click.option('--size', default=0, help="Long side of the network's input; 0: the model's own.")
@click.option('--score', default=0.0, help='Score threshold of detections; AP needs 0.')
@click.option('--save-bag', is_flag=True, help='Write the results as a rosbag2 (mcap) too.')
@with_options(*BUDGET_OPTIONS, *SOURCE_OPTIONS)
@click.pass_context
def replay(context: click.Context, /, source: str, **given: Any) -> None:
    """Play SOURCE frame by frame through the perception node over DDS.

    SOURCE is a bag, or another source of evaluate. The node runs in a process of its own. Each
    frame is sent after all results of the previous one, so no frame is dropped. The same frames
    then run in this process, and the records of both are compared.
    """
    console = Console()
    folder: Path = given['out'] / source_name(source)
    truth = [] if given['truth'] is None else [given['truth']]
    OutputFolder(given['out'], [source, *truth])
    output = OutputFolder(folder)
    check_source(source, source_options(given))
    options = Options(size=given['size'], score_threshold=given['score'])
    settings = RunSettings(options, budget=budget_of(given))
    job = Job(
        source=source,
        model=str(find_model(given['model'])),
        folder=folder / IN_PROCESS,
        source_options=source_options(given),
        settings=settings,
        taxonomy=given['taxonomy'],
        limit=given['limit'] or None,
        save_bag=given['save_bag'],
    )
    through = replace(job, folder=folder / THROUGH_NODE)
    # Before the node starts: its log would truncate that of another replay into this folder.
    with output.exclusive(), _bar(console) as bar:
        predictor = open_predictor(job.model, settings)
        with through_node(predictor, job, through.folder) as replayed:
            theirs = _run(through, bar, 'through the node', replayed)
        ours = _run(replace(job, save_bag=False), bar, 'in process', predictor)
    different = differing_lines(through.folder / FRAMES_FILE, job.folder / FRAMES_FILE)
    console.print(metrics_table([theirs, ours] if different else [theirs]))
    write_page(output, [through, job], console)
    console.print(_times(through.folder / FRAMES_FILE, job.folder / FRAMES_FILE))
    if different:
        console.print(
            f'[bold red]{len(different)} of {ours.counts["frames"]} frames differ[/] from those '
            f'in process (above: through the node, below: in process); the first is line '
            f'{different[0]} of both {FRAMES_FILE} in {escape(str(folder))}',
            highlight=False,
        )
        context.exit(1)
    console.print(
        f'[green]✓[/] all {ours.counts["frames"]} frames came through the node, and every '
        f'record equals the one in process; written to {escape(str(folder))}',
        highlight=False,
    )


@contextmanager
def through_node(predictor: Predictor, job: Job, logs: Path) -> Iterator[Predictor]:
    """The model of a predictor, inside a perception node of its own.

    Args:
        predictor: The same model in this process, for its tasks and labels.
        job: The settings of the model.
        logs: Folder for the output of the node.

    Raises:
        NodeError: The node does not start.
        OutputError: The folder cannot be written.
    """
    # Imported late, so that a missing ROS 2 is reported in one sentence.
    from mt_perception.nodes.round_trip_predictor import RoundTripPredictor

    output = OutputFolder(logs)
    output.file('perception.log')
    domain_id = own_domain()
    prepare_local_ros()
    environment = ros_environment(domain_id)
    labels = predictor.labels.get(DETECTION, ())
    with (
        interruptible(),
        configured_node('perception', _parameters(job), environment, logs) as process,
        RoundTripPredictor(tuple(predictor.labels), labels, domain_id) as link,
    ):
        _wait(link, process)

        def run(frame: Frame) -> Result:
            # Checked for each frame, so that nobody waits for a node that ended.
            process.check()
            return link.run(frame)

        yield replace(predictor, run=run)
        process.check()
    # Only now the log is complete.
    output.finish()


def differing_lines(one: Path, other: Path) -> list[int]:
    """Numbers of the lines that differ except in time; the first line is 1."""
    with one.open(encoding='utf-8') as left, other.open(encoding='utf-8') as right:
        pairs = zip_longest(left, right, fillvalue='{}')
        return [n for n, (a, b) in enumerate(pairs, 1) if without_timing(a) != without_timing(b)]


def _parameters(job: Job) -> Mapping[str, object]:
    options, budget = job.settings.options, job.settings.budget
    return {
        'model': str(Path(job.model).resolve()),
        'runtime.threads': job.settings.threads,
        'runtime.providers': list(job.settings.providers),
        'input.size': options.size,
        'detection.score_threshold': options.score_threshold,
        'detection.iou_threshold': options.nms_iou,
        'detection.max_detections': options.max_detections,
        'tracking.enabled': options.tracking,
        'depth.max_range_m': options.max_depth_m,
        'budget.compute': budget.compute,
        'budget.latency_ms': budget.latency_ms,
        'budget.path': budget.path,
        'budget.max_stale_ms': budget.max_stale_ms,
    }


def _wait(link: RoundTripPredictor, process: NodeProcess) -> None:
    end_s = time.monotonic() + READY_S
    while not link.connect(0.5):
        process.check()
        if time.monotonic() > end_s:
            raise NodeError(
                f'the perception node is not ready after {READY_S:g} s; see perception.log in '
                '--out, and mt_perception doctor'
            )


def _run(job: Job, bar: Progress, what: str, predictor: Predictor) -> Summary:
    task = bar.add_task(what)
    return run_job(
        job, lambda done, total: bar.update(task, completed=done, total=total), predictor
    )


def _bar(console: Console) -> Progress:
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _times(theirs: Path, ours: Path) -> Table:
    """Times by stage, in process and through the node."""
    here = [record.latency_ms for record in read_frames(ours)]
    there = [record.latency_ms for record in read_frames(theirs) if record.latency_ms]
    outside = ('messages', 'transport')
    rows = {
        'pipeline, in process': [frame['total'] for frame in here if frame],
        'pipeline, in the node': [
            frame['total'] - sum(frame[stage] for stage in outside) for frame in there
        ],
        'messages: image to frame, results to topics': [frame['messages'] for frame in there],
        'transport and queues, there and back': [frame['transport'] for frame in there],
        'total, through the node': [frame['total'] for frame in there],
    }
    table = Table(title='milliseconds', title_justify='left', box=None)
    for name in ('', 'p50', 'p95', 'p99'):
        table.add_column(name, justify='right' if name else 'left')
    for name, values in rows.items():
        if values:
            table.add_row(name, *(f'{v:.1f}' for v in np.percentile(values, (50, 95, 99))))
    return table
