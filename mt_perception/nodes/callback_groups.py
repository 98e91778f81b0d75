# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A callback group whose entities an executor can skip.

rclpy builds a new wait set in Python for each wake-up; a skipped entity costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup


class SelectiveGroup(MutuallyExclusiveCallbackGroup):
    """Makes an executor wait only for the entities that are needed now.

    Args:
        is_wanted: Returns whether an executor waits for an entity (subscription, event handler).
            Called at each wake-up.
    """

    def __init__(self, is_wanted: Callable[[Any], bool]) -> None:
        super().__init__()
        self._is_wanted = is_wanted

    def can_execute(self, entity: Any) -> bool:
        """Return whether an executor waits for an entity, and may run its callback."""
        return self._is_wanted(entity) and bool(super().can_execute(entity))
