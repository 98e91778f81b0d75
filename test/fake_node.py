# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for an rclpy node and its graph. It records publishers, timers, messages and logs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from ros_graph import ros_time

STAMP = ros_time(7_000_000_009)


class Handle(nullcontext[None]):
    """A subscription's queue of messages."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[Any] = []

    def take_message(self, kind: type, raw: bool) -> tuple[Any, dict[str, int]] | None:
        return (self.queue.pop(0), {'received_timestamp': 0}) if self.queue else None


class FakeNode:
    """Records what code creates, publishes and logs. A test sets the other nodes of the graph."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Any]] = {}
        self.timers: list[Any] = []
        self.subscriptions: list[Any] = []
        self.said: list[tuple[str, str]] = []
        self.publishers: dict[str, list[Any]] = {}
        self.remapped: dict[str, str] = {}

    def create_publisher(self, kind: type, topic: str, qos: object, **options: Any) -> Any:
        return SimpleNamespace(publish=self.sent.setdefault(topic, []).append)

    def create_timer(self, period_s: float, callback: Callable[[], None], clock: Any) -> Any:
        self.timers.append(SimpleNamespace(period_s=period_s, callback=callback))
        return self.timers[-1]

    def destroy_timer(self, timer: Any) -> None:
        self.timers.remove(timer)

    def create_subscription(
        self, kind: type, topic: str, callback: Any, qos: Any, **options: Any
    ) -> Any:
        made = SimpleNamespace(
            msg_type=kind, topic=topic, callback=callback, qos_profile=qos, handle=Handle(),
            get_publisher_count=lambda: self.count_publishers(topic), options=options,
        )  # fmt: skip
        self.subscriptions.append(made)
        return made

    def destroy_subscription(self, subscription: Any) -> None:
        self.subscriptions.remove(subscription)

    def resolve_topic_name(self, name: str, only_expand: bool = False) -> str:
        own = name.replace('~', '/cam/node') if name.startswith('~') else f'/cam/{name}'
        return own if only_expand else self.remapped.get(name, own)

    def count_publishers(self, topic: str) -> int:
        return len(self.publishers.get(topic, []))

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        return self.publishers.get(topic, [])

    def get_fully_qualified_name(self) -> str:
        return '/cam/node'

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: STAMP))

    def get_logger(self) -> Any:
        return SimpleNamespace(
            **{
                level: (lambda text, level=level: self.said.append((level, text)))
                for level in ('info', 'warning', 'error')
            }
        )
