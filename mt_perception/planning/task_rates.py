# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Turns: a task that matters half as much as another is run half as often."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Turns:
    """Tells, each time something is run, which tasks wait for a later time."""

    def __init__(self) -> None:
        self._waited: dict[str, float] = {}

    def resting(self, tasks: Collection[str], weights: Mapping[str, float]) -> frozenset[str]:
        """The tasks that wait; those that matter most never do.

        Args:
            tasks: The tasks that could be run.
            weights: Task → how much it matters against others.
        """
        most = max((weights[task] for task in tasks), default=0.0)
        resting = set()
        for task in sorted(tasks):
            share = weights[task] / most if most else 1.0
            waited = self._waited.get(task, 1.0 - share) + share
            if waited < 1 - 1e-9:
                resting.add(task)
            else:
                waited = max(0.0, waited - 1)
            self._waited[task] = waited
        return frozenset(resting)
