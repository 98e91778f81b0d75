# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of an offload client."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mt_perception.errors import OffloadError
from mt_perception.model.providers import CPU
from mt_perception.offload.circuit_breaker import CircuitBreakerSettings
from mt_perception.offload.decision import DecisionSettings
from mt_perception.offload.endpoint import Endpoint


@dataclass(frozen=True)
class OffloadSettings:
    """Settings of an offload client.

    Attributes:
        endpoints: The remote hosts in order of preference.
        deadline_ms: Time from the arrival of a frame to its results, in ms; more than 0.
        decision: When to use a host.
        breaker: When to block requests to a failing host.
        providers: ONNX Runtime execution providers of the encoder.
        threads: Threads inside one operator of the encoder.

    Raises:
        OffloadError: There is no endpoint, one occurs twice, or the deadline is not a finite time
            above 0.

    Example:
        >>> from mt_perception.offload.endpoint import Endpoint
        >>> from mt_perception.offload.settings import OffloadSettings
        >>> OffloadSettings([Endpoint('127.0.0.1:8001')], deadline_ms=100).deadline_ms
        100
    """

    endpoints: Sequence[Endpoint]
    deadline_ms: float = 200.0
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    breaker: CircuitBreakerSettings = field(default_factory=CircuitBreakerSettings)
    providers: Sequence[str] = (CPU,)
    threads: int = 1

    def __post_init__(self) -> None:
        addresses = [endpoint.address for endpoint in self.endpoints]
        if not addresses or len(set(addresses)) != len(addresses):
            raise OffloadError(f'expected at least one endpoint and none twice, found {addresses}')
        if not (math.isfinite(self.deadline_ms) and self.deadline_ms > 0):
            raise OffloadError(
                f'the deadline of offloaded frames is {self.deadline_ms:g} ms; expected a finite '
                'time above 0'
            )
