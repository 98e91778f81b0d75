# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an offload client can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mt_perception.model.sessions import CPU
from mt_perception.offload.circuit_breaker import CircuitBreakerSettings
from mt_perception.offload.decision import DecisionSettings
from mt_perception.offload.endpoint import Endpoint


@dataclass(frozen=True)
class OffloadSettings:
    """What a client can be told.

    Attributes:
        endpoint: The remote host.
        deadline_ms: From a frame's arrival to its results.
        decision: When to use the host.
        breaker: When to leave it alone.
        providers: ONNX Runtime execution providers of the encoder.
        threads: Threads inside one of its operators.
    """

    endpoint: Endpoint
    deadline_ms: float = 200.0
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    breaker: CircuitBreakerSettings = field(default_factory=CircuitBreakerSettings)
    providers: Sequence[str] = (CPU,)
    threads: int = 1
