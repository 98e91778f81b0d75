# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception benchmark``: time of each stage, and cost of each task."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click
import numpy as np
import onnxruntime as ort
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mt_perception.cli.shared_options import PROVIDER, threads_option
from mt_perception.evaluation.machine import machine, versions
from mt_perception.execution.options import Options
from mt_perception.model.providers import CPU, Provider, parse_providers, short_name
from mt_perception.pipeline import Pipeline
from mt_perception.reports import Execution
from mt_perception.resources import find_model
from mt_perception.types import Frame

Times = dict[str, list[float]]

LARGEST_SIDE = 16384


ALL = 'all'
"""The name of every execution provider of the installed ONNX Runtime."""

FASTER = 0.95
"""A provider is recommended from this ratio to the CPU on; less is noise."""


@dataclass(frozen=True)
class Case:
    """One column of the table.

    Attributes:
        title: Heading.
        pipeline: Runs it.
        tasks: The tasks of a frame.
    """

    title: str
    pipeline: Pipeline
    tasks: tuple[str, ...]


@click.command()
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option('--size', default=0, help="Long side of the network's input; 0: the model's own.")
@threads_option(1)
@PROVIDER
@click.option('--image-size', default='640x480', help='Size of the camera image.')
@click.option(
    '--frames', type=click.IntRange(1), default=60, help='Frames for each line of the table.'
)
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of a table.')
def benchmark(
    model: str,
    size: int,
    threads: int,
    providers: tuple[str, ...],
    image_size: str,
    frames: int,
    as_json: bool,
) -> None:
    """Measure the pipeline on a noise image, for all tasks and for each one.

    With --provider all, or with several, all tasks run on each provider instead; each has the
    CPU as its fallback. The columns alternate frame by frame, so that other load affects all of
    them alike: the ratios are more reliable than the times.
    """
    width, height = _size(image_size)
    options = Options(size=size)

    def load(chosen: Sequence[str]) -> Pipeline:
        return Pipeline.load(find_model(model), options, chosen, threads)

    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    cases, warnings = _cases(providers, load)
    times: list[Times] = [defaultdict(list) for _ in cases]
    console = Console()
    for case in cases:
        # The first run allocates, and some providers compile the network in it.
        case.pipeline.run(Frame(image), case.tasks)
    for _ in track(range(frames), 'measuring', console=console, transient=True, disable=as_json):
        for case, spent in zip(cases, times, strict=True):
            execution = case.pipeline.run(Frame(image), case.tasks).execution
            for stage, spent_ms in _parts(execution):
                spent[stage].append(spent_ms)
    network = 'x'.join(map(str, reversed(execution.network_size)))
    manifest = cases[0].pipeline.manifest
    if as_json:
        found = {
            'model': f'{manifest.name} {manifest.version}',
            'image': f'{width}x{height}',
            'network': network,
            'threads': threads,
            'frames': frames,
            'machine': machine(),
            'versions': versions(),
            'cases': [_figures(case, each) for case, each in zip(cases, times, strict=True)],
            'warnings': warnings,
        }
        click.echo(json.dumps(found, indent=1))
        return
    for warning in warnings:
        console.print(f'[yellow]{escape(warning)}[/]', highlight=False)
    console.print(
        f'{manifest.name} {manifest.version}, image {width}x{height}, '
        f'network {network}, {threads or "all"} thread(s), {cases[0].pipeline.providers[0]}',
        highlight=False,
    )
    console.print(_table(times, cases))
    if len(providers) > 1 or ALL in providers:
        console.print(_recommendation(times, cases), highlight=False)


def _cases(
    providers: Sequence[str], load: Callable[[Sequence[str]], Pipeline]
) -> tuple[list[Case], list[str]]:
    """The columns of the table, the baseline first, and warnings."""
    if len(providers) <= 1 and ALL not in providers:
        pipeline = load(providers or ('CPU',))
        tasks = tuple(pipeline.manifest.tasks)
        alone = [(task,) for task in tasks if len(tasks) > 1]
        columns = [Case('all tasks', pipeline, tasks)]
        columns += [Case(', '.join(each), pipeline, each) for each in alone]
        return columns, list(pipeline.warnings)
    names = [CPU, *(ort.get_available_providers() if ALL in providers else ())]
    names += [name for name in providers if name != ALL]
    cases: list[Case] = []
    warnings: list[str] = []
    known: list[Provider] = []
    for name in names:
        provider = parse_providers((name,))[0]
        if provider in known:
            continue
        known.append(provider)
        pipeline = load((name,))
        warnings += pipeline.warnings
        if not pipeline.warnings:
            cases.append(Case(short_name(name), pipeline, tuple(pipeline.manifest.tasks)))
    return cases, warnings


def _figures(case: Case, spent: Times) -> dict[str, object]:
    return {
        'name': case.title,
        'tasks': case.tasks,
        'providers': case.pipeline.providers,
        'median_ms': {stage: float(np.median(values)) for stage, values in spent.items()},
        'p95_ms': float(np.percentile(spent['total'], 95)),
    }


def _recommendation(times: Sequence[Times], cases: Sequence[Case]) -> str:
    medians = [float(np.median(each['total'])) for each in times]
    best = int(np.argmin(medians))
    ratio = medians[best] / medians[0]
    if ratio > FASTER:
        return 'recommended: the CPU; no other provider is faster by 5 % or more'
    name = cases[best].title
    return (
        f'recommended: --provider {name} ({ratio:.2f} of the time of the CPU); compare its '
        f'accuracy with mt_perception evaluate DATA --sweep provider=CPU,{name}'
    )


def _parts(execution: Execution) -> Iterator[tuple[str, float]]:
    """Yield the stages of a run, with the inference as a whole and block by block."""
    for stage, spent_ms in execution.stage_ms.items():
        yield stage, spent_ms
        if stage == 'inference':
            yield from execution.block_ms.items()


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split('x')
    if len(parts) != 2 or not all(re.fullmatch('0*[1-9][0-9]{0,9}', part) for part in parts):
        raise click.BadParameter(f'expected WIDTHxHEIGHT such as 640x480, found {text!r}')
    width, height = map(int, parts)
    if max(width, height) > LARGEST_SIDE:
        raise click.BadParameter(f'--image-size {text}: a side has at most {LARGEST_SIDE} pixels')
    return width, height


def _table(times: Sequence[Times], cases: Sequence[Case]) -> Table:
    """Medians by stage, one column for each case."""
    table = Table(title='median ms', title_justify='left', box=box.SIMPLE_HEAD)
    table.add_column('stage')
    for case in cases:
        table.add_column(case.title, justify='right')
    for stage in times[0]:
        if stage == 'total':
            table.add_section()
        found = [each[stage] for each in times]
        table.add_row(stage, *(f'{np.median(values):.2f}' if values else '' for values in found))
    totals = [each['total'] for each in times]
    table.add_row('p95', *(f'{np.percentile(values, 95):.2f}' for values in totals))
    medians = np.array([np.median(values) for values in totals])
    table.add_row(
        f'ratio to {cases[0].title}', *(f'{ratio:.2f}' for ratio in medians / medians[0])
    )
    return table
