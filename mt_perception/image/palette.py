# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Colours of classes, BGR: a class has the same colour in boxes and in label images."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
DARK: Colour = (24, 24, 24)
LIGHT: Colour = (245, 245, 245)
UNKNOWN: Colour = (70, 70, 70)
WARNING: Colour = (110, 110, 255)

# Natural colours where there are any; surfaces are pale, objects saturated.
_NAMED: dict[str, Colour] = {
    'person': (60, 60, 235),
    'ground': (150, 150, 90),
    'vegetation': (70, 170, 70),
    'wall': (185, 165, 160),
    'ceiling': (225, 215, 205),
    'door': (30, 105, 200),
    'table': (40, 160, 240),
    'seat': (200, 80, 200),
    'furniture': (110, 80, 140),
    'vehicle': (235, 130, 30),
    'animal': (60, 215, 245),
    'building': (110, 120, 170),
    'sky': (245, 205, 130),
    'water': (190, 120, 20),
    'object': (140, 225, 190),
}
_GOLDEN_RATIO = 0.618034
_LEAST_HUE = 0.06
_SHADES = ((0.75, 0.95), (0.4, 0.95), (0.85, 0.65))


def colour(label: str, class_id: int) -> Colour:
    """The colour of a class: by its name, else by its id, evenly spread over the hues."""
    if label in _NAMED:
        return _NAMED[label]
    # Hues near 0 are a person's red; three shades tell apart classes of similar hue.
    hue = _LEAST_HUE + (1 - 2 * _LEAST_HUE) * (class_id * _GOLDEN_RATIO % 1)
    saturation, value = _SHADES[class_id % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


def ink_on(background: Colour) -> Colour:
    """Black or white, whichever contrasts more with a background: 4.5 to 1 or better."""
    blue, green, red = ((value / 255) ** 2.2 for value in background)
    return BLACK if 0.0722 * blue + 0.7152 * green + 0.2126 * red > 0.179 else WHITE
