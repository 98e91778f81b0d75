# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception run``: runs a model on images, a video, a camera, a bag or a ROS topic."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mt_perception.cli.new_path import NewPath
from mt_perception.cli.picture_writer import FILES, PictureWriter
from mt_perception.cli.run_summary import RunSummary, latency_warning, summary_table
from mt_perception.cli.shared_options import (
    BUDGET_OPTIONS,
    COUNT,
    DEPTH_OPTIONS,
    OFFLOAD_OPTIONS,
    PROVIDER,
    budget_of,
    depth_options,
    offload_summary,
    offloaded,
    threads_option,
    with_options,
)
from mt_perception.cli.video_writer import video_format
from mt_perception.data_files import read_yaml
from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.datasets.sample_source import with_camera
from mt_perception.evaluation.frame_record import frame_record
from mt_perception.evaluation.output import OutputFolder
from mt_perception.evaluation.record_writer import RecordWriter
from mt_perception.evaluation.records import FRAMES_FILE
from mt_perception.execution.options import Options
from mt_perception.geometry.camera import MAX_FOCAL_PX, Calibration
from mt_perception.image import overlay
from mt_perception.pipeline import Pipeline
from mt_perception.resources import find_model
from mt_perception.sources import Source, open_source
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    Frame,
    Intrinsics,
)

PICTURES = 10
"""Approximate number of pictures without --show-every."""

DEADLINE_MS = 200.0
"""Deadline of offloaded frames without --offload-deadline-ms."""

LIVE_SHOW_EVERY = 30
TOPIC_PREFIX = 'topic:'
_TOPIC_NAME = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+')
_MAX_SIDE = 1 << 16


@dataclass(frozen=True)
class OutputOptions:
    """The outputs of the command.

    Attributes:
        folder: The output folder.
        show_every: Save a picture of every n-th frame; None chooses.
        video: Whether to write a video.
        lines: Whether to write results as JSON lines.
        focal_px: Focal length that replaces the camera of the source; None keeps it.
    """

    folder: OutputFolder
    show_every: int | None
    video: bool
    lines: bool
    focal_px: float | None = None


@click.command()
@click.argument('source')
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option('--size', default=0, help="Long side of the network's input; 0: the model's own.")
@threads_option(0)
@PROVIDER
@click.option(
    '--task',
    'tasks',
    multiple=True,
    type=click.Choice([DETECTION, SEGMENTATION, DEPTH]),
    help='Run only this task; may be repeated.',
)
@click.option('--score', default=Options.score_threshold, help='Score threshold of detections.')
@click.option(
    '--condition',
    'conditions',
    multiple=True,
    help='Run a task only if another finds a class: "segmentation if detection finds person".',
)
@click.option('--topic', help='Image topic of a bag.')
@click.option(
    '--camera-info',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Calibration file of camera_calibration (YAML), where the source has none.',
)
@click.option(
    '--focal-px',
    type=float,
    help='Focal length in pixels, without a calibration; it determines the scale of depth.',
)
@click.option('--limit', type=COUNT, default=0, help='Number of frames; 0: all.')
@click.option('--out', default='out/run', type=NewPath(), help='Folder of results.')
@click.option('--show-every', type=COUNT, help='Save a picture of every n-th frame; 0: none.')
@click.option('--save-video', is_flag=True, help='Write an annotated video.')
@click.option('--jsonl', is_flag=True, help='Write detections and times as JSON lines.')
@with_options(*DEPTH_OPTIONS, *BUDGET_OPTIONS, *OFFLOAD_OPTIONS)
def run(
    source: str,
    model: str,
    size: int,
    threads: int,
    providers: tuple[str, ...],
    tasks: tuple[str, ...],
    score: float,
    conditions: tuple[str, ...],
    topic: str | None,
    camera_info: Path | None,
    focal_px: float | None,
    limit: int,
    out: Path,
    show_every: int | None,
    save_video: bool,
    jsonl: bool,
    **given: Any,
) -> None:
    """Run the model on SOURCE and show the results.

    SOURCE is a folder of images, an image, a video, a ROS 1 or ROS 2 bag, a camera (/dev/video0
    or 0), a network camera (rtsp://…, http://…), or a ROS topic (/camera/image_raw, or
    topic:/camera/image_raw if there is a folder /camera).
    """
    if camera_info and focal_px:
        raise click.UsageError('give --camera-info or --focal-px, not both')
    check_focal_px(focal_px)
    camera = read_calibration(camera_info) if camera_info else None
    output = OutputFolder(out, [source])
    console = Console()
    with _open(source, topic, camera) as frames:
        options = Options(
            size=size, score_threshold=score, conditions=conditions, **depth_options(given)
        )
        with console.status('loading the model'):
            folder = find_model(model)
            pipeline = Pipeline.load(
                folder,
                options,
                providers or ('CPU',),
                threads,
                budget=budget_of(given),
            )
        for warning in pipeline.warnings:
            console.print(f'[yellow]{escape(warning)}[/]')
        outputs = OutputOptions(output, show_every, save_video, jsonl, focal_px)
        with offloaded(pipeline, given, DEADLINE_MS) as client:
            summary = run_pipeline(pipeline, frames, tasks or None, limit, outputs, console)
        offload_summary(client, console)
    facts = [
        ('provider', ', '.join(pipeline.providers)),
        ('results', str(out)),
        *([('video', video_format())] if save_video else []),
    ]
    manifest = pipeline.manifest
    title = f'{manifest.name} {manifest.version} on {frames.name}'
    console.print(summary_table(title, summary, facts, 'one frame, without reading it'))
    missed = latency_warning(summary, given['latency_ms'], len(manifest.paths.choices))
    if missed is not None:
        console.print(f'[yellow]{escape(missed)}[/]', highlight=False)
    for note in frames.notes:
        console.print(f'[yellow]{escape(note)}[/]')
    if not summary.frames_out:
        raise SourceError(f'{source} has no usable frame; the table has the reasons')


def run_pipeline(
    pipeline: Pipeline,
    source: Source,
    tasks: tuple[str, ...] | None,
    limit: int,
    outputs: OutputOptions,
    console: Console,
) -> RunSummary:
    """Run a pipeline over a source, with a progress bar; Ctrl-C ends the run early.

    Args:
        pipeline: The pipeline.
        source: The frames.
        tasks: The tasks to run; None means all.
        limit: Most frames to run; 0 means all.
        outputs: What to write.
        console: Prints the progress bar.

    Returns:
        Counts and times of the run.
    """
    summary = RunSummary()
    length = min(limit, source.length or limit) if limit else source.length
    every = outputs.show_every
    if every is None:
        every = max(1, length // PICTURES) if length else LIVE_SHOW_EVERY
    rate_hz = (source.rate_hz or PICTURES) if outputs.video else None
    with ExitStack() as stack:
        stack.enter_context(outputs.folder.exclusive())
        outputs.folder.remove_earlier((*FILES, f'{FRAMES_FILE}.*'))
        pictures = stack.enter_context(PictureWriter(outputs.folder, every, rate_hz))
        lines = stack.enter_context(RecordWriter(outputs.folder.path)) if outputs.lines else None
        bar = stack.enter_context(_bar(console))
        progress = bar.add_task('frames', total=length)
        try:
            for index, frame in enumerate(islice(source, limit or None)):
                frame = with_camera(frame, outputs.focal_px)
                _run_frame(pipeline, frame, index, tasks, summary, pictures, lines)
                bar.update(progress, completed=summary.frames_in + source.rejects.total())
        except KeyboardInterrupt:
            console.print('[yellow]stopped[/]')
        summary.add_left_out(source.rejects)
        bar.update(progress, completed=summary.frames_in)
        if lines is not None:
            lines.finish()
    outputs.folder.finish()
    return summary


def check_focal_px(value: float | None) -> None:
    """Raise if ``--focal-px`` is no focal length; NaN is none."""
    if value is not None and not 0 < value < MAX_FOCAL_PX:
        raise click.UsageError(
            f'--focal-px must be between 0 and {MAX_FOCAL_PX:g}, found {value:g}'
        )


def read_calibration(path: Path) -> Intrinsics:
    """Read the YAML file that ROS's camera_calibration writes.

    Raises:
        SourceError: It is no such file.
        CameraError: Its matrix is no camera.
    """
    try:
        data = read_yaml(path, SourceError)
        if not isinstance(data, dict):
            raise TypeError('its content is no mapping')
        size = int(data['image_height']), int(data['image_width'])
        if not 0 < min(size) <= max(size) <= _MAX_SIDE:
            raise ValueError(f'image_width and image_height must be 1 to {_MAX_SIDE}')
        matrix = tuple(float(value) for value in data['camera_matrix']['data'])
        model = str(data.get('distortion_model', ''))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(
            f'{path} is no calibration file ({error}); expected image_width, image_height and '
            'camera_matrix.data, as the camera_calibration package writes them'
        ) from error
    return Calibration(size, matrix, distortion_model=model).intrinsics(size)


def _open(name: str, topic: str | None, camera: Intrinsics | None) -> Source:
    """Open a source; only topics import ROS."""
    if not is_topic(name):
        return open_source(name, topic, camera)
    from mt_perception.nodes.shared_memory import use_shared_memory
    from mt_perception.nodes.topic_source import TopicSource

    use_shared_memory(os.environ)
    return TopicSource(name.removeprefix(TOPIC_PREFIX), camera)


def is_topic(name: str) -> bool:
    """Whether a source is a ROS topic: begins with ``topic:``, or is a topic's name and no file.

    Raises:
        SourceError: It is the path of a file or folder that does not exist.
    """
    if name.startswith(TOPIC_PREFIX):
        return True
    if not name.startswith('/') or os.path.exists(name):
        return False
    if not _TOPIC_NAME.fullmatch(name):
        raise SourceError(
            f'there is no file or folder {name}; a ROS topic has only letters, digits, _ and /'
        )
    # A missing file of a folder that exists is more likely than a topic of that folder's name.
    first = name.split('/')[1]
    if name != f'/{first}' and os.path.isdir(f'/{first}'):
        raise SourceError(
            f'there is no file or folder {name}; for the ROS topic write {TOPIC_PREFIX}{name}'
        )
    click.echo(f'no file is named {name}: waiting for images of this ROS topic', err=True)
    return True


def _run_frame(
    pipeline: Pipeline,
    frame: Frame,
    index: int,
    tasks: tuple[str, ...] | None,
    summary: RunSummary,
    pictures: PictureWriter,
    lines: RecordWriter | None,
) -> None:
    try:
        result = pipeline.run(frame, tasks)
    except ImageError as error:
        summary.left_out[error.reason] += 1
        summary.frames_in += 1
        pictures.skip()
        return
    summary.add_result(result)
    if lines is not None:
        lines.add(frame_record(frame, result, key=f'{index:06d}', source=frame.frame_id))
    if pictures.next_is_wanted:
        pictures.add(overlay.sheet(frame.image, result))
    else:
        pictures.skip()


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
