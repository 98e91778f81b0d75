# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs images with camera infos by stamp, also after a backward jump of the clock.

message_filters stops after a backward jump (a looped bag) and calls user code under its lock.
Here a stamp is a key only; stamps are never compared in order.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

ImageT = TypeVar('ImageT')
InfoT = TypeVar('InfoT')

CAPACITY = 32
"""Camera infos kept; far more than are in transit between two topics of one driver."""


@dataclass(frozen=True)
class Pair(Generic[ImageT, InfoT]):
    """An image and its camera info; None if no camera info has been received."""

    image: ImageT
    info: InfoT | None


class StampPairing(Generic[ImageT, InfoT]):
    """Decides when an image is delivered, and with which camera info.

    The camera info of the same stamp is used; without one, the latest (some drivers send it
    rarely). An image is held only while its camera info is likely to arrive: if the previous
    images had one each, or if the first one is expected. At most one image is held, the newest.
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
        """Add an image; it replaces a held one.

        Args:
            stamp_ns: Its stamp.
            image: The image.
            info_expected: Whether camera infos have a publisher.

        Returns:
            The pair to deliver; None if the image is held.
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
        """Add a camera info.

        Returns:
            The held image with this camera info, if the stamps are equal; else None.
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
        """Stop waiting for the camera info of the held image.

        Returns:
            The held image with the latest camera info; None if no image is held.
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
        """The camera info was late: hold no image until an exact pair arrives again."""
        self._held = None
        self._with_every_image = False
        self._gave_up = True
