# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a remote host tells Prometheus: requests by outcome, time by stage, batches, the queue."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from mt_perception.errors import OffloadError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BATCHES = (1, 2, 4, 8, 16, 32)


class HostMetrics:
    """The metrics of one host, in a registry of their own.

    Attributes:
        registry: What is exported.
        requests: By ``outcome``, a gRPC status such as ``OK`` or ``RESOURCE_EXHAUSTED``.
        seconds: By ``stage``: ``queue`` or ``compute``.
        batches: Jobs per network run.
        received: Bytes of requests.
        sent: Bytes of replies.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            'mt_perception_host_requests',
            'Requests by outcome.',
            ['outcome'],
            registry=self.registry,
        )
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
        self.received = Counter(
            'mt_perception_host_received_bytes', 'Bytes of requests.', registry=self.registry
        )
        self.sent = Counter(
            'mt_perception_host_sent_bytes', 'Bytes of replies.', registry=self.registry
        )

    def outcomes(self) -> dict[str, int]:
        """Requests so far, by outcome."""
        samples = (sample for metric in self.requests.collect() for sample in metric.samples)
        return {
            sample.labels['outcome']: int(sample.value)
            for sample in samples
            if sample.name.endswith('_total')
        }

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Export a value that is asked for whenever somebody looks."""
        gauge = Gauge(f'mt_perception_host_{name}', description, registry=self.registry)
        gauge.set_function(value)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer ``GET /metrics``.

        Args:
            host: Address to listen at.
            port: Its port.

        Returns:
            What ends it.

        Raises:
            OffloadError: The port is taken, or is not ours to take.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise OffloadError(f'metrics cannot be served at {host}:{port}: {error}') from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
