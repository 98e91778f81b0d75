# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""QoS events of a node's topics: incompatible endpoints, and changes of the subscribers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind

from mt_perception.nodes.callback_groups import SelectiveGroup

HAS_MATCHED = 'matched' in inspect.signature(PublisherEventCallbacks).parameters
"""Whether ROS 2 reports changes of the subscribers; Humble does not."""


class QosEvents:
    """Receives the QoS events of a node's topics.

    An executor waits for them only while ``due`` is set: there is one handler for each topic, and
    each costs time at each wake-up.

    Args:
        node: The node.
        report: Called with (full name of the topic, name of the policy).
        demand_changed: Called when the subscribers of a topic have changed.

    Attributes:
        demand_changed: The argument.
        due: Whether an executor waits for events. The node sets it once a second and while it is
            unsubscribed from the image, and the next image resets it.
        group: The callback group of the event handlers.
    """

    def __init__(
        self,
        node: Node,
        report: Callable[[str, str], None],
        demand_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._node = node
        self._report = report
        self.demand_changed = demand_changed
        self.due = True
        self.group = SelectiveGroup(lambda entity: self.due)

    def handler(self, topic: str) -> Callable[[Any], None]:
        """Return the handler of a topic's event."""

        def on_event(event: Any) -> None:
            name = qos_policy_name_from_kind(event.last_policy_kind)
            self._report(self._node.resolve_topic_name(topic), name)

        return on_event

    def of_publisher(self, topic: str) -> PublisherEventCallbacks:
        """Return the handlers of a publisher."""
        matched = {'matched': lambda event: self.demand_changed()} if HAS_MATCHED else {}
        return PublisherEventCallbacks(
            incompatible_qos=self.handler(topic), use_default_callbacks=False, **matched
        )
