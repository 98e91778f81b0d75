# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Offloading in the perception node: creates the client and reports its status.

gRPC and the codec are imported only if offloading is enabled, so that a robot without offloading
does not need them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mt_perception.errors import OffloadError
from mt_perception.nodes.diagnostics import OK, WARN, StatusSnapshot, counts
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.pipeline import Pipeline
from mt_perception.resources import install_command

if TYPE_CHECKING:
    from mt_perception.offload.client import OffloadClient


def open_offload(pipeline: Pipeline, settings: PerceptionSettings) -> OffloadClient | None:
    """Create the offload client of a pipeline; None if offloading is disabled.

    Raises:
        OffloadError: A package is missing, or the endpoint or one of its files is invalid.
        ModelError: The model has no cut.
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
            + install_command('offload')
        ) from error

    def file(name: str) -> Path | None:
        value = str(settings.value(name))
        return Path(os.path.expanduser(value)) if value else None

    tls = ClientTls(
        file('offload.tls.ca_file'),
        file('offload.tls.certificate_file'),
        file('offload.tls.key_file'),
        settings.offload_tls_server_name,
    )
    several = settings.offload_endpoints
    addresses = [settings.offload_endpoint] if several == ('none',) else several
    endpoints = [
        Endpoint(
            address, tls if settings.offload_tls_enabled else None, file('offload.token_file')
        )
        for address in addresses
    ]
    chosen = OffloadSettings(
        endpoints,
        settings.offload_deadline_ms,
        DecisionSettings(settings.offload_mode),
        providers=settings.runtime_providers,
        threads=settings.runtime_threads,
    )
    return offload(pipeline, chosen)


def change_offload(client: OffloadClient | None, settings: PerceptionSettings) -> None:
    """Apply the settings that can change between two frames."""
    if client is not None:
        client.change(settings.offload_deadline_ms, settings.offload_mode)


def offload_status(client: OffloadClient) -> StatusSnapshot:
    """The status of offloading, for diagnostics."""
    from mt_perception.offload.circuit_breaker import BreakerState
    from mt_perception.offload.link_estimate import link_values

    now_s = time.monotonic()
    host = client.hosts.preferred
    frames = client.frames_remote + client.frames_local
    level, message = OK, f'{client.frames_remote} of {frames} frames by the remote host'
    failing = [c for c in client.hosts.clients if c.breaker.state is not BreakerState.CLOSED]
    failure = next((c.last_failure for c in failing if c.last_failure is not None), None)
    if failure is not None:
        others = len(client.hosts.clients) - len(failing)
        used = 'other hosts are used' if others else 'frames run locally'
        level, message = WARN, f'{failure.sentence}; {used}'
    elif client.warnings:
        level, message = WARN, '; '.join(client.warnings)
    latest = client.hosts.last_failure
    values: dict[str, object] = {
        'endpoint': host.endpoint.address,
        'tls': host.endpoint.tls is not None,
        'mode': client.settings.decision.mode,
        'deadline_ms': client.settings.deadline_ms,
        'breaker': host.breaker.state.value,
        'retry_s': host.breaker.wait_s(now_s),
        'frames.remote': client.frames_remote,
        'frames.local': client.frames_local,
        'in_flight': client.hosts.in_flight,
        'hedged_requests': client.hosts.hedges,
        'last_failure': '' if latest is None else latest.sentence,
        **{f'offload.{k}': v for k, v in link_values(host.link_state(now_s)).items()},
        **counts('failures', client.hosts.failures),
    }
    if len(client.hosts.clients) > 1:
        for each in client.hosts.clients:
            values[f'hosts.{each.endpoint.address}'] = each.breaker.state.value
    return StatusSnapshot(level, message, values)
