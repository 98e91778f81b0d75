# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lines of text in pictures, sized by the picture and legible on any background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.image.palette import Colour

Picture = NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Height in pixels of a line at font scale 1, of which the letters take about 22.
_LINE_HEIGHT = 36


@dataclass(frozen=True)
class Line:
    """One line of text, with a square of colour before it if ``chip`` is given."""

    text: str
    ink: Colour
    chip: Colour | None = None


def draw_lines(
    picture: Picture,
    lines: Sequence[Line],
    corner: tuple[int, int],
    background: Colour,
    opacity: float = 0.65,
) -> Picture:
    """Write lines below each other on a block of colour; return the picture.

    Args:
        picture: uint8 (H, W, 3) BGR, is drawn into.
        lines: The lines.
        corner: (x, y) of the block's upper left corner.
        background: Colour of the block.
        opacity: 0 leaves the picture as it is below the letters, 1 hides it.
    """
    scale, row = _font_scale(picture), text_height(picture)
    x, y = max(0, corner[0]), max(0, corner[1])
    widths = [text_size(picture, line.text)[0] + (row if line.chip else 0) for line in lines]
    block = picture[y : y + row * len(lines), x : x + max(widths, default=0)]
    block[:] = block * (1 - opacity) + np.array(background) * opacity
    for i, line in enumerate(lines):
        left, top = x + row // 4, y + i * row
        if line.chip:
            side = row // 5
            chip = (left, top + side), (left + row - 2 * side, top + row - side)
            cv2.rectangle(picture, *chip, line.chip, cv2.FILLED)
            left += row
        # The baseline: letters are centred, descenders hang below.
        at = (left, top + round(row * 0.71))
        cv2.putText(picture, line.text, at, _FONT, scale, line.ink, _stroke(scale), cv2.LINE_AA)
    return picture


def text_size(picture: Picture, text: str) -> tuple[int, int]:
    """(width, height) of a line's block in a picture, in pixels."""
    scale, row = _font_scale(picture), text_height(picture)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, _stroke(scale))
    return width + row // 2, row


def text_height(picture: Picture) -> int:
    """Height of one line in a picture, in pixels."""
    return round(_LINE_HEIGHT * _font_scale(picture))


def _font_scale(picture: Picture) -> float:
    return float(np.clip(max(picture.shape[:2]) / 1300, 0.33, 3))


def _stroke(scale: float) -> int:
    return max(1, round(scale * 1.7))
