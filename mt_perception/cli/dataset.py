# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception dataset`: makes a data set out of recordings."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn

from mt_perception.cli.run import check_focal_px
from mt_perception.cli.shared_options import COUNT, FiniteRange
from mt_perception.cli.training_options import NEW_FOLDER


@click.command()
@click.argument(
    'recordings', type=click.Path(exists=True, path_type=Path), nargs=-1, required=True
)
@click.option('--out', type=NEW_FOLDER, required=True, help='New folder of the data set.')
@click.option(
    '--every',
    'every_s',
    type=FiniteRange(0),
    help='Seconds between two images.  [default: 1, with --every-m 0]',
)
@click.option(
    '--every-m',
    type=FiniteRange(0),
    default=0.0,
    help='Metres between two images, by the poses or odometry in a bag; 0: no limit.',
)
@click.option('--pose-topic', help='Topic of poses or odometry of a bag with several.')
@click.option(
    '--min-change',
    type=FiniteRange(0),
    default=4.0,
    help='Smallest difference of an image to all others, in grey levels of a thumbnail; 0 keeps '
    'near-duplicates.',
)
@click.option('--max-images', type=COUNT, default=0, help='Largest number of images; 0: no limit.')
@click.option('--topic', help='Image topic of a bag with several.')
@click.option('--focal-px', type=float, help='Focal length in pixels, if the recordings lack it.')
@click.option(
    '--model', help='Name or folder of a model that adds pseudo labels; default: no labels.'
)
@click.option('--score', default=0.4, help='Lowest score of a pseudo-labelled box.')
def dataset(
    recordings: tuple[Path, ...],
    out: Path,
    every_s: float | None,
    every_m: float,
    pose_topic: str | None,
    min_change: float,
    max_images: int,
    topic: str | None,
    focal_px: float | None,
    model: str | None,
    score: float,
) -> None:
    """Make a data set from RECORDINGS (bags, videos, folders): frames, depth, pseudo labels.

    `train` and `evaluate` read the folder. Pseudo labels are in COCO format, which annotation
    tools open; correct them before you rely on them.
    """
    from mt_perception.evaluation.datasets.open_samples import SourceOptions
    from mt_perception.execution.options import Options
    from mt_perception.pipeline import Pipeline
    from mt_perception.training.data.make_dataset import DatasetOptions, DatasetWriter

    check_focal_px(focal_px)
    console = Console()
    pipeline = None if model is None else Pipeline.load(model, Options(score_threshold=score))
    options = DatasetOptions(
        every_s if every_s is not None else float(every_m == 0),
        every_m,
        pose_topic,
        min_change,
        max_images=max_images,
        source=SourceOptions(topic=topic, camera=focal_px),
    )
    writer = DatasetWriter(out, options, pipeline, model or '')
    columns = (SpinnerColumn(), TextColumn('{task.description}: {task.completed} frames'))
    with Progress(*columns, TextColumn('{task.fields[kept]} kept'), console=console) as bar:
        for recording in recordings:
            task = bar.add_task(escape(recording.name), total=None, kept=writer.written)
            for number in writer.add(recording):
                bar.update(task, completed=number, kept=writer.written)
    writer.finish()
    for note in writer.notes:
        console.print(note, highlight=False, markup=False)
    console.print(f'{out}: {writer.written} images', highlight=False, markup=False)
    for reason, count in writer.skipped.items():
        console.print(f'  {count} frames left out: {reason}', highlight=False)
    if pipeline is not None:
        console.print(
            f'  labels are pseudo labels of {model}: correct them before you rely on them',
            highlight=False,
        )
