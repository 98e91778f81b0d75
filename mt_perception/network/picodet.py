# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PicoDet-S: a detector with four strides whose boxes' sides are distributions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.detection import cell_grid
from mt_perception.network.esnet import CHANNELS, ESNet, Swish

STRIDES = (8, 16, 32, 64)
WIDTH = 96
"""Channels of the pyramid at every stride."""

BINS = 8
"""A side of a box is 0 to 7 strides from its cell's centre."""


class Pyramid(NamedTuple):
    """What the head reads."""

    s8: Tensor  # (B, 96, H/8, W/8)
    s16: Tensor  # (B, 96, ⌈H/16⌉, ⌈W/16⌉)
    s32: Tensor  # (B, 96, ⌈H/32⌉, ⌈W/32⌉)
    s64: Tensor  # (B, 96, ⌈H/64⌉, ⌈W/64⌉)


class RawSides(NamedTuple):
    """What the head predicts for each cell before decoding, all strides in one row of N cells."""

    classes: Tensor  # (B, N, C) logits
    sides: Tensor  # (B, N, 4, BINS) logits of left, top, right and bottom, in strides


class Separable(nn.Sequential):
    """A depthwise 5x5 and a 1x1 convolution, each with hard swish."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(Swish(channels, channels, 5, stride, channels), Swish(channels, channels))


class CSPLayer(nn.Module):
    """Half of the channels past a separable convolution (arXiv 1911.11929), joined again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.short = Swish(inputs, half)
        self.main = nn.Sequential(Swish(inputs, half), Swish(half, half), Separable(half))
        self.final = Swish(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.final(torch.cat((self.main(x), self.short(x)), dim=1))
        return joined


class CSPPAN(nn.Module):
    """The pyramid of PicoDet (arXiv 2111.00902, section 3.2): down, up, and one level more."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral8 = Swish(CHANNELS['s8'], WIDTH)
        self.lateral16 = Swish(CHANNELS['s16'], WIDTH)
        self.lateral32 = Swish(CHANNELS['s32'], WIDTH)
        self.top_down16 = CSPLayer(2 * WIDTH, WIDTH)
        self.top_down8 = CSPLayer(2 * WIDTH, WIDTH)
        self.down8 = Separable(WIDTH, 2)
        self.bottom_up16 = CSPLayer(2 * WIDTH, WIDTH)
        self.down16 = Separable(WIDTH, 2)
        self.bottom_up32 = CSPLayer(2 * WIDTH, WIDTH)
        self.top_lateral = Separable(WIDTH, 2)
        self.top_down = Separable(WIDTH, 2)

    def forward(self, c8: Tensor, c16: Tensor, c32: Tensor) -> Pyramid:
        c8, c16, c32 = self.lateral8(c8), self.lateral16(c16), self.lateral32(c32)
        p16 = self.top_down16(torch.cat((_double(c32, c16), c16), dim=1))
        s8 = self.top_down8(torch.cat((_double(p16, c8), c8), dim=1))
        s16 = self.bottom_up16(torch.cat((self.down8(s8), p16), dim=1))
        s32 = self.bottom_up32(torch.cat((self.down16(s16), c32), dim=1))
        return Pyramid(s8, s16, s32, self.top_lateral(c32) + self.top_down(s32))


class PicoDet(nn.Module):
    """PicoDet-S (Yu et al., arXiv 2111.00902).

    The submodules are declared in the order in which they run, which is what lets `pretrained`
    fill them from a graph.

    Args:
        classes: that it tells apart.
    """

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        self.backbone = ESNet()
        self.neck = CSPPAN()
        self.levels = nn.ModuleList(
            nn.Sequential(
                Separable(WIDTH), Separable(WIDTH), nn.Conv2d(WIDTH, classes + 4 * BINS, 1)
            )
            for _ in STRIDES
        )
        self.classes = classes

    def pyramid(self, image: Tensor) -> Pyramid:
        """Compute what the head reads.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255, H and W multiples of 8.
        """
        found: Pyramid = self.neck(*self.backbone(image)[1:])
        return found

    def maps(self, s8: Tensor, s16: Tensor, s32: Tensor, s64: Tensor) -> Tensor:
        """Predict from the pyramid: classes and sides of all cells, (B, C + 4 BINS, N) logits."""
        levels = zip(self.levels, (s8, s16, s32, s64), strict=True)
        return torch.cat([level(x).flatten(2) for level, x in levels], dim=2)

    def head(self, s8: Tensor, s16: Tensor, s32: Tensor, s64: Tensor) -> RawSides:
        """Predict from the pyramid."""
        rows = self.maps(s8, s16, s32, s64).transpose(1, 2)
        sides = rows[..., self.classes :]
        return RawSides(rows[..., : self.classes], sides.reshape(*sides.shape[:2], 4, BINS))

    def forward(self, image: Tensor) -> RawSides:
        return self.head(*self.pyramid(image))


def decode_sides(sides: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Turn sides (B, N, 4, BINS) into x1, y1, x2, y2 in network pixels.

    Each distance is the mean of its distribution (Li et al., arXiv 2006.04388, equation 6).

    Args:
        sides: logits.
        centres: (N, 2) or (B, N, 2) of the cells, x and y in network pixels.
        strides: (N, 1) or (B, N, 1) of the cells.
    """
    # A matrix of one column: ONNX Runtime takes five times as long for a vector.
    steps = torch.arange(BINS, dtype=sides.dtype, device=sides.device)[:, None]
    distance = (sides.softmax(dim=3) @ steps)[..., 0] * strides  # (B, N, 4)
    return torch.cat((centres - distance[..., :2], centres + distance[..., 2:]), dim=-1)


def cells_of(s8: Tensor, s16: Tensor, s32: Tensor, s64: Tensor) -> tuple[Tensor, Tensor]:
    """Give the cells of all levels: centres (N, 2) and strides (N, 1)."""
    grids = [
        cell_grid(x.shape[2], x.shape[3], stride, x)
        for x, stride in zip((s8, s16, s32, s64), STRIDES, strict=True)
    ]
    strides = torch.cat([strides for _, strides in grids])
    return torch.cat([corners for corners, _ in grids]) + strides / 2, strides


def _double(x: Tensor, like: Tensor) -> Tensor:
    """Double height and width, less the row or column that an odd finer level does not have."""
    doubled = functional.interpolate(x, scale_factor=2.0, mode='nearest')
    return doubled[:, :, : like.shape[2], : like.shape[3]]
