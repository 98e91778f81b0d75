# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest section ``input``: the sizes of images that a network accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mt_perception.errors import ModelError
from mt_perception.image.letterbox import Letterbox, fit, fit_inside
from mt_perception.model.fields import Fields

MAX_SIDE = 8192
LETTERBOX, STRETCH = 'letterbox', 'stretch'
FITS = (LETTERBOX, STRETCH)

_SLACK = 0.04
"""Largest relative reduction of an image on a path with a scale below 1."""


@dataclass(frozen=True)
class InputSpec:
    """The network's input: uint8 (1, H, W, 3) BGR.

    Without ``fixed``, H and W follow the shape of the image and are multiples of ``multiple``.

    Attributes:
        size: Default long side in pixels.
        min_size: Smallest supported long side.
        max_size: Largest supported long side.
        multiple: Height and width are multiples of this (the coarsest stride).
        pad_value: Grey level of the letterbox border.
        fixed: (H, W) of a network with one input size; None for a network of any size.
        fit: With ``fixed``: ``letterbox`` keeps the shape of the image and pads the rest,
            ``stretch`` resizes the image to the whole input.
        constant_cost: Whether MACs are the same for all images, because the size is fixed or
            the graph resizes the image itself.
    """

    size: int
    min_size: int
    max_size: int
    multiple: int
    pad_value: int
    fixed: tuple[int, int] | None = None
    fit: str = LETTERBOX
    constant_cost: bool = False

    def side(self, long_side: int, scale: float) -> int:
        """A long side times a scale, within the limits of the network and its multiple."""
        scaled = round(long_side * scale / self.multiple) * self.multiple
        return min(long_side, max(self.min_size, scaled))

    def letterbox(
        self, image_size: tuple[int, int], long_side: int, scale: float = 1.0
    ) -> Letterbox:
        """The letterbox of an image on a path.

        A path with a scale below 1 may reduce the image up to 4 % more to save a row of the
        coarsest stride: 352x264 becomes 341x256.

        Args:
            image_size: (height, width) of the image.
            long_side: Long side of the network's input on the full path.
            scale: Scale of the path.
        """
        if self.fixed is not None:
            if self.fit == STRETCH:
                return Letterbox(image_size, self.fixed, self.fixed)
            return fit_inside(image_size, self.fixed)
        side = self.side(long_side, scale)
        return fit(image_size, side, self.multiple, _SLACK if side < long_side else 0.0)


def read_input(data: Mapping[object, object]) -> InputSpec:
    """Read the section.

    Raises:
        ModelError: A field is missing, unknown or out of range.
    """
    fields = Fields(data, 'manifest.input')
    pad_value = fields.take('pad_value', int, lambda v: 0 <= v <= 255)
    if 'fixed' in fields:
        fixed = fields.take_size('fixed', 1, MAX_SIDE)
        how = fields.take_or('fit', LETTERBOX, lambda v: v in FITS)
        fields.finish()
        return _fixed(fixed, how, pad_value)
    spec = InputSpec(
        size=fields.take('size', int),
        min_size=fields.take('min_size', int, lambda v: v > 0),
        max_size=fields.take('max_size', int, lambda v: v <= MAX_SIDE),
        multiple=fields.take('multiple', int, lambda v: 1 <= v <= 256),
        pad_value=pad_value,
        constant_cost=fields.take_or('constant_cost', False),
    )
    fields.finish()
    if not spec.min_size <= spec.size <= spec.max_size:
        raise ModelError('manifest.input: min_size <= size <= max_size does not hold')
    if any(v % spec.multiple for v in (spec.min_size, spec.size, spec.max_size)):
        raise ModelError(f'manifest.input: sizes must be multiples of {spec.multiple}')
    return spec


def _fixed(fixed: tuple[int, int], how: str, pad_value: int) -> InputSpec:
    side = max(fixed)
    return InputSpec(side, side, side, 1, pad_value, fixed, how, constant_cost=True)
