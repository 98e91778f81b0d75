# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share: budget, offloading and links."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mt_perception.errors import OffloadError, PerceptionError
from mt_perception.evaluation.baselines.open_baseline import PREFIX
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.link.study import (
    DELAY_MS,
    LINK_FILE,
    LinkSettings,
    LinkStudy,
    kept_study,
    write_study,
)
from mt_perception.execution.options import NONE, SCALES
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import AUTO, Budget

if TYPE_CHECKING:
    from mt_perception.offload.client import OffloadClient
    from mt_perception.offload.host_pool import HostPool


class FiniteRange(click.FloatRange):
    """A range of numbers; NaN, which every range of click takes, is refused."""

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Convert and check a value."""
        number = float(super().convert(value, param, context))
        if not math.isfinite(number):
            self.fail(f'{number:g} is not a finite number', param, context)
        return number


def with_options(
    *options: Callable[[Any], Any],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options to a command, in this order."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


COUNT = click.IntRange(0)
"""A number of frames."""

TOLERANCE_MS = FiniteRange(0, 1e9)
"""A time offset between an image and its ground truth."""

THREADS = click.IntRange(0, 256)
"""A number of threads."""


def threads_option(default: int) -> Callable[[Any], Any]:
    """``--threads``: 0 for commands whose user waits, 1 for those that measure times."""
    return click.option(
        '--threads',
        type=THREADS,
        default=default,
        help='Threads of one network run; 0: one per core.',
    )


PROVIDER: Callable[[Any], Any] = click.option(
    '--provider',
    'providers',
    multiple=True,
    help='ONNX Runtime provider, such as CUDA or "OpenVINO: {device_type: CPU}"; may be repeated.',
)

BUDGET_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        '--budget', default=1.0, help='Mean compute as a fraction of the full path; 1: no limit.'
    ),
    click.option('--latency-ms', default=0.0, help='Target p95 latency in ms; 0: none.'),
    click.option(
        '--stale-ms', default=0.0, help='Largest age of reused results in ms; 0: no reuse.'
    ),
    click.option(
        '--path', default=AUTO, help='Path of the model; auto selects one by the budget.'
    ),
)


def budget_of(given: Mapping[str, Any]) -> Budget:
    """The budget of the options."""
    return Budget(
        compute=given['budget'],
        latency_ms=given['latency_ms'],
        path=given['path'],
        max_stale_ms=given['stale_ms'],
    )


DEPTH_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option('--depth-scale', type=click.Choice(SCALES), default=NONE,
                 help='Source of the scale of depth.'),
    click.option('--camera-height-m', default=0.0, help='Height above the ground, in m.'),
    click.option('--camera-pitch-deg', default=0.0, help='Pitch below the horizon, in degrees.'),
    click.option('--camera-roll-deg', default=0.0, help='Roll to the right, in degrees.'),
    click.option('--depth-calibration', default='', show_default=False, metavar='FILE',
                 help='File written by `mt_perception calibrate`.'),
    click.option('--depth-filter', is_flag=True, help='Filter depth over time against flicker.'),
)  # fmt: skip
"""Options of depth; ``Options`` has the same names."""


def depth_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of DEPTH_OPTIONS by name."""
    names = ('depth_scale', 'camera_height_m', 'camera_pitch_deg', 'camera_roll_deg')
    return {name: given[name] for name in (*names, 'depth_calibration', 'depth_filter')}


LINK_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        '--link',
        metavar='MBIT_S,…',
        help='Also measure frames over links of these bandwidths: local, JPEG, features.',
    ),
    click.option(
        '--link-delay-ms',
        default=DELAY_MS,
        help='One-way delay of links, in ms.',
    ),
)


def link_settings(given: Mapping[str, Any]) -> LinkSettings | None:
    """The settings of LINK_OPTIONS; None without --link."""
    if not given['link']:
        return None
    try:
        mbit_s = tuple(sorted({float(text) for text in given['link'].split(',')}))
    except ValueError as error:
        raise click.UsageError(f'--link is a list such as 0.5,1,5: {error}') from error
    if not all(0 < value < 1e5 for value in mbit_s) or not 0 <= given['link_delay_ms'] < 1e4:
        raise click.UsageError('--link must be in 0 to 100000, --link-delay-ms in 0 to 10000')
    return LinkSettings(mbit_s, given['link_delay_ms'])


def measured_links(
    jobs: Sequence[Job], settings: LinkSettings, fresh: bool, console: Console
) -> tuple[list[LinkStudy], list[tuple[str, str]]]:
    """Measure every source with every model folder over links.

    Args:
        jobs: The jobs of the evaluation.
        settings: The links.
        fresh: Whether to repeat completed measurements.
        console: Prints the progress.

    Returns:
        The studies, and (source, reason) of failed ones.
    """
    # Imported late: it needs an extra, which an error names.
    from mt_perception.evaluation.link.measure import measure

    studies, failed = [], []
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        for job in _once(jobs):
            path = (job.folder.parent if job.swept else job.folder) / LINK_FILE
            task = bar.add_task(f'{job.name} over links', total=None)

            def progress(done: int, total: int, task: Any = task) -> None:
                bar.update(task, completed=done, total=total)

            try:
                study = None if fresh else kept_study(path, job, settings)
                if study is None:
                    study = measure(replace(job, reference=None), settings, progress)
                    write_study(path, study)
            except PerceptionError as error:
                failed.append((job.source, f'over links: {error}'))
                bar.console.print(
                    f'[red]✗[/] {escape(job.source)} over links: {escape(str(error))}'
                )
            else:
                studies.append(study)
    return studies, failed


def _once(jobs: Sequence[Job]) -> list[Job]:
    """The first job of every source and model folder, without swept parameters."""
    first: dict[tuple[str, str], Job] = {}
    for job in jobs:
        if not job.model.startswith(PREFIX):
            plain = replace(job, settings=replace(job.settings, codec=''))
            first.setdefault((job.source, job.model), plain)
    return list(first.values())


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CONNECT_S = 10.0
_LOADING_S = 60.0
"""For a host that says that its model is not ready."""

OFFLOAD_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option('--offload', metavar='HOST:PORT,…', help='Remote hosts (`mt_perception serve`).'),
    click.option(
        '--offload-ca',
        type=_FILE,
        help='PEM file with the CA certificate of the host; enables TLS.',
    ),
    click.option('--offload-token-file', type=_FILE, help='File with the access token.'),
    click.option(
        '--offload-deadline-ms',
        type=float,
        help='Time from image to result, in ms; a local run starts in time to meet it. Default: '
        '200, for evaluate 10000.',
    ),
)


@contextmanager
def offloaded(
    pipeline: Pipeline, given: Mapping[str, Any], deadline_ms: float
) -> Iterator[OffloadClient | None]:
    """Let a pipeline use the remote hosts of the command line, if there are any.

    Args:
        pipeline: The pipeline.
        given: Values of OFFLOAD_OPTIONS.
        deadline_ms: Default of the deadline.

    Raises:
        OffloadError: The host cannot be reached or refuses.
        ModelError: The model has no cut.
    """
    if given['offload'] is None:
        yield None
        return
    # Imported late: it needs an extra, which an error names.
    from mt_perception.offload.client import offload
    from mt_perception.offload.decision import ALWAYS, DecisionSettings
    from mt_perception.offload.endpoint import ClientTls, Endpoint
    from mt_perception.offload.settings import OffloadSettings

    ca = given['offload_ca']
    tls = None if ca is None else ClientTls(ca)
    addresses = [address.strip() for address in given['offload'].split(',')]
    if not all(addresses):
        raise OffloadError(
            f'--offload is {given["offload"]!r}; expected HOST:PORT, or a list with commas'
        )
    endpoints = [Endpoint(address, tls, given['offload_token_file']) for address in addresses]
    typed_ms = given['offload_deadline_ms']
    settings = OffloadSettings(
        endpoints, deadline_ms if typed_ms is None else typed_ms, DecisionSettings(ALWAYS)
    )
    with offload(pipeline, settings) as client:
        _wait_ready(client.hosts, ', '.join(addresses))
        yield client


def _wait_ready(hosts: HostPool, addresses: str) -> None:
    """Wait for a host; longer for one that answers and is still loading its model.

    Raises:
        OffloadError: None is ready; the message says why.
    """
    if hosts.wait_ready(_CONNECT_S):
        return
    failure = hosts.last_failure
    if failure is not None and failure.is_not_ready:
        click.echo(f'{failure.sentence}; waiting up to {_LOADING_S:g} s', err=True)
        if hosts.wait_ready(_LOADING_S):
            return
        failure = hosts.last_failure
    raise OffloadError(
        f'remote host {addresses} does not answer' if failure is None else failure.sentence
    )


def offload_summary(client: OffloadClient | None, console: Console) -> None:
    """Print where the frames were finished."""
    if client is None:
        return
    addresses = ', '.join(endpoint.address for endpoint in client.settings.endpoints)
    console.print(
        f'{client.frames_remote} frames were finished by {addresses}, {client.frames_local} here',
        highlight=False,
    )
    if client.hosts.last_failure is not None:
        console.print(f'[yellow]{escape(client.hosts.last_failure.sentence)}[/]')
