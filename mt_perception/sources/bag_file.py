# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of one file of a recording, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

CDR, ROS1 = 'cdr', 'ros1'
"""Message encodings that are decoded; channels of others are listed and skipped."""


@dataclass(frozen=True)
class Channel:
    """Messages of one type on one topic.

    Attributes:
        topic: Name of the topic.
        msgtype: Type of the messages in ROS 2's form, ``package/msg/Name``.
        encoding: ``cdr``, ``ros1``, or what else the file says (``json``, ``protobuf``).
        definition: Text of the message definition; empty where the file has none.
        definition_format: ``ros2msg``, ``ros2idl`` or ``ros1msg``.
        count: Number of messages.
    """

    topic: str
    msgtype: str
    encoding: str
    definition: str = ''
    definition_format: str = ''
    count: int = 0


class BagFile(ABC):
    """One file of a recording.

    Attributes:
        channels: Key of the file's own → channel.
        start_ns: Receive time of the first message; 0 if there is none.
        end_ns: Receive time of the last message.
        damage: Kind of damage → number of places that were skipped while reading.
    """

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self.start_ns = 0
        self.end_ns = 0
        self.damage: Counter[str] = Counter()

    @abstractmethod
    def messages(self, keys: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (channel key, receive time in ns, data) in the order of receive times."""

    @abstractmethod
    def close(self) -> None:
        """Close the file; may be called twice."""
