# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's subscriptions: the newest image, and the camera info of its stamp."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mt_perception.nodes.callback_groups import SelectiveGroup
from mt_perception.nodes.conversions import stamp_ns
from mt_perception.nodes.on_demand_timer import OnDemandTimer
from mt_perception.nodes.pairing import Pair, StampPairing
from mt_perception.nodes.publishers import OVERRIDABLE
from mt_perception.nodes.qos_events import QosEvents

ImageType: TypeAlias = Image | CompressedImage

OnImage = Callable[[ImageType, 'CameraInfo | None', float], None]
"""Called with an image, its camera info if there is one, and the monotonic time of arrival."""

_HOLD_S = 0.05
"""Longest time that an image waits for its camera info; drivers send both within milliseconds."""

_HEAD, _STAMP_END = 4, 12
"""Bytes of a serialized message before its stamp, and up to its end."""

_CAMERA_INFO_DEPTH = 10
_LONGEST_QUEUED_S = 1.0
_COMPRESSED = '/compressed'


class ImageSubscription:
    """Subscribes to images and camera infos and pairs them.

    Camera infos are taken when an image arrives. The executor waits for them only while an image
    waits for its own, which saves one wake-up of two for each frame.

    The middleware keeps the newest image only (keep last 1). Images that it overwrites appear as
    gaps in the publisher's sequence numbers.

    Args:
        node: The node.
        transport: ``raw`` or ``compressed``.
        on_arrival: Called with (monotonic time, sequence number or None) for every image.
        on_image: Called for every image with its camera info.
        on_superseded: Called when a newer image arrived before the camera info of a held one.
        qos_events: Receives the QoS events.
    """

    def __init__(
        self,
        node: Node,
        transport: str,
        on_arrival: Callable[[float, int | None], None],
        on_image: OnImage,
        on_superseded: Callable[[], None],
        qos_events: QosEvents,
    ) -> None:
        self._node = node
        self._qos_events = qos_events
        self._on_arrival = on_arrival
        self._on_image_ready = on_image
        self._on_superseded = on_superseded
        self._arrived_s = -math.inf
        self._infos = _CameraInfos()
        self._pairing: StampPairing[tuple[ImageType, float], CameraInfo] = StampPairing()
        self.image_type: type[ImageType] = CompressedImage if transport == 'compressed' else Image
        self.image_topic, self.camera_info_topic = topics(node, transport)

        group = SelectiveGroup(self._is_awaited)
        self._subscriptions = [
            node.create_subscription(
                kind,
                topic,
                callback,
                QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=qos_events.handler(topic)
                ),
                qos_overriding_options=OVERRIDABLE,
                callback_group=group,
                raw=kind is CameraInfo,
            )
            for kind, topic, callback, depth in (
                (CameraInfo, self.camera_info_topic, self._on_camera_info, _CAMERA_INFO_DEPTH),
                (self.image_type, self.image_topic, self._on_image, 1),
            )
        ]
        self._timeout = OnDemandTimer(node, _HOLD_S, self._on_timeout)

    @property
    def image_handle(self) -> Any:
        """The image subscription of rclpy's C++ part."""
        return self._subscriptions[1].handle

    def is_flowing(self, since_s: float) -> bool:
        """Return whether an image arrived after a monotonic time, and none waits."""
        return self._arrived_s > since_s and not self._pairing.holding

    def take(self) -> None:
        """Take the newest image, if there is one, and process it, as an executor does."""
        with self.image_handle:
            taken = self.image_handle.take_message(self.image_type, False)
        if taken is not None:
            self._on_image(*taken)

    def destroy(self) -> None:
        """Unsubscribe and discard a held image."""
        self._timeout.stop()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def silence_reason(self) -> str:
        """The likely reason why no image arrives, in words for the operator."""
        topic = self.image_topic
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            return (
                f'no publisher on {topic}; start the camera, or correct the topic '
                '(of a node: remap `image`)'
            )
        expected = f'sensor_msgs/msg/{self.image_type.__name__}'
        found = {publisher.topic_type for publisher in publishers}
        if expected not in found:
            return (
                f'{topic} carries {", ".join(sorted(found))}, expected {expected}; '
                'check the remapping of `image` and input.transport'
            )
        wanted = self._subscriptions[1].qos_profile.reliability
        offered = {publisher.qos_profile.reliability for publisher in publishers}
        if wanted is ReliabilityPolicy.RELIABLE and wanted not in offered:
            return (
                f'the publisher of {topic} is best effort, but qos_overrides request reliable; '
                'remove that override'
            )
        return f'{topic} has a publisher that sends no images; check the camera'

    def _on_camera_info(self, serialized: bytes) -> None:
        found = self._infos.read(serialized)
        if found is not None:
            self._deliver(self._pairing.offer_info(*found))

    def _on_image(self, message: ImageType, info: Mapping[str, Any]) -> None:
        now_s = self._arrived_s = time.monotonic()
        arrived_s = now_s - queued_s(info.get('received_timestamp'), time.time_ns())
        self._qos_events.due = False
        # Each publisher counts for itself, and the message does not identify its publisher.
        alone = self._node.count_publishers(self.image_topic) == 1
        # Humble's message info has no sequence number.
        self._on_arrival(arrived_s, info.get('publication_sequence_number') if alone else None)
        self._take_camera_infos()
        if self._pairing.holding:
            self._on_superseded()
        expected = (
            self._pairing.latest is None
            and self._node.count_publishers(self.camera_info_topic) > 0
        )
        stamp = stamp_ns(message.header.stamp)
        self._deliver(self._pairing.offer_image(stamp, (message, arrived_s), expected))
        if self._pairing.holding:
            self._timeout.stop()
            self._timeout.start()

    def _is_awaited(self, entity: Any) -> bool:
        if not isinstance(entity, Subscription):
            return self._qos_events.due
        return entity.msg_type is not CameraInfo or self._pairing.holding

    def _take_camera_infos(self) -> None:
        """Take all camera infos that have arrived."""
        handle = self._subscriptions[0].handle
        with handle:
            while (taken := handle.take_message(CameraInfo, True)) is not None:
                self._on_camera_info(taken[0])

    def _on_timeout(self) -> None:
        self._deliver(self._pairing.give_up())

    def _deliver(self, pair: Pair[tuple[ImageType, float], CameraInfo] | None) -> None:
        if pair is not None:
            self._timeout.stop()
            message, arrived_s = pair.image
            self._on_image_ready(message, pair.info, arrived_s)


class _CameraInfos:
    """Reads serialized camera infos; a camera's are equal but for their stamps, and read once."""

    def __init__(self) -> None:
        self._rest = b''
        self._info = CameraInfo()

    def read(self, serialized: bytes) -> tuple[int, CameraInfo] | None:
        """Return the stamp in ns and a camera info, maybe with an older stamp; None if invalid."""
        rest = serialized[_STAMP_END:]
        if rest != self._rest:
            try:
                self._info = deserialize_message(serialized, CameraInfo)
            except Exception:
                # The middleware's error has no class of its own.
                return None
            self._rest = rest
        little = serialized[1] & 1
        seconds, nanoseconds = struct.unpack_from('<iI' if little else '>iI', serialized, _HEAD)
        return seconds * 1_000_000_000 + nanoseconds, self._info


def queued_s(received_ns: int | None, now_ns: int) -> float:
    """Seconds that a message waited in the middleware while the node was busy; 0 if unknown.

    Both times are the system's, as the middleware has no other: an implausible wait is a step of
    the clock.
    """
    waited_s = (now_ns - (received_ns or 0)) * 1e-9
    return waited_s if 0 < waited_s < _LONGEST_QUEUED_S else 0.0


def topics(node: Node, transport: str) -> tuple[str, str]:
    """The full names of the image and camera info topics.

    As in image_transport, ``image/compressed`` follows a remapping of ``image``, and the camera
    info has the namespace of the image. Each can also be remapped by itself. An ``image`` that is
    remapped to a ``/compressed`` topic is used as it is.
    """
    image = node.resolve_topic_name('image')
    if transport == 'compressed':
        image = image.removesuffix(_COMPRESSED)
    own = _remapped(node, 'image' + _COMPRESSED)
    base = own.removesuffix(_COMPRESSED) if own and transport == 'compressed' else image
    topic = (own or image + _COMPRESSED) if transport == 'compressed' else image
    beside = base.rsplit('/', 1)[0] + '/camera_info'
    return topic, _remapped(node, 'camera_info') or beside


def _remapped(node: Node, name: str) -> str | None:
    """The full name of a remapped topic; None if it is not remapped."""
    resolved: str = node.resolve_topic_name(name)
    return None if resolved == node.resolve_topic_name(name, only_expand=True) else resolved
