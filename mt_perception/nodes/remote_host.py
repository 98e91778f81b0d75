# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host as a ROS node with parameters, log and diagnostics."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Header

from mt_perception.errors import OffloadError, PerceptionError
from mt_perception.nodes.diagnostics import ERROR, OK, WARN, counts, status
from mt_perception.nodes.host_parameters import RemoteHostSettings
from mt_perception.nodes.node_parameters import NodeParameters, ParameterNode
from mt_perception.nodes.run_node import run_node
from mt_perception.resources import find_model
from mt_perception.server.address import Address, address_text
from mt_perception.server.authentication import ServerTls
from mt_perception.server.host import HostSettings, RemoteHost, serve
from mt_perception.server.limits import HostLimits

NAME = 'remote_host'

_PERIOD_S = 1.0
_POLL_S = 0.1
_MARGIN_S = 5.0
"""Time for the end of the host beside draining."""
_WARNINGS_S = 3600.0
"""Interval of the checks of certificates and secret files."""


class RemoteHostNode(ParameterNode):
    """Runs a remote host in a thread beside the node's executor.

    Args:
        kwargs: Arguments of rclpy's Node.

    Attributes:
        host: The host.

    Raises:
        PerceptionError: A parameter, a file or the model's name is invalid.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NAME, **kwargs)
        try:
            live = NodeParameters(self, RemoteHostSettings())
            self.host = RemoteHost(host_settings(live.settings))
        except PerceptionError:
            super().destroy_node()
            raise
        for sentence in live.unknown:
            self.get_logger().warning(sentence)
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = threading.Event()
        self._answered = 0
        self._warnings: list[str] = []
        self._warned_s = -math.inf
        self._report_s = time.monotonic()
        self._publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_PERIOD_S, self._report, clock=steady)
        self.create_timer(_POLL_S, self._check, clock=steady)
        self._thread = threading.Thread(target=self._run, name='host', daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        """Let the host finish accepted requests, then destroy the node."""
        self._stopping.set()
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(self.host.settings.drain_s + _MARGIN_S)
        super().destroy_node()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            # The node raises it in the executor's thread.
            self._failure = error

    async def _serve(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self._stopping.is_set():
            return
        await serve(self.host, self._stop, self._announce)

    def _announce(self, sentence: str) -> None:
        if not self.context.ok():
            # After a signal the log is closed.
            return
        if sentence.startswith('warning: '):
            self.get_logger().warning(sentence.removeprefix('warning: '))
        else:
            self.get_logger().info(sentence)

    def _check(self) -> None:
        """Raise the error that ended the host."""
        if self._failure is not None:
            raise self._failure

    def _file_warnings(self, now_s: float) -> list[str]:
        """Warnings about certificates and secrets, read again each hour."""
        if now_s - self._warned_s >= _WARNINGS_S:
            self._warned_s = now_s
            try:
                self._warnings = self.host.settings.warnings()
            except OffloadError as error:
                self._warnings = [str(error)]
        return self._warnings

    def _state(self, now_s: float) -> tuple[bytes, str]:
        """Level and message for diagnostics."""
        if self.host.manifest is None:
            return WARN, 'loading'
        if self.host.failure or not self.host.ready:
            return ERROR, self.host.failure or 'no worker is available; requests are refused'
        warnings = [*self._file_warnings(now_s), *self.host.warnings]
        return (WARN, '; '.join(warnings)) if warnings else (OK, 'ready')

    def _report(self) -> None:
        """Publish the state of the host on ``/diagnostics``."""
        now_s = time.monotonic()
        outcomes = self.host.metrics.outcomes()
        answered = outcomes.get('OK', 0)
        rate_hz = (answered - self._answered) / max(now_s - self._report_s, 1e-9)
        self._answered, self._report_s = answered, now_s
        manifest, address = self.host.manifest, self.host.settings.address
        level, message = self._state(now_s)
        values = {
            'endpoint': address_text(address.host, self.host.port),
            'model': '' if manifest is None else f'{manifest.name} {manifest.version}',
            'rate_hz': rate_hz,
            'waiting': self.host.waiting,
            **counts('requests', outcomes),
        }
        name = f'{self.get_fully_qualified_name()}: host'
        hardware_id = '' if manifest is None else manifest.name
        header = Header(stamp=self.get_clock().now().to_msg())
        found = status(name, hardware_id, level, message, values)
        self._publisher.publish(DiagnosticArray(header=header, status=[found]))


def host_settings(settings: RemoteHostSettings) -> HostSettings:
    """Host settings from the node's parameters.

    Raises:
        ModelError: The model does not exist.
        OptionError: A limit is out of range.
    """
    certificate, key = settings.file('tls.certificate'), settings.file('tls.key')
    tls = None
    if certificate is not None and key is not None:
        tls = ServerTls(certificate, key, settings.file('tls.client_ca'))
    return HostSettings(
        model=find_model(settings.model),
        address=Address(
            settings.listen_host,
            settings.listen_port,
            settings.metrics_host,
            settings.metrics_port,
        ),
        limits=HostLimits(
            batch=settings.batch_size,
            batch_wait_ms=settings.batch_wait_ms,
            per_client=settings.limits_per_client,
            waiting=settings.limits_waiting,
        ),
        tls=tls,
        token_file=settings.file('token_file'),
        workers=settings.workers,
        threads=settings.runtime_threads,
        providers=settings.runtime_providers,
        drain_s=settings.drain_s,
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal.

    Returns:
        The exit status of the process.
    """
    return run_node(RemoteHostNode, args)
