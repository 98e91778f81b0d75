# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Task rates: a task with half the weight of another runs half as often."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class TaskRates:
    """Decides, each time tasks could run, which of them are deferred (weighted round robin)."""

    def __init__(self) -> None:
        self._waited: dict[str, float] = {}

    def deferred(self, tasks: Collection[str], weights: Mapping[str, float]) -> frozenset[str]:
        """Return the tasks to defer; tasks of the largest weight never are.

        Args:
            tasks: The tasks that could run.
            weights: Task → weight.
        """
        most = max((weights[task] for task in tasks), default=0.0)
        deferred = set()
        for task in sorted(tasks):
            share = weights[task] / most if most else 1.0
            waited = self._waited.get(task, 1.0 - share) + share
            if waited < 1 - 1e-9:
                deferred.add(task)
            else:
                waited = max(0.0, waited - 1)
            self._waited[task] = waited
        return frozenset(deferred)
