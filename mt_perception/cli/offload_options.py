# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options of commands whose frames a remote host may finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from mt_perception.errors import OffloadError
from mt_perception.pipeline import Pipeline

if TYPE_CHECKING:
    from mt_perception.offload.client import OffloadClient

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CONNECT_S = 10.0

OFFLOAD_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        '--offload', metavar='HOST:PORT', help='Let `mt_perception serve` finish frames.'
    ),
    click.option('--offload-ca', type=_FILE, help="Use TLS; PEM file of the host's authority."),
    click.option('--offload-token-file', type=_FILE, help='File with a token for the host.'),
    click.option(
        '--offload-deadline-ms', type=float, help='Run here what has not come back by then.'
    ),
)


def with_offload_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes these options."""
    for option in reversed(OFFLOAD_OPTIONS):
        command = option(command)
    return command


@contextmanager
def offloaded(
    pipeline: Pipeline, folder: Path, given: Mapping[str, Any], deadline_ms: float
) -> Iterator[OffloadClient | None]:
    """Let a pipeline use the host that was typed; without one nothing changes.

    Args:
        pipeline: The pipeline.
        folder: Its model folder.
        given: What was typed for OFFLOAD_OPTIONS.
        deadline_ms: Where none was typed.

    Raises:
        OffloadError: The host cannot be used, or not reached.
        ModelError: The model cannot be cut.
    """
    if not given['offload']:
        yield None
        return
    # What it takes is an extra; where it is missing the command says which one.
    from mt_perception.offload.client import offload
    from mt_perception.offload.decision import ALWAYS, DecisionSettings
    from mt_perception.offload.endpoint import ClientTls, Endpoint
    from mt_perception.offload.settings import OffloadSettings

    ca = given['offload_ca']
    tls = None if ca is None else ClientTls(ca)
    endpoint = Endpoint(given['offload'], tls, given['offload_token_file'])
    typed_ms = given['offload_deadline_ms']
    settings = OffloadSettings(
        endpoint, deadline_ms if typed_ms is None else typed_ms, DecisionSettings(ALWAYS)
    )
    client = offload(pipeline, folder, settings)
    try:
        if not client.exchange.connected(_CONNECT_S):
            failure = client.exchange.last_failure
            raise OffloadError(
                f'remote host {endpoint.address} does not answer'
                if failure is None
                else failure.sentence
            )
        yield client
    finally:
        client.close()


def offload_summary(client: OffloadClient | None, console: Console) -> None:
    """Say who finished the frames."""
    if client is None:
        return
    console.print(
        f'{client.frames_remote} frames were finished by {client.exchange.endpoint.address}, '
        f'{client.frames_local} here',
        highlight=False,
    )
    if client.exchange.last_failure is not None:
        console.print(f'[yellow]{escape(client.exchange.last_failure.sentence)}[/]')
