# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Message definitions: those of ROS 2 and vision_msgs, and those that a bag brings along."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

import mt_perception
from mt_perception.errors import BagError
from mt_perception.sources.bag_file import ROS1, Channel

# The fields of their messages are the same in every distribution.
_STABLE_PACKAGES = ('builtin_interfaces/', 'std_msgs/', 'sensor_msgs/', 'geometry_msgs/')

_IDL_RULE = '=' * 80 + '\n'


@lru_cache(maxsize=1)
def standard_types() -> Typestore:
    """The messages of ROS 2, and those of vision_msgs from the copy in this package."""
    types = get_typestore(Stores.ROS2_JAZZY)
    folder = Path(mt_perception.__file__).parent / 'interfaces' / 'vision_msgs' / 'msg'
    for file in sorted(folder.glob('*.msg')):
        types.register(get_types_from_msg(file.read_text(), f'vision_msgs/msg/{file.stem}'))
    return types


class MessageDecoder:
    """Decodes messages by the definition of their channel, or else by the standard one.

    Bags written before ROS 2 Iron carry no definitions.
    """

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Typestore] = {}

    def decode(self, channel: Channel, data: bytes) -> Any | None:
        """Decode one message; None if the data does not fit its definition.

        Raises:
            BagError: The type has no usable definition.
        """
        store = self._store(channel)
        try:
            if channel.encoding == ROS1:
                return store.deserialize_ros1(data, channel.msgtype)
            return store.deserialize_cdr(data, channel.msgtype)
        except Exception:
            # The generated code raises struct, value, index, Unicode and memory errors.
            return None

    def _store(self, channel: Channel) -> Typestore:
        key = channel.msgtype, channel.definition
        if key not in self._stores:
            self._stores[key] = _own_types(channel) or _default_types(channel)
        return self._stores[key]


def _own_types(channel: Channel) -> Typestore | None:
    """The types of the channel's own definition; None if it has none that can be parsed."""
    text = channel.definition
    if not text.strip():
        return None
    store = get_typestore(Stores.EMPTY)
    try:
        if not channel.definition_format.endswith('idl'):
            store.register(get_types_from_msg(text, channel.msgtype))
        elif text.startswith(f'{_IDL_RULE}IDL: '):
            for part in text.split(_IDL_RULE)[1:]:
                store.register(get_types_from_idl(part.split('\n', 1)[1]))
        else:
            store.register(get_types_from_idl(text))
        store.get_msgdef(channel.msgtype)
        if not _agrees(store, _known_types(channel)):
            return None
    except Exception:
        # rosbags' parser raises type system, key, index and recursion errors on foreign text.
        return None
    return store


def _agrees(store: Typestore, known: Typestore) -> bool:
    """Whether the fields of common types have their standard names, unlike in a damaged file."""
    return all(
        [name for name, _ in store.fielddefs[kind][1]]
        == [name for name, _ in known.fielddefs[kind][1]]
        for kind in store.fielddefs
        if kind.startswith(_STABLE_PACKAGES) and kind in known.fielddefs
    )


def _known_types(channel: Channel) -> Typestore:
    if channel.encoding == ROS1:
        return get_typestore(Stores.ROS1_NOETIC)
    return standard_types()


def _default_types(channel: Channel) -> Typestore:
    store = _known_types(channel)
    if channel.msgtype not in store.fielddefs:
        raise BagError(
            f'the bag has no definition of {channel.msgtype} ({channel.topic}) and it is not one '
            'of the standard messages'
        )
    return store
