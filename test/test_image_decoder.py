# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A decoder that overruns costs its image, and neither the next ones nor the end of the node."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from mt_perception.errors import ImageError
from mt_perception.nodes import image_decoder
from mt_perception.nodes.image_decoder import ImageDecoder

PATIENCE_S = 30.0
RAW = Image(height=1, width=2, encoding='bgr8', step=6, data=[1, 2, 3, 4, 5, 6])


def jpeg(grey: int = 90) -> CompressedImage:
    content = cv2.imencode('.jpg', np.full((16, 24, 3), grey, np.uint8))[1]
    return CompressedImage(format='jpeg', data=content.tobytes())


class Gate:
    """Stands for a decoder that does not end until it is opened; other images are decoded."""

    def __init__(self, real: object) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.real = real

    def __call__(self, message: object) -> object:
        if isinstance(message, CompressedImage) and message.format == 'slow':
            self.entered.set()
            assert self.opened.wait(PATIENCE_S)
        return self.real(message)  # type: ignore[operator]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(image_decoder.image_from)
    monkeypatch.setattr(image_decoder, 'image_from', made)
    yield made
    made.opened.set()


def slow() -> CompressedImage:
    message = jpeg()
    message.format = 'slow'
    return message


def test_images_are_decoded_and_errors_pass_through() -> None:
    decoder = ImageDecoder()
    assert abs(int(decoder.decode(jpeg(90)).mean()) - 90) <= 2
    assert decoder.decode(RAW).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    with pytest.raises(ImageError, match='ends before'):
        decoder.decode(CompressedImage(format='jpeg', data=bytes(jpeg().data)[:-40]))


def test_an_overrunning_decoder_is_left_behind_and_replaced(gate: Gate) -> None:
    decoder = ImageDecoder(limit_s=0.05)
    for number in range(2):
        with pytest.raises(ImageError, match='not decoded within') as caught:
            decoder.decode(slow())
        assert caught.value.reason == 'too_slow'
        if number == 0:
            assert decoder.decode(jpeg()).shape == (16, 24, 3), 'the next image is decoded'
    # Their number is bounded, and raw images need no decoder.
    with pytest.raises(ImageError, match='2 images are still being decoded'):
        decoder.decode(jpeg())
    assert decoder.decode(RAW).size
    behind = [t for t in threading.enumerate() if t.name.endswith('decoder')]
    assert len(behind) == 2
    gate.opened.set()
    for thread in behind:
        thread.join(PATIENCE_S)
    assert decoder.decode(jpeg()).shape == (16, 24, 3)


def test_closing_does_not_wait_for_a_decoder(gate: Gate) -> None:
    decoder = ImageDecoder(limit_s=10 * PATIENCE_S)
    errors: list[Exception] = []

    def decode() -> None:
        try:
            decoder.decode(slow())
        except ImageError as error:
            errors.append(error)

    waiting = threading.Thread(target=decode)
    waiting.start()
    assert gate.entered.wait(PATIENCE_S)
    decoder.close()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    assert len(errors) == 1
