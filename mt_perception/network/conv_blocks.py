# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the trunk: convolutions, depthwise pairs, CSP stages, pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvAct(nn.Module):
    """A convolution with bias followed by SiLU.

    There is no batch normalisation. It is folded into the weights of the pretrained checkpoint,
    and without batch statistics results do not depend on the composition of a batch.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, groups=groups
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.conv(x))


class DepthwiseConv(nn.Sequential):
    """A depthwise 3x3 convolution followed by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            ConvAct(inputs, inputs, 3, stride, groups=inputs), ConvAct(inputs, outputs)
        )


class Focus(nn.Module):
    """Space to depth and a 3x3 convolution, computed as one 6x6 convolution with stride 2.

    YOLOX slices the image into its four pixel phases, (B, 3, H, W) to (B, 12, H/2, W/2), and
    convolves those. A 6x6 kernel with stride 2 and padding 2 reads the same pixels with the same
    weights, without copies of the image. `pretrained` rearranges the weights.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, outputs, 6, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.conv(x))


class Bottleneck(nn.Module):
    """x + depthwise(1x1(x)); without a shortcut, depthwise(1x1(x))."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.reduce = ConvAct(channels, channels)
        self.spatial = DepthwiseConv(channels, channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.spatial(self.reduce(x))
        return x + y if self.shortcut else y


class CSPStage(nn.Module):
    """Cross stage partial stage: half of the channels pass the bottlenecks, half bypass them.

    Wang et al., CSPNet, arXiv 1911.11929.
    """

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.through = ConvAct(inputs, half)
        self.around = ConvAct(inputs, half)
        self.bottlenecks = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(depth)))
        self.merge = ConvAct(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bottlenecks(self.through(x))
        merged: Tensor = self.merge(torch.cat((y, self.around(x)), dim=1))
        return merged


class SpatialPyramidPooling(nn.Module):
    """Concatenates max pooling over 5, 9 and 13 cells to the features: wide context at s32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvAct(channels, channels // 2)
        self.merge = ConvAct(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        pooled = [functional.max_pool2d(x, k, stride=1, padding=k // 2) for k in (5, 9, 13)]
        merged: Tensor = self.merge(torch.cat((x, *pooled), dim=1))
        return merged
