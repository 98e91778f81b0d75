# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics of a remote host: outcomes, times, batches, queue."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import MetricsHandler

from mt_perception.errors import OffloadError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BATCHES = (1, 2, 4, 8, 16, 32)

MAX_SCRAPES = 8
"""Upper limit on concurrent connections to the metrics; more are closed at once."""
SCRAPE_S = 5.0
"""Time limit for one connection to the metrics."""


class HostMetrics:
    """The metrics of one host, in a registry of their own.

    Attributes:
        registry: The registry.
        requests: Requests by ``outcome``, a gRPC status such as ``OK`` or ``RESOURCE_EXHAUSTED``.
        seconds: Time by ``stage``: ``queue`` or ``compute``.
        batches: Requests per network run.
        received: Bytes of requests.
        sent: Bytes of responses.
        worker_failures: Unexpected errors of workers.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter('requests', 'Requests by outcome.', ['outcome'])
        self.seconds = Histogram(
            'mt_perception_host_seconds',
            'Time of answered requests by stage.',
            ['stage'],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            'mt_perception_host_batch_size',
            'Requests per network run.',
            buckets=_BATCHES,
            registry=self.registry,
        )
        self.received = self._counter('received_bytes', 'Bytes of requests.')
        self.sent = self._counter('sent_bytes', 'Bytes of replies.')
        self.worker_failures = self._counter('worker_failures', 'Unexpected errors of workers.')

    def outcomes(self) -> dict[str, int]:
        """Outcome → number of requests."""
        samples = (sample for metric in self.requests.collect() for sample in metric.samples)
        return {
            sample.labels['outcome']: int(sample.value)
            for sample in samples
            if sample.name.endswith('_total')
        }

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Export a value that is read with each scrape."""
        gauge = Gauge(f'mt_perception_host_{name}', description, registry=self.registry)
        gauge.set_function(value)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve ``GET /metrics``.

        Args:
            host: Address to listen on.
            port: Port to listen on.

        Returns:
            A function that stops the server.

        Raises:
            OffloadError: The address cannot be used.
        """
        handler = MetricsHandler.factory(self.registry)
        try:
            server = _BoundedServer(host, port, handler)
        except OSError as error:
            raise OffloadError(f'metrics cannot be served at {host}:{port}: {error}') from error
        thread = threading.Thread(target=server.serve_forever, name='metrics', daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def _counter(
        self, name: str, description: str, labels: tuple[str, ...] | list[str] = ()
    ) -> Counter:
        return Counter(f'mt_perception_host_{name}', description, labels, registry=self.registry)


class _BoundedServer(ThreadingHTTPServer):
    """An HTTP server with limits on the number and the duration of connections."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, handler: Any) -> None:
        self.address_family = socket.AF_INET6 if ':' in host else socket.AF_INET
        self._slots = threading.BoundedSemaphore(MAX_SCRAPES)
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, or close it if too many are open."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection until its time limit."""
        limit = threading.Timer(SCRAPE_S, _shut_down, (request,))
        limit.daemon = True
        limit.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is no error of the host."""


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
