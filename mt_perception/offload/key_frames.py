# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decides which frames are coded alone (key frames) and which as differences to one.

Every difference refers to the last key frame that the host has confirmed, never to another
difference. So a lost frame costs nothing beyond itself.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.offload.payload import DIFFERENCE, Payload, difference_body
from mt_perception.offload.split_model import SplitEncoder

_MOST_CHANGED = 0.9
"""Share of changed cells above which a frame is coded alone: a difference saves nothing."""


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame that was coded alone.

    Attributes:
        rate: Index of its rate.
        symbols: int16 (C, h, w).
        checksum: Of its code; the host finds it by this number.
    """

    rate: int
    symbols: NDArray[np.int16]
    checksum: int


class KeyFrames:
    """Codes the frames of one robot for one host.

    The share of changed cells estimates the size of a difference, relative to a key frame. The
    size of a difference to the previous frame estimates the savings of a newer key frame. Once
    these savings add up to a key frame, a new one is sent.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: SplitEncoder) -> None:
        self._encoder = encoder
        self._confirmed: KeyFrame | None = None
        self._sent: KeyFrame | None = None
        self._last: NDArray[np.int16] | None = None
        self._missed = 0.0

    def payload(
        self, image: NDArray[np.uint8], rate: int, stamp_ns: int, frame_id: str
    ) -> Payload:
        """The payload of the network's input, uint8 (1, H, W, 3).

        Raises:
            PayloadError: The rate does not exist.
        """
        codec, key = self._encoder.codec, self._confirmed
        latent = self._encoder.latent(image, rate)
        self._sent = None
        if key is not None and key.rate == rate and key.symbols.shape == latent.shape:
            near = codec.quantise_near(latent, rate, key.symbols)
            if self._saves(near, latent, key):
                body = difference_body(key.checksum, codec.encode(near, rate, key.symbols))
                return self._encoder.wrap(body, image, rate, stamp_ns, frame_id, DIFFERENCE)
        symbols = codec.quantise(latent, rate)
        body = codec.encode(symbols, rate)
        self._last, self._missed = symbols, 0.0
        self._sent = KeyFrame(rate, symbols, zlib.crc32(body))
        return self._encoder.wrap(body, image, rate, stamp_ns, frame_id)

    def _saves(self, near: NDArray[np.int16], latent: NDArray[np.float32], key: KeyFrame) -> bool:
        """Whether a difference is cheaper in the long run than a new key frame."""
        changed = _changed(near, key.symbols)
        last = key.symbols if self._last is None else self._last
        since = _changed(self._encoder.codec.quantise_near(latent, key.rate, last), last)
        self._last = near
        self._missed += max(0.0, changed - since)
        return changed <= _MOST_CHANGED and self._missed <= 1.0

    def confirm(self, kept: bool) -> None:
        """Record that the host answered the last payload.

        Args:
            kept: Whether the host keeps its features.
        """
        if self._sent is not None and kept:
            self._confirmed = self._sent
        self._sent = None

    def forget(self) -> None:
        """Code the next frame alone: the host did not answer, or lost the key frame."""
        self._confirmed = self._sent = None


def _changed(symbols: NDArray[np.int16], reference: NDArray[np.int16]) -> float:
    """Share of the cells with a symbol that differs."""
    return float((symbols != reference).any(axis=0).mean())
