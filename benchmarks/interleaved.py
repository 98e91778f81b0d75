# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Timing that can be compared: the cases take turns, and medians are taken at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

WARM_UP = 5


def medians_ms(cases: Mapping[str, Callable[[], object]], rounds: int = 60) -> dict[str, float]:
    """Median wall time of each case; whatever else the computer does falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds + WARM_UP):
        for name, work in cases.items():
            start = time.perf_counter()
            work()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(values[WARM_UP:])) for name, values in times.items()}
