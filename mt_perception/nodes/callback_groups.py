# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A callback group whose entities are not always waited for.

rclpy builds a new wait set for each wake-up, in Python: an entity that is left out costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup


class SelectiveGroup(MutuallyExclusiveCallbackGroup):
    """Lets an executor wait only for the entities that are wanted now.

    Args:
        is_wanted: Returns whether an entity (subscription, event handler …) is waited for. It is
            asked at each wake-up.
    """

    def __init__(self, is_wanted: Callable[[Any], bool]) -> None:
        super().__init__()
        self._is_wanted = is_wanted

    def can_execute(self, entity: Any) -> bool:
        """Return whether an executor waits for an entity, and may run its callback."""
        return self._is_wanted(entity) and bool(super().can_execute(entity))
