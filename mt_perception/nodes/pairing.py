# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pairing of images with camera infos by stamp; it never starves, also when time runs backwards.

message_filters stops delivering after a backward clock jump (a looped bag) and calls user code
under its lock; here a stamp is only a key, never an order.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

ImageT = TypeVar('ImageT')
InfoT = TypeVar('InfoT')

CAPACITY = 32
"""Camera infos kept; far more than are ever on the way between two topics of one driver."""


@dataclass(frozen=True)
class Pair(Generic[ImageT, InfoT]):
    """An image that may go ahead, and the camera info for it, if any was ever received."""

    image: ImageT
    info: InfoT | None


class Pairing(Generic[ImageT, InfoT]):
    """Decides when an image may go ahead, and with which camera info.

    The info of the same stamp is used; without one, the latest (a driver may send it rarely).
    An image is held back only while its info is likely on its way: after a driver has shown
    that it sends one with every image, or as long as one is expected for the first time.
    At most one image is held, the newest.
    """

    def __init__(self) -> None:
        self._infos: OrderedDict[int, InfoT] = OrderedDict()
        self._held: tuple[int, ImageT] | None = None
        self._with_every_image = False
        self._gave_up = False

    @property
    def latest(self) -> InfoT | None:
        """The camera info received last."""
        return next(reversed(self._infos.values()), None)

    @property
    def holding(self) -> bool:
        """Whether an image waits for its camera info."""
        return self._held is not None

    def offer_image(
        self, stamp_ns: int, image: ImageT, info_expected: bool
    ) -> Pair[ImageT, InfoT] | None:
        """Take an image; one that is still held is replaced by it.

        Args:
            stamp_ns: Its stamp.
            image: The image.
            info_expected: Whether anyone publishes camera infos.

        Returns:
            The pair that may go ahead now, or None: the image is held.
        """
        if self._held is not None:
            self._stop_waiting()
        if (info := self._infos.get(stamp_ns)) is not None:
            self._with_every_image = True
            return Pair(image, info)
        first = info_expected and not self._infos and not self._gave_up
        if self._with_every_image or first:
            self._held = (stamp_ns, image)
            return None
        return Pair(image, self.latest)

    def offer_info(self, stamp_ns: int, info: InfoT) -> Pair[ImageT, InfoT] | None:
        """Take a camera info.

        Returns:
            The held image with this info, if it waited for it.
        """
        self._infos.pop(stamp_ns, None)
        self._infos[stamp_ns] = info
        if len(self._infos) > CAPACITY:
            self._infos.popitem(last=False)
        if self._held is None or self._held[0] != stamp_ns:
            return None
        self._with_every_image = True
        return self._release(info)

    def give_up(self) -> Pair[ImageT, InfoT] | None:
        """Wait no longer.

        Returns:
            The held image with the latest info, if one was held.
        """
        if self._held is None:
            return None
        pair = self._release(self.latest)
        self._stop_waiting()
        return pair

    def _release(self, info: InfoT | None) -> Pair[ImageT, InfoT] | None:
        if self._held is None:
            return None
        image = self._held[1]
        self._held = None
        return Pair(image, info)

    def _stop_waiting(self) -> None:
        """The info did not come in time: hold nothing until an exact pair is seen again."""
        self._held = None
        self._with_every_image = False
        self._gave_up = True
