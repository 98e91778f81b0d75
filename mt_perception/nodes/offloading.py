# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Offloading in the perception node: creates the client and reports its status.

gRPC and the codec are imported only if offloading is enabled, so that a robot without offloading
does not need them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from mt_perception.errors import OffloadError
from mt_perception.nodes.diagnostics import OK, WARN, StatusSnapshot, counts
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.pipeline import Pipeline

if TYPE_CHECKING:
    from mt_perception.offload.client import OffloadClient


def open_offload(
    pipeline: Pipeline, folder: Path, settings: PerceptionSettings
) -> OffloadClient | None:
    """Create the offload client of a pipeline; None if offloading is disabled.

    Raises:
        OffloadError: A package is missing, or the endpoint or one of its files is invalid.
        ModelError: The model has no split.
    """
    if not settings.offload_enabled:
        return None
    try:
        from mt_perception.offload.client import offload
        from mt_perception.offload.decision import DecisionSettings
        from mt_perception.offload.endpoint import ClientTls, Endpoint
        from mt_perception.offload.settings import OffloadSettings
    except ImportError as error:
        raise OffloadError(
            f'offload.enabled needs {error.name}, which is not installed; '
            'pip install "mt_perception[offload]"'
        ) from error

    def file(name: str) -> Path | None:
        value = str(settings.value(name))
        return Path(value).expanduser() if value else None

    tls = ClientTls(
        file('offload.tls.ca_file'),
        file('offload.tls.certificate_file'),
        file('offload.tls.key_file'),
        settings.offload_tls_server_name,
    )
    endpoint = Endpoint(
        settings.offload_endpoint,
        tls if settings.offload_tls_enabled else None,
        file('offload.token_file'),
    )
    chosen = OffloadSettings(
        endpoint,
        settings.offload_deadline_ms,
        DecisionSettings(settings.offload_mode),
        providers=settings.runtime_providers,
        threads=settings.runtime_threads,
    )
    return offload(pipeline, folder, chosen)


def change_offload(client: OffloadClient | None, settings: PerceptionSettings) -> None:
    """Apply the settings that can change between two frames."""
    if client is not None:
        client.change(settings.offload_deadline_ms, settings.offload_mode)


def offload_status(client: OffloadClient) -> StatusSnapshot:
    """The status of offloading, for diagnostics."""
    from mt_perception.offload.circuit_breaker import BreakerState
    from mt_perception.offload.link_estimate import link_values

    now_s = time.monotonic()
    exchange = client.exchange
    state = exchange.breaker.state
    frames = client.frames_remote + client.frames_local
    level, message = OK, f'{client.frames_remote} of {frames} frames by the remote host'
    failure = exchange.last_failure
    if state is not BreakerState.CLOSED and failure is not None:
        level, message = WARN, f'{failure.sentence}; frames run locally'
    elif client.warnings:
        level, message = WARN, '; '.join(client.warnings)
    values: dict[str, object] = {
        'endpoint': exchange.endpoint.address,
        'tls': exchange.endpoint.tls is not None,
        'mode': client.settings.decision.mode,
        'deadline_ms': client.settings.deadline_ms,
        'breaker': state.value,
        'retry_s': exchange.breaker.wait_s(now_s),
        'frames.remote': client.frames_remote,
        'frames.local': client.frames_local,
        'in_flight': exchange.in_flight,
        'last_failure': '' if failure is None else failure.sentence,
        **{f'offload.{k}': v for k, v in link_values(exchange.state(now_s)).items()},
        **counts('failures', exchange.failures),
    }
    return StatusSnapshot(level, message, values)
