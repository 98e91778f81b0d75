# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception evaluate``: accuracy and speed of models on data with ground truth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mt_perception.cli.metrics_table import link_times_table, metrics_table, reliability_table
from mt_perception.cli.new_path import NewPath
from mt_perception.cli.run import check_focal_px, read_calibration
from mt_perception.cli.shared_options import (
    BUDGET_OPTIONS,
    COUNT,
    DEPTH_OPTIONS,
    LINK_OPTIONS,
    OFFLOAD_OPTIONS,
    PROVIDER,
    TOLERANCE_MS,
    budget_of,
    depth_options,
    link_settings,
    measured_links,
    offload_summary,
    offloaded,
    threads_option,
    with_options,
)
from mt_perception.errors import OutputError
from mt_perception.evaluation.datasets.mot import find_tracks
from mt_perception.evaluation.datasets.open_samples import SourceOptions
from mt_perception.evaluation.datasets.taxonomy import DEFAULT_TAXONOMY
from mt_perception.evaluation.datasets.truth_topics import TruthTopics
from mt_perception.evaluation.exports.rerun_file import check_rerun_file
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.link.study import LinkStudy
from mt_perception.evaluation.output import OutputFolder, check_new_text, write_new_text
from mt_perception.evaluation.pool import JobResult, completed, run_here, run_in_pool, run_on_ray
from mt_perception.evaluation.predictor import Predictor, RunSettings, open_predictor
from mt_perception.evaluation.records import Summary
from mt_perception.evaluation.report import REPORT_FILE, check_available, write_report
from mt_perception.evaluation.requirements import (
    check_requirements,
    is_junit_xml,
    junit_xml,
    parse_requirements,
)
from mt_perception.evaluation.sweep import SWEEPABLE, parse_grid, plan_jobs
from mt_perception.execution.options import Options
from mt_perception.pipeline import Pipeline
from mt_perception.resources import find_model
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

OFFLOAD_DEADLINE_MS = 10_000.0
"""Accuracy is evaluated, not time: no frame may miss its deadline."""

_NEW_FILE = NewPath(dir_okay=False)
_FOLDER = click.Path(exists=True, file_okay=False)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option('--model', 'models', multiple=True,
                 help='Installed model or model folder; may be repeated. Default: cspnano.'),
    click.option('--baseline', '--peer', 'baselines', multiple=True,
                 help='ONNX networks to compare with: onnx:FILE[:KIND][+FILE…]; may be repeated.'),
    click.option('--reference', help='Installed model or folder: its results are ground truth.'),
    click.option('--out', default='out/evaluation', type=NewPath(), help='Folder of results.'),
    click.option(
        '--sweep',
        'sweeps',
        multiple=True,
        help=f'NAME=VALUE,…; may be repeated. NAME: {", ".join(SWEEPABLE)}.',
    ),
    click.option(
        '--limit', type=COUNT, default=0, help='Number of frames of each source; 0: all.'
    ),
    click.option(
        '--fresh', is_flag=True, help='Repeat and replace completed evaluations in --out.'
    ),
    click.option(
        '--engine',
        type=click.Choice(['local', 'ray']),
        default='local',
        help='Processes on this computer, or a Ray cluster.',
    ),
    click.option('--workers', type=COUNT, default=0, help='Processes; 0: one for each source.'),
    click.option('--report/--no-report', default=True, help='Write report.html.'),
    click.option(
        '--require',
        default='',
        show_default=False,
        metavar='METRIC>=NUMBER,…',
        help='Exit status 1 unless these hold, for example detection.ap>=0.3,depth.abs_rel<=0.2.',
    ),
    click.option(
        '--junit',
        type=_NEW_FILE,
        metavar='FILE.xml',
        help='Write the outcome of --require as JUnit XML.',
    ),
    click.option('--save-bag', is_flag=True, help='Write the results as a rosbag2 (mcap) too.'),
    click.option(
        '--rerun',
        type=_NEW_FILE,
        metavar='FILE.rrd',
        help='Write a recording for the Rerun viewer; for one evaluation.',
    ),
    click.option(
        '--coco',
        type=NewPath(),
        metavar='FOLDER',
        help='Write images, truth and detections for FiftyOne; for one evaluation.',
    ),
    click.option('--size', default=0, help="Long side of the network's input; 0: the model's."),
    click.option('--score', default=0.0, help='Score threshold of detections; AP needs 0.'),
    threads_option(1),
    PROVIDER,
    click.option(
        '--task',
        'tasks',
        multiple=True,
        type=click.Choice([DETECTION, SEGMENTATION, DEPTH]),
        help='Run only this task; may be repeated.',
    ),
)  # fmt: skip
SOURCE_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option('--topic', help='Image topic of a bag.'),
    click.option('--depth-topic', help='Topic with true depth; "none": ignore depth.'),
    click.option('--boxes-topic', help='Topic with true boxes (Detection2DArray).'),
    click.option('--labels-topic', help='Topic with true label images.'),
    click.option('--tolerance-ms', type=TOLERANCE_MS, default=20.0,
                 help='Largest time offset of ground truth, in ms.'),
    click.option('--truth', type=_FOLDER, help='Folder of ground truth, for a source without.'),
    click.option('--class-names', type=_FILE, help='YAML file with names of numeric class ids.'),
    click.option('--taxonomy', type=_FILE, default=DEFAULT_TAXONOMY, show_default=False,
                 help='YAML file that maps class names to labels.'),
    click.option('--split', help='Part of a data set, such as val2017 or held_out.'),
    click.option('--camera-info', type=_FILE, help='Calibration file (YAML).'),
    click.option('--focal-px', type=float, help='Focal length in pixels, without a calibration.'),
)  # fmt: skip


@click.command()
@click.argument('sources', nargs=-1, required=True)
@with_options(
    *_OPTIONS,
    *DEPTH_OPTIONS,
    *BUDGET_OPTIONS,
    *OFFLOAD_OPTIONS,
    *LINK_OPTIONS,
    *SOURCE_OPTIONS,
)
@click.pass_context
def evaluate(context: click.Context, /, sources: tuple[str, ...], **given: Any) -> None:
    """Evaluate models on SOURCES: bags, data sets, folders of images, videos.

    Each frame completes before the next one is read, so two runs give the same metrics. Writes
    frames.jsonl and summary.json to --out for each source, model and point of a sweep, and
    report.html. Completed evaluations in --out are kept: an interrupted sweep continues. One that
    was made with other options or other content of the inputs is replaced only with --fresh.
    """
    console = Console()
    requirements = parse_requirements(given['require']) if given['require'] else ()
    truth = [] if given['truth'] is None else [given['truth']]
    output = OutputFolder(given['out'], [*sources, *truth])
    jobs = _jobs(sources, given)
    links = link_settings(given)
    _check_exports(jobs, output, given)
    results = [] if given['fresh'] else completed(jobs)
    if given['rerun'] or given['coco']:
        # An export needs the frames.
        results = []
    if results:
        console.print(f'{len(results)} of {len(jobs)} are complete (--fresh repeats them)')
    done = {result.job.folder for result in results}
    left = [job for job in jobs if job.folder not in done]
    with _progress(console, len(left)) as bar:
        for result in _run(left, given, bar) if left else ():
            results.append(result)
            if not result.summary:
                bar.console.print(_failure(result), highlight=False)
    order = {job.folder: number for number, job in enumerate(jobs)}
    results.sort(key=lambda result: order[result.job.folder])
    summaries = [result.summary for result in results if result.summary]
    failed = [(o.job.source, o.error) for o in results if not o.summary]
    studies: list[LinkStudy] = []
    if summaries:
        console.print(metrics_table(summaries))
        for table in filter(None, map(reliability_table, summaries)):
            console.print(table)
        _print_notes(summaries, console)
        if links is not None:
            studies, stuck = measured_links(jobs, links, given['fresh'], console)
            failed += stuck
            for study in studies:
                console.print(link_times_table(study))
        if given['report']:
            done_jobs = [o.job for o in results if o.summary]
            write_page(output, done_jobs, console, failed, studies)
        console.print(f'written to {escape(str(given["out"]))}', highlight=False)
    checks = check_requirements(requirements, summaries)
    for check in checks:
        mark = '[green]✓[/]' if check.passed else '[red]✗[/]'
        console.print(f'{mark} {escape(str(check))}', highlight=False, soft_wrap=True)
    if given['junit'] is not None:
        write_new_text(given['junit'], junit_xml(checks, failed), is_junit_xml)
    if len(summaries) < len(results):
        missing = len(results) - len(summaries)
        console.print(f'[bold red]{missing} of {len(jobs)} failed[/]', highlight=False)
    if failed or not all(check.passed for check in checks):
        context.exit(1)


def _check_exports(jobs: Sequence[Job], output: OutputFolder, given: Mapping[str, Any]) -> None:
    """Raise if an export has several evaluations, or cannot be written."""
    if len(jobs) > 1 and (given['rerun'] or given['coco']):
        raise click.UsageError(
            f'--rerun and --coco are for one evaluation; found {len(jobs)}: name one source and '
            'one --model, without --sweep'
        )
    if given['rerun'] is not None:
        check_rerun_file(given['rerun'])
    if given['coco'] is not None:
        OutputFolder(given['coco'], [jobs[0].source])
    if given['junit'] is not None:
        check_new_text(given['junit'], is_junit_xml)
    files = [given[name].absolute() for name in ('junit', 'rerun') if given[name] is not None]
    if any(output.path.absolute() in file.parents for file in files):
        # Without a marker the next evaluation would take the file for one of somebody else.
        with output.exclusive():
            pass


def _print_notes(summaries: Sequence[Summary], console: Console) -> None:
    """Print what was found in the sources and not used, each sentence once."""
    notes = [note for summary in summaries for note in summary.data.get('notes', ())]
    for note in dict.fromkeys(notes):
        console.print(f'[yellow]note:[/] {escape(note)}', highlight=False, soft_wrap=True)


def write_page(
    output: OutputFolder,
    jobs: Sequence[Job],
    console: Console,
    failed: Sequence[tuple[str, str]] = (),
    links: Sequence[LinkStudy] = (),
) -> None:
    """Write the report; without its packages print a warning, because the records are complete.

    Raises:
        OutputError: The report cannot be written, for example on a full disk.
    """
    try:
        check_available()
    except OutputError as error:
        console.print(f'[yellow]{escape(str(error))}[/]', highlight=False)
        return
    with console.status('writing the report'):
        title = f'Evaluation {output.path.name}'
        write_report(output.file(REPORT_FILE), title, jobs, failed, links)
    output.finish()


def _jobs(sources: Sequence[str], given: dict[str, Any]) -> list[Job]:
    folders = sources if given['truth'] is None else [given['truth']]
    settings = RunSettings(
        Options(
            size=given['size'],
            score_threshold=given['score'],
            tracking=any(find_tracks(Path(folder)) for folder in folders),
            track_min_score=Options().score_threshold,
            **depth_options(given),
        ),
        given['providers'] or RunSettings().providers,
        given['threads'],
        given['tasks'] or None,
        budget_of(given),
        given['offload'] or '',
    )
    base = Job(
        source='',
        model='',
        folder=given['out'],
        source_options=source_options(given),
        settings=settings,
        taxonomy=given['taxonomy'],
        reference=given['reference'] and str(find_model(given['reference'])),
        limit=given['limit'] or None,
        save_bag=given['save_bag'],
        rerun=given['rerun'],
        coco=given['coco'],
        at_once=_workers(sources, given),
    )
    models = [str(find_model(name)) for name in given['models'] or ['cspnano']]
    grid = parse_grid(given['sweeps'])
    return plan_jobs(sources, [*models, *given['baselines']], grid, base, given['out'])


def source_options(given: Mapping[str, Any]) -> SourceOptions:
    """How to read a source, from the values of SOURCE_OPTIONS."""
    if given['camera_info'] and given['focal_px']:
        raise click.UsageError('give --camera-info or --focal-px, not both')
    check_focal_px(given['focal_px'])
    names = given['class_names']
    return SourceOptions(
        topic=given['topic'],
        truth_topics=TruthTopics(
            given['depth_topic'], given['boxes_topic'], given['labels_topic']
        ),
        tolerance_ms=given['tolerance_ms'],
        truth=given['truth'],
        class_names=None if names is None else str(names),
        split=given['split'],
        camera=read_calibration(given['camera_info'])
        if given['camera_info']
        else given['focal_px'],
    )


def _workers(sources: Sequence[str], given: dict[str, Any]) -> int:
    """One process for a single source, because parallel jobs disturb times."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    workers: int = given['workers'] or min(len(sources), cores or 1)
    return workers


def _run(jobs: Sequence[Job], given: dict[str, Any], bar: Progress) -> Iterator[JobResult]:
    overall = bar.task_ids[0]
    if given['offload'] is not None and (given['engine'] == 'ray' or jobs[0].at_once > 1):
        raise click.UsageError('with --offload jobs are run one by one: --workers 1')
    if given['engine'] == 'ray':
        results = run_on_ray(jobs, given['workers'] or None)
    elif jobs[0].at_once > 1:
        results = run_in_pool(jobs, jobs[0].at_once)
    else:
        results = _one_by_one(jobs, given, bar)
    for result in results:
        bar.advance(overall)
        yield result


def _one_by_one(
    jobs: Sequence[Job], given: Mapping[str, Any], bar: Progress
) -> Iterator[JobResult]:
    frames = bar.add_task('')

    def watch(job: Job) -> Callable[[int, int | None], None]:
        swept = ' '.join(f'{name}={value}' for name, value in job.swept)
        bar.reset(frames, description=escape(f'{job.name} {swept}'), total=None)
        return lambda done, total: bar.update(frames, completed=done, total=total)

    for job in jobs:
        with ExitStack() as stack:

            def opened(job: Job, stack: ExitStack = stack) -> Predictor | None:
                remote = given['offload'] is not None
                return _offloaded(job, given, bar.console, stack) if remote else None

            yield from run_here([job], watch, opened)


def _offloaded(
    job: Job, given: Mapping[str, Any], console: Console, stack: ExitStack
) -> Predictor:
    """The model of a job, offloaded to a remote host."""

    def prepare(pipeline: Pipeline) -> None:
        client = stack.enter_context(offloaded(pipeline, given, OFFLOAD_DEADLINE_MS))
        stack.callback(offload_summary, client, console)

    return open_predictor(job.model, job.settings, prepare)


@contextmanager
def _progress(console: Console, jobs: int) -> Iterator[Progress]:
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not jobs)
    with bar:
        bar.add_task('evaluations', total=jobs)
        yield bar


def _failure(result: JobResult) -> str:
    job = result.job
    return f'[red]✗[/] {escape(job.source)} with {escape(job.model)}: {escape(result.error)}'
