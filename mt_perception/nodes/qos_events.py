# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reports publishers and subscribers whose QoS is incompatible with the node's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind

from mt_perception.nodes.callback_groups import SelectiveGroup


class QosEvents:
    """Receives the QoS events of a node's topics.

    An executor waits for them only while ``due`` is set: there is one handler for each topic, and
    each costs time at each wake-up.

    Args:
        node: The node.
        report: Called with (full name of the topic, name of the policy).

    Attributes:
        due: Whether an executor waits for events. The node sets it once a second, and the next
            image resets it.
        group: The callback group of the event handlers.
    """

    def __init__(self, node: Node, report: Callable[[str, str], None]) -> None:
        self._node = node
        self._report = report
        self.due = True
        self.group = SelectiveGroup(lambda entity: self.due)

    def handler(self, topic: str) -> Callable[[Any], None]:
        """Return the handler of a topic's event."""

        def on_event(event: Any) -> None:
            name = qos_policy_name_from_kind(event.last_policy_kind)
            self._report(self._node.resolve_topic_name(topic), name)

        return on_event
