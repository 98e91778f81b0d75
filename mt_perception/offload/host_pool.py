# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several remote hosts of one robot: host selection and hedged requests.

A request goes to the host with the shortest expected completion time. When it is later than 90 %
of that host's responses, or fails, the same request goes to the next host; the first valid
response wins, and the other request is cancelled (Dean and Barroso, "The Tail at Scale", 2013).
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from mt_perception.errors import ProtocolError
from mt_perception.offload.circuit_breaker import CircuitBreaker, CircuitBreakerSettings
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.failures import Failure
from mt_perception.offload.inference_client import InferenceCall, InferenceClient
from mt_perception.offload.protocol import InferenceRequest, InferenceResponse

HEDGE_SHARE = 0.2
"""Hedged requests per request, at most: the bound on extra traffic."""
_MAX_HEDGES = 4.0
"""Hedged requests that may be saved up for a burst."""
_REFERENCE_BYTES = 8192
"""Bytes of a typical request and response, for comparing hosts."""

Validate = Callable[[InferenceResponse], None]
"""Raises ProtocolError for a response that cannot be used."""


class HostPool:
    """The remote hosts of one model.

    Args:
        endpoints: The hosts in order of preference, at least one.
        model: Name of the model.
        settings: Settings of each host's circuit breaker.

    Attributes:
        clients: One client for each host.
        hedges: Number of hedged requests.

    Raises:
        OffloadError: A certificate, key or token file cannot be used.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], model: str, settings: CircuitBreakerSettings
    ) -> None:
        self.clients = tuple(
            InferenceClient(endpoint, model, CircuitBreaker(settings)) for endpoint in endpoints
        )
        self.hedges = 0
        self._hedge_tokens = _MAX_HEDGES

    @property
    def preferred(self) -> InferenceClient:
        """The host that the next frame is sent to, if it is available."""
        return self._ranked(self.clients, time.monotonic())[0]

    @property
    def last_failure(self) -> Failure | None:
        """The preferred host's latest failure, else another host's."""
        failures = (c.last_failure for c in (self.preferred, *self.clients))
        return next((failure for failure in failures if failure is not None), None)

    @property
    def failures(self) -> Counter[str]:
        """Failure reason → count over all hosts; can be read from any thread."""
        # dict() copies in one step; iteration would fail if another thread counts meanwhile.
        return sum((Counter(dict(client.failures)) for client in self.clients), Counter())

    @property
    def in_flight(self) -> int:
        """Number of unfinished requests on all hosts."""
        return sum(client.in_flight for client in self.clients)

    def available(self, now_s: float) -> tuple[list[InferenceClient], str]:
        """Hosts that accept a request now, best first.

        Returns:
            The hosts; and the preferred host's reason, empty if a host is available.
        """
        reasons = {client: client.unavailable(now_s) for client in self.clients}
        found = [client for client in self.clients if not reasons[client]]
        return self._ranked(found, now_s), '' if found else reasons[self.preferred]

    def wait_ready(self, seconds: float) -> bool:
        """Wait until a host reports ready; False after the given seconds."""
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            if self.available(now_s)[0]:
                return True
            time.sleep(0.01)
        return False

    def send(
        self,
        hosts: Sequence[InferenceClient],
        request: InferenceRequest,
        deadline_s: float,
        validate: Validate,
    ) -> HedgedRequest:
        """Send a request to the first host, and to others if it is late or fails.

        Args:
            hosts: Available hosts, best first.
            request: The request.
            deadline_s: Monotonic time after which the response is useless.
            validate: Checks a response.
        """
        self._hedge_tokens = min(_MAX_HEDGES, self._hedge_tokens + HEDGE_SHARE)
        return HedgedRequest(hosts, request, deadline_s, validate, self._take_hedge)

    def close(self) -> None:
        """Cancel unfinished requests and close the connections."""
        for client in self.clients:
            client.close()

    def _take_hedge(self) -> bool:
        """Whether the budget allows one more hedged request; takes it."""
        if self._hedge_tokens < 1:
            return False
        self._hedge_tokens -= 1
        self.hedges += 1
        return True

    def _ranked(self, clients: Sequence[InferenceClient], now_s: float) -> list[InferenceClient]:
        """Hosts by expected completion; then late, unknown and failing ones.

        One late response ranks a host behind the others at once: its estimate follows slowly,
        and every frame that waits for it would cost a hedged request.
        """

        def key(client: InferenceClient) -> tuple[bool, bool, bool, float]:
            completion_s = client.link_state(now_s).completion_s(_REFERENCE_BYTES, 0)
            known = math.isfinite(completion_s)
            return client.on_trial, client.is_late, not known, completion_s if known else 0.0

        return sorted(clients, key=key)


class HedgedRequest:
    """One request at one or more hosts; the first valid response wins.

    Args:
        hosts: Available hosts, best first.
        request: The request.
        deadline_s: Monotonic time after which the response is useless.
        validate: Checks a response.
        take_hedge: Returns whether one more hedged request is allowed.

    Attributes:
        winner: The host whose response was used; None before.
        done_s: Monotonic time of the used response.
        failure: The latest failure of a host.
        sent: Number of requests that were sent.
    """

    def __init__(
        self,
        hosts: Sequence[InferenceClient],
        request: InferenceRequest,
        deadline_s: float,
        validate: Validate,
        take_hedge: Callable[[], bool],
    ) -> None:
        self.winner: InferenceClient | None = None
        self.done_s = math.nan
        self.failure: Failure | None = None
        self.sent = 0
        self._remaining = list(hosts)
        self._request = request
        self._deadline_s = deadline_s
        self._validate = validate
        self._take_hedge = take_hedge
        self._changed = threading.Event()
        self._calls: dict[InferenceCall, InferenceClient] = {}
        self._hedge_s = math.inf
        self._send_next()

    def wait(self, until_s: float) -> InferenceResponse | None:
        """Wait for a valid response.

        Args:
            until_s: Monotonic time; a time in the past only checks.

        Returns:
            The response; None after the given time, or if all hosts failed.
        """
        while True:
            self._changed.clear()
            response = self._check()
            now_s = time.monotonic()
            if response is not None or not self._calls or now_s >= until_s:
                return response
            if now_s >= self._hedge_s:
                self._hedge_s = math.inf
                if self._remaining and self._take_hedge():
                    self._send_next()
                continue
            self._changed.wait(min(until_s, self._hedge_s) - now_s)

    def cancel(self) -> Failure:
        """Cancel all requests because they are late."""
        for call, client in self._calls.items():
            self.failure = client.cancel(call)
        self._calls.clear()
        assert self.failure is not None
        return self.failure

    def _check(self) -> InferenceResponse | None:
        """The first valid response among finished calls; a failure sends to the next host."""
        for call in [call for call in self._calls if call.done]:
            client = self._calls.pop(call)
            result = client.result(call)
            if isinstance(result, InferenceResponse):
                try:
                    self._validate(result)
                except ProtocolError as error:
                    result = client.reject(call, error)
            if isinstance(result, Failure):
                self.failure = result
                # An answer that failed costs no wait: the next host is asked at once.
                if not self._calls and self._remaining:
                    self._send_next()
                continue
            client.confirm()
            self.winner, self.done_s = client, call.done_s
            for other, loser in self._calls.items():
                loser.supersede(other)
            self._calls.clear()
            return result
        return None

    def _send_next(self) -> None:
        client = self._remaining.pop(0)
        now_s = time.monotonic()
        call = client.send(self._request, self._deadline_s - now_s, self._changed.set)
        self.sent += 1
        self._calls[call] = client
        if self._remaining:
            self._hedge_s = now_s + client.late_after_s
