# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception benchmark``: time of each stage, and cost of each task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mt_perception.cli.shared_options import THREADS
from mt_perception.execution.options import Options
from mt_perception.pipeline import Pipeline
from mt_perception.reports import Execution
from mt_perception.resources import find_model
from mt_perception.types import Frame

Times = dict[str, list[float]]

LARGEST_SIDE = 16384


@click.command()
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option('--size', default=0, help="Long side of the network's input; 0: the model's own.")
@click.option('--threads', type=THREADS, default=1, help='Threads; 0: one for each core.')
@click.option(
    '--provider', 'providers', multiple=True, help='ONNX Runtime provider, such as CUDA.'
)
@click.option('--image-size', default='640x480', help='Size of the camera image.')
@click.option(
    '--frames', type=click.IntRange(1), default=60, help='Frames for each line of the table.'
)
def benchmark(
    model: str,
    size: int,
    threads: int,
    providers: tuple[str, ...],
    image_size: str,
    frames: int,
) -> None:
    """Measure the pipeline on a noise image, for all tasks and for each one.

    The combinations of tasks alternate frame by frame, so that other load affects all of them
    alike: the ratios are more reliable than the times.
    """
    width, height = _size(image_size)
    pipeline = Pipeline.load(find_model(model), Options(size=size), providers or ('CPU',), threads)
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    tasks = tuple(pipeline.manifest.tasks)
    cases = [tasks, *((task,) for task in tasks if len(tasks) > 1)]
    times: dict[tuple[str, ...], Times] = {case: defaultdict(list) for case in cases}
    console = Console()
    for _ in track(range(frames), 'measuring', console=console, transient=True):
        for case in cases:
            execution = pipeline.run(Frame(image), case).execution
            for stage, spent_ms in _parts(execution):
                times[case][stage].append(spent_ms)
    network = 'x'.join(map(str, reversed(execution.network_size)))
    console.print(
        f'{pipeline.manifest.name} {pipeline.manifest.version}, image {width}x{height}, '
        f'network {network}, {threads or "all"} thread(s), {pipeline.providers[0]}',
        highlight=False,
    )
    console.print(_table(times, cases))


def _parts(execution: Execution) -> Iterator[tuple[str, float]]:
    """Yield the stages of a run, with the inference as a whole and block by block."""
    for stage, spent_ms in execution.stage_ms.items():
        yield stage, spent_ms
        if stage == 'inference':
            yield from execution.block_ms.items()


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split('x')
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f'expected WIDTHxHEIGHT such as 640x480, found {text!r}')
    width, height = map(int, parts)
    if max(width, height) > LARGEST_SIDE:
        raise click.BadParameter(f'--image-size {text}: a side has at most {LARGEST_SIDE} pixels')
    return width, height


def _table(times: dict[tuple[str, ...], Times], cases: Sequence[tuple[str, ...]]) -> Table:
    """Medians by stage, one column for each combination of tasks."""
    everything = times[cases[0]]
    table = Table(title='median ms', title_justify='left', box=box.SIMPLE_HEAD)
    table.add_column('stage')
    for case in cases:
        table.add_column('all tasks' if case == cases[0] else ', '.join(case), justify='right')
    for stage in everything:
        if stage == 'total':
            table.add_section()
        found = [times[case][stage] for case in cases]
        table.add_row(stage, *(f'{np.median(values):.2f}' if values else '' for values in found))
    totals = [times[case]['total'] for case in cases]
    table.add_row('p95', *(f'{np.percentile(values, 95):.2f}' for values in totals))
    medians = np.array([np.median(values) for values in totals])
    table.add_row('ratio to all', *(f'{ratio:.2f}' for ratio in medians / medians[0]))
    return table
