# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a path leaves out: masks of skippable units, and the lower input resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.network.gates import UnitCosts
from mt_perception.training.data.augment import LABEL_STRIDE, PAD_VALUE
from mt_perception.training.data.batches import Batch
from mt_perception.training.recipe import PathSpec
from mt_perception.types import UNLABELLED

Changes = tuple[tuple[str, ...], tuple[str, ...]]
"""What a path changes but the size: the units that it skips, the tasks with a light head."""


@dataclass(frozen=True)
class Mask:
    """A path after the gates were gathered.

    Args:
        name: of the path.
        scale: of the long side of the full network's input.
        skipped: the units that are left out.
        light: the tasks that have their light head.
    """

    name: str
    scale: float
    skipped: tuple[str, ...]
    light: tuple[str, ...] = ()

    @property
    def changes(self) -> Changes:
        """What differs from the full network but the size; empty where nothing does."""
        return self.skipped, self.light


def gather_masks(prices: UnitCosts, keep: Tensor, paths: Sequence[PathSpec]) -> tuple[Mask, ...]:
    """Turn how often units are kept into nested masks.

    Units leave in the order in which the policy keeps them least, so that every mask lies
    within those of more compute, until a path costs no more than it may.

    Args:
        prices: the units and their prices.
        keep: (U,) mean keep-probability of every unit.
        paths: PathSpec, most expensive first.
    """
    order = torch.argsort(keep, stable=True).tolist()
    masks = []
    for path in paths:
        gates, skipped = torch.ones(1, len(prices.units)), []
        for index in order:
            if float(prices.cost(gates)) <= path.compute + 1e-6:
                break
            gates[0, index] = 0
            # A light head has none of the units of the one that it stands for.
            if prices.units[index].owner not in path.light:
                skipped.append(prices.units[index].name)
        masks.append(Mask(path.name, path.scale, tuple(sorted(skipped)), tuple(path.light)))
    return tuple(masks)


def read_masks(saved: Mapping[str, Any]) -> tuple[Mask, ...]:
    """Read the masks of a checkpoint."""
    return tuple(
        Mask(m['name'], m['scale'], tuple(m['skipped']), tuple(m['light'])) for m in saved['paths']
    )


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
