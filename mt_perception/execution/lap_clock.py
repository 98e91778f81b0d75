# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the parts of a frame, one after the other."""

from __future__ import annotations

import time


class LapClock:
    """Measures the laps of one frame."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap_ms(self) -> float:
        """Return the time since the last call."""
        last, self._last = self._last, time.perf_counter()
        return (self._last - last) * 1e3
