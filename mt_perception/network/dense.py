# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Dense heads: fusion of the trunk's features into a map at stride 4, and reduced heads."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.trunk import FEATURE_CHANNELS


class Refine(nn.Module):
    """A residual depthwise-separable convolution: x + 1x1(relu(depthwise 5x5(x)))."""

    def __init__(self, channels: int, kernel: int = 5) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.mix(functional.relu(self.spatial(x))))


class DenseHead(nn.Module):
    """Top-down fusion of s32, s16, s8 and s4 into a map at stride 4.

    Each level is projected by a 1x1 convolution, added to the upsampled coarser level and refined.
    The mean over the image is added at s32 as scene context, at negligible cost.

    Args:
        outputs: channels of the map.
        deep: channels at s32 and s16.
        middle: channels at s8.
        fine: channels at s4.
        inputs: channels of the input features.
    """

    def __init__(
        self,
        outputs: int,
        deep: int = 96,
        middle: int = 64,
        fine: int = 32,
        inputs: Mapping[str, int] = FEATURE_CHANNELS,
    ) -> None:
        super().__init__()
        self.inputs = dict(inputs)
        self.project32 = nn.Conv2d(inputs['s32'], deep, 1)
        self.scene = nn.Conv2d(inputs['s32'], deep, 1)
        self.refine32 = Refine(deep)
        self.project16 = nn.Conv2d(inputs['s16'], deep, 1)
        self.refine16 = Refine(deep)
        self.reduce16 = nn.Conv2d(deep, middle, 1)
        self.project8 = nn.Conv2d(inputs['s8'], middle, 1)
        self.refine8 = Refine(middle)
        self.reduce8 = nn.Conv2d(middle, fine, 1)
        self.project4 = nn.Conv2d(inputs['s4'], fine, 1)
        self.refine4 = Refine(fine, kernel=3)
        self.predict = nn.Conv2d(fine, outputs, 1)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """Return the map (B, outputs, H/4, W/4) for features (s4, s8, s16, s32)."""
        s4, s8, s16, s32 = features
        scene = self.scene(s32.mean(dim=(2, 3), keepdim=True))  # (B, deep, 1, 1)
        x = self.refine32(functional.relu(self.project32(s32) + scene))
        x = self.refine16(functional.relu(self.project16(s16) + _double(x)))
        x = self.refine8(functional.relu(self.project8(s8) + _double(self.reduce16(x))))
        x = self.refine4(functional.relu(self.project4(s4) + _double(self.reduce8(x))))
        logits: Tensor = self.predict(x)
        return logits


class LightHead(nn.Module):
    """A reduced dense head without stride 4: half of the multiply-accumulates and latency.

    Stride 4 has most of the pixels, and gates skip its units first. The remaining layers start
    from the dense head's weights, with its last two projections folded into one.

    Args:
        head: the dense head.
        refined: keep the refinement at stride 8.
    """

    levels = ('s8', 's16', 's32')
    """The input features."""

    def __init__(self, head: DenseHead, refined: bool) -> None:
        super().__init__()
        self.project32 = copy.deepcopy(head.project32)
        self.scene = copy.deepcopy(head.scene)
        self.refine32 = copy.deepcopy(head.refine32)
        self.project16 = copy.deepcopy(head.project16)
        self.refine16 = copy.deepcopy(head.refine16)
        self.reduce16 = copy.deepcopy(head.reduce16)
        self.project8 = copy.deepcopy(head.project8)
        self.refine8 = copy.deepcopy(head.refine8) if refined else nn.Identity()
        self.predict = _folded(head.reduce8, head.predict)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """Return the map (B, outputs, H/4, W/4) for (s8, s16, s32), or for all features."""
        s8, s16, s32 = features[-3:]
        scene = self.scene(s32.mean(dim=(2, 3), keepdim=True))  # (B, deep, 1, 1)
        x = self.refine32(functional.relu(self.project32(s32) + scene))
        x = self.refine16(functional.relu(self.project16(s16) + _double(x)))
        x = self.refine8(functional.relu(self.project8(s8) + _double(self.reduce16(x))))
        return _double(self.predict(x))


@torch.no_grad()
def _folded(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Return one 1x1 convolution that equals two consecutive ones."""
    both = nn.Conv2d(first.in_channels, second.out_channels, 1)
    outer, inner = second.weight[:, :, 0, 0], first.weight[:, :, 0, 0]
    both.weight.copy_((outer @ inner)[:, :, None, None])
    if first.bias is not None and second.bias is not None and both.bias is not None:
        both.bias.copy_(outer @ first.bias + second.bias)
    return both


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode='bilinear', align_corners=False)
