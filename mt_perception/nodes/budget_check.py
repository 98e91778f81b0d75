# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compares budgets with the measured cost of the latest frames, for diagnostics."""

from __future__ import annotations

from collections import deque

import numpy as np

from mt_perception.planning.budget import Budget
from mt_perception.reports import Execution

FRAMES = 32
"""Frames since the last change of the budget that are necessary for a judgement."""

_TOLERANCE = 1.1
"""Factor above the compute budget that is still normal: it is an average over many frames."""


class BudgetCheck:
    """Notes frames and says why the budget is not met.

    Args:
        budget: The budget.
        cheapest: Cost of the cheapest path as a fraction of the full path.
    """

    def __init__(self, budget: Budget, cheapest: float) -> None:
        self._budget = budget
        self._cheapest = cheapest
        self._latencies_ms: deque[float] = deque(maxlen=FRAMES)
        self._last: Execution | None = None

    def add(self, execution: Execution, latency_ms: float) -> None:
        """Note a frame.

        Args:
            execution: What was run.
            latency_ms: From arrival to the last publication.
        """
        self._last = execution
        self._latencies_ms.append(latency_ms)

    def warning(self) -> str:
        """A sentence on a budget that is not met; empty if it is met, or after too few frames."""
        last = self._last
        if last is None or len(self._latencies_ms) < FRAMES:
            return ''
        found = []
        compute = self._budget.compute
        if last.budget is not None and last.budget.realised > _TOLERANCE * compute:
            found.append(
                f'budget.compute {compute:g} is not met: {last.budget.realised:.2f} on average; '
                f'the cheapest path costs {self._cheapest:.2f}, and budget.max_stale_ms allows '
                'reuse, which costs less'
            )
        target_ms = self._budget.latency_ms
        p95_ms = float(np.quantile(list(self._latencies_ms), 0.95))
        if 0 < target_ms < p95_ms:
            found.append(
                f'budget.latency_ms {target_ms:g} is not met: p95 is {p95_ms:.0f} ms on path '
                f'{last.path}'
            )
        return '; '.join(found)
