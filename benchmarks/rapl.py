# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Energy of the processor from its counters (RAPL), if this user may read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

ZONES = Path('/sys/class/powercap')


def joules(action: Callable[[], object], runs: int, zones: Path = ZONES) -> float | None:
    """Energy of one run of an action on all processor packages; None where it cannot be read.

    The counters include all other programs, so the machine should be idle.
    """
    before = _counters(zones)
    for _ in range(runs):
        action()
    after = _counters(zones)
    if not before or before.keys() != after.keys():
        return None
    used = 0
    for zone, start in before.items():
        # The counter wraps at its range.
        span = int((zone / 'max_energy_range_uj').read_text()) + 1
        used += (after[zone] - start) % span
    return used * 1e-6 / runs


def _counters(zones: Path) -> dict[Path, int]:
    """Zone of each package → microjoules; empty if there is none or it is not readable."""
    try:
        return {
            name.parent: int((name.parent / 'energy_uj').read_text())
            for name in sorted(zones.glob('*/name'))
            if name.read_text().startswith('package')
        }
    except OSError:
        return {}
