# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of skippable units, and the lower input resolution of a path."""

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
"""Differences of a path other than its size: skipped units, and tasks with a reduced head."""


@dataclass(frozen=True)
class Mask:
    """A static path.

    Args:
        name: name of the path.
        scale: long side of its input relative to the full network's.
        skipped: names of the skipped units.
        light: tasks with a reduced head.
    """

    name: str
    scale: float
    skipped: tuple[str, ...]
    light: tuple[str, ...] = ()

    @property
    def changes(self) -> Changes:
        """Differences from the full network other than the size; both empty if there are none."""
        return self.skipped, self.light


def gather_masks(prices: UnitCosts, keep: Tensor, paths: Sequence[PathSpec]) -> tuple[Mask, ...]:
    """Compute nested masks from keep-probabilities.

    Units are removed in order of rising keep-probability until a path's cost is within its
    compute, so that each mask is contained in those of more compute.

    Args:
        prices: the units and their costs.
        keep: (U,) mean keep-probability of every unit.
        paths: the paths, most expensive first.
    """
    order = torch.argsort(keep, stable=True).tolist()
    masks = []
    for path in paths:
        gates, skipped = torch.ones(1, len(prices.units)), []
        for index in order:
            if float(prices.cost(gates)) <= path.compute + 1e-6:
                break
            gates[0, index] = 0
            # A reduced head has none of the full head's units.
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
    """Scales images and pads them at the right and bottom, like the letterbox in deployment.

    Args:
        size: height and width of the batch.
        scale: factor of both sides.
    """

    def __init__(self, size: tuple[int, int], scale: float) -> None:
        self.content = (round(size[0] * scale), round(size[1] * scale))
        self.size = tuple(-(-n // _MULTIPLE) * _MULTIPLE for n in self.content)
        self.scale = (self.content[0] / size[0] * self.content[1] / size[1]) ** 0.5

    def image(self, image: Tensor) -> Tensor:
        """Scale (B, 3, H, W) uint8 to float32, 0 to 255."""
        # In uint8, as in deployment, which is also faster.
        scaled = functional.interpolate(
            image, self.content, mode='bilinear', antialias=True, align_corners=False
        )
        return self._pad(scaled.float(), 1, PAD_VALUE)

    def labels(self, values: Tensor, border: float) -> Tensor:
        """Scale labels (B, h, w) at stride 4 with nearest neighbour."""
        content = tuple(-(-n // LABEL_STRIDE) for n in self.content)
        kind = values.dtype
        near = functional.interpolate(values[:, None].float(), content, mode='nearest-exact')
        return self._pad(near, LABEL_STRIDE, border)[:, 0].to(kind)

    def map(self, values: Tensor) -> Tensor:
        """Scale a network's map (B, C, h, w) at stride 4; the padding repeats its edge."""
        content = [-(-n // LABEL_STRIDE) for n in self.content]
        scaled = functional.interpolate(values, content, mode='bilinear', align_corners=False)
        below, right = (n // LABEL_STRIDE - m for n, m in zip(self.size, content, strict=True))
        return functional.pad(scaled, (0, right, 0, below), mode='replicate')

    def _pad(self, values: Tensor, stride: int, border: float) -> Tensor:
        below, right = (n // stride - m for n, m in zip(self.size, values.shape[2:], strict=True))
        return functional.pad(values, (0, right, 0, below), value=border)


def shrink(batch: Batch, how: Shrink) -> Batch:
    """Scale a batch; images become float32.

    Depth over focal length grows, because scaling shortens the focal length in pixels.
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
    """Return the change of the log of depth over focal length due to scaling."""
    return -float(torch.tensor(how.scale).log())
