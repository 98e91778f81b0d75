# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detection head: anchor-free and decoupled, decoded on grids of any size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mt_perception.network.conv_blocks import ConvAct, DepthwiseConv
from mt_perception.network.trunk import FEATURE_CHANNELS

STRIDES = (8, 16, 32)

_CHANNELS = 64


class RawDetections(NamedTuple):
    """Raw predictions per cell, with the cells of all strides concatenated."""

    boxes: Tensor  # (B, N, 4) centre offset in cells and log size in cells
    objectness: Tensor  # (B, N) logit
    classes: Tensor  # (B, N, C) logits


class Level(nn.Module):
    """One pyramid level of the head."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.stem = ConvAct(inputs, _CHANNELS)
        self.class_tower = nn.Sequential(
            DepthwiseConv(_CHANNELS, _CHANNELS), DepthwiseConv(_CHANNELS, _CHANNELS)
        )
        self.classes = nn.Conv2d(_CHANNELS, classes, 1)
        self.box_tower = nn.Sequential(
            DepthwiseConv(_CHANNELS, _CHANNELS), DepthwiseConv(_CHANNELS, _CHANNELS)
        )
        self.boxes = nn.Conv2d(_CHANNELS, 4, 1)
        self.objectness = nn.Conv2d(_CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> RawDetections:
        x = self.stem(x)
        box_features = self.box_tower(x)
        return RawDetections(
            self.boxes(box_features).flatten(2).transpose(1, 2),
            self.objectness(box_features).flatten(1),
            self.classes(self.class_tower(x)).flatten(2).transpose(1, 2),
        )


class DetectionHead(nn.Module):
    """The decoupled head of YOLOX (arXiv 2107.08430, section 2.1) on s8, s16 and s32."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            Level(FEATURE_CHANNELS[f's{stride}'], classes) for stride in STRIDES
        )

    def forward(self, s8: Tensor, s16: Tensor, s32: Tensor) -> RawDetections:
        raw = [level(x) for level, x in zip(self.levels, (s8, s16, s32), strict=True)]
        return RawDetections(*(torch.cat(parts, dim=1) for parts in zip(*raw, strict=True)))


def cell_grid(height: int, width: int, stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cells' upper left corners (N, 2) and strides (N, 1), in network pixels."""
    ys = torch.arange(height, dtype=torch.float32, device=like.device)
    xs = torch.arange(width, dtype=torch.float32, device=like.device)
    grid_y, grid_x = torch.meshgrid(ys, xs, indexing='ij')
    corners = torch.stack((grid_x, grid_y), dim=-1).reshape(-1, 2) * stride
    return corners, torch.full_like(corners[:, :1], stride)


def cells_of(features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the cells of features (s8, s16, s32): corners (N, 2) and strides (N, 1)."""
    grids = [
        cell_grid(x.shape[2], x.shape[3], stride, x)
        for x, stride in zip(features, STRIDES, strict=True)
    ]
    return torch.cat([g[0] for g in grids]), torch.cat([g[1] for g in grids])


def decode_boxes(boxes: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """Decode raw boxes (B, N, 4) to x1, y1, x2, y2 in network pixels."""
    centre = boxes[..., :2] * strides + corners
    half = boxes[..., 2:].exp() * (strides * 0.5)
    return torch.cat((centre - half, centre + half), dim=-1)
