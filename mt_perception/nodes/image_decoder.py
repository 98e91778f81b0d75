# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes image messages within a time limit.

The check of the headers bounds the work of a JPEG decoder, but not of every decoder in every
OpenCV. A decoder in compiled code cannot be stopped; it is abandoned with its thread.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage

from mt_perception.errors import ImageError
from mt_perception.image.compressed import image_from
from mt_perception.nodes.frame_worker import THREAD
from mt_perception.nodes.subscriptions import ImageType

LIMIT_S = 2.0
"""Time limit of one image; a JPEG of 33 megapixels takes 0.3 s on one core of a desktop. With one
camera and without offloading, services wait as long."""

_MAX_OVERRUNNING = 2


class ImageDecoder:
    """Decodes images of one camera, one at a time.

    Args:
        limit_s: Time limit of one compressed image.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._closed = False
        self._wake = threading.Event()
        self._overrunning: list[threading.Thread] = []

    def decode(self, message: ImageType) -> NDArray[np.uint8]:
        """The pixels of an image message as uint8 (H, W, 3), BGR.

        Raises:
            ImageError: The message is invalid, or its decoder takes longer than the limit.
        """
        if not isinstance(message, CompressedImage):
            return image_from(message)
        self._overrunning = [thread for thread in self._overrunning if thread.is_alive()]
        if len(self._overrunning) >= _MAX_OVERRUNNING:
            raise ImageError(
                'too_slow',
                f'{len(self._overrunning)} images are still being decoded after '
                f'{self._limit_s:g} s; no compressed image is decoded until one is done',
            )
        outcome: list[NDArray[np.uint8] | BaseException] = []
        # An event of this image: an overrunning decoder sets its own later.
        wake = self._wake = threading.Event()

        def work() -> None:
            try:
                outcome.append(image_from(message))
            except BaseException as error:
                outcome.append(error)
            wake.set()

        # The start of a thread takes less than 0.1 ms.
        thread = threading.Thread(target=work, name=f'{THREAD}.decoder', daemon=True)
        thread.start()
        if not self._closed:
            wake.wait(self._limit_s)
        if not outcome:
            self._overrunning.append(thread)
            raise ImageError(
                'too_slow',
                f'the image was not decoded within {self._limit_s:g} s; save it again with an '
                'ordinary encoder',
            )
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def close(self) -> None:
        """Make a waiting ``decode`` raise at once."""
        self._closed = True
        self._wake.set()
