# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A batch as a path of lower resolution sees it, with its labels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.training.augment import LABEL_STRIDE, PAD_VALUE
from mt_perception.training.batches import Batch
from mt_perception.types import UNLABELLED

_MULTIPLE = 32


class Shrink:
    """Scales a picture and pads it at the right and below, as the letterbox on the robot does.

    Args:
        size: height and width of the batch.
        scale: share of its sides that is left.
    """

    def __init__(self, size: tuple[int, int], scale: float) -> None:
        self.content = (round(size[0] * scale), round(size[1] * scale))
        self.size = tuple(-(-n // _MULTIPLE) * _MULTIPLE for n in self.content)
        self.scale = (self.content[0] / size[0] * self.content[1] / size[1]) ** 0.5

    def image(self, image: Tensor) -> Tensor:
        """Scale (B, 3, H, W) uint8 to float32, 0 to 255."""
        # Rounded to whole grey values, as on the robot; and that is the fast way.
        scaled = functional.interpolate(
            image, self.content, mode='bilinear', antialias=True, align_corners=False
        )
        return self._pad(scaled.float(), 1, PAD_VALUE)

    def labels(self, values: Tensor, border: float) -> Tensor:
        """Move labels (B, h, w) at stride 4 by taking the nearest."""
        content = tuple(-(-n // LABEL_STRIDE) for n in self.content)
        kind = values.dtype
        near = functional.interpolate(values[:, None].float(), content, mode='nearest-exact')
        return self._pad(near, LABEL_STRIDE, border)[:, 0].to(kind)

    def map(self, values: Tensor) -> Tensor:
        """Move a network's map (B, C, h, w) at stride 4; the border repeats its edge."""
        content = [-(-n // LABEL_STRIDE) for n in self.content]
        scaled = functional.interpolate(values, content, mode='bilinear', align_corners=False)
        below, right = (n // LABEL_STRIDE - m for n, m in zip(self.size, content, strict=True))
        return functional.pad(scaled, (0, right, 0, below), mode='replicate')

    def _pad(self, values: Tensor, stride: int, border: float) -> Tensor:
        below, right = (n // stride - m for n, m in zip(self.size, values.shape[2:], strict=True))
        return functional.pad(values, (0, right, 0, below), value=border)


def shrink(batch: Batch, how: Shrink) -> Batch:
    """Give a smaller view of a batch; images become float32.

    Depth over focal length grows: the scaled picture is that of a camera with a shorter one.
    """
    depth = how.labels(batch.depth_per_focal, 0.0) / how.scale
    return Batch(
        clean=how.image(batch.clean),
        image=how.image(batch.image),
        boxes=tuple(
            None if b is None else replace(b, corners=(b.corners * how.scale).astype('float32'))
            for b in batch.boxes
        ),
        semantic=how.labels(batch.semantic, UNLABELLED),
        depth_per_focal=depth,
        relative_depth=how.labels(batch.relative_depth, -1.0),
        inside=how.labels(batch.inside, 0.0),
    )


def log_scale(how: Shrink) -> float:
    """Give what a shorter focal length adds to the logarithm of depth over focal length."""
    return -float(torch.tensor(how.scale).log())
