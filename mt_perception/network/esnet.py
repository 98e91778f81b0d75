# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ESNet, PicoDet's backbone: ShuffleNet's halves with squeeze and excitation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# ImageNet's, in the order blue, green, red, of grey levels from 0 to 255.
_MEAN = (0.406 * 255, 0.456 * 255, 0.485 * 255)

CHANNELS = {'s4': 24, 's8': 96, 's16': 192, 's32': 384}


class Levels(NamedTuple):
    """A backbone's features at four strides."""

    s4: Tensor  # (B, 24, H/4, W/4)
    s8: Tensor  # (B, 96, H/8, W/8)
    s16: Tensor  # (B, 192, ⌈H/16⌉, ⌈W/16⌉)
    s32: Tensor  # (B, 384, ⌈H/32⌉, ⌈W/32⌉)


class Swish(nn.Module):
    """A convolution with bias and hard swish (arXiv 1905.02244, section 5.2)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardswish(self.conv(x))


def depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A depthwise convolution without activation."""
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)


class Attention(nn.Module):
    """Squeeze and excitation (arXiv 1709.01507): each channel times what the image's means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * functional.hardsigmoid(self.excite(functional.relu(self.squeeze(means))))


class Halving(nn.Module):
    """The block with stride 2: two branches over all channels, joined and mixed."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.direct = nn.Sequential(depthwise(inputs, 3, 2), Swish(inputs, outputs // 2))
        self.widen = Swish(inputs, width)
        self.spatial = depthwise(width, 3, 2)
        self.attention = Attention(width)
        self.project = Swish(width, outputs // 2)
        self.join = nn.Sequential(Swish(outputs, outputs, 3, 1, outputs), Swish(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.project(self.attention(self.spatial(self.widen(x))))
        joined: Tensor = self.join(torch.cat((self.direct(x), inner), dim=1))
        return joined


class Shuffling(nn.Module):
    """The block with stride 1: one half is worked on, then both halves are shuffled."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.widen = Swish(channels // 2, width)
        self.spatial = depthwise(width, 3)
        self.attention = Attention(2 * width)
        self.project = Swish(2 * width, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, dim=1)
        wide = self.widen(worked)
        both = self.attention(torch.cat((wide, self.spatial(wide)), dim=1))
        pair = torch.stack((kept, self.project(both)), dim=2)  # (B, C/2, 2, h, w)
        # Training is fast in this layout only.
        return pair.flatten(1, 2).contiguous(memory_format=torch.channels_last)


class ESNet(nn.Module):
    """The backbone of PicoDet-S (Yu et al., arXiv 2111.00902, section 3.1).

    The submodules are declared in the order in which they run, which is what lets `pretrained`
    fill them from a graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.stem = Swish(3, CHANNELS['s4'], 3, 2)
        self.stage8 = _stage(CHANNELS['s4'], CHANNELS['s8'], (44, 24, 24))
        self.stage16 = _stage(CHANNELS['s8'], CHANNELS['s16'], (48, 60, 48, 60, 48, 48, 48))
        self.stage32 = _stage(CHANNELS['s16'], CHANNELS['s32'], (96, 96, 96))

    def forward(self, image: Tensor) -> Levels:
        """Compute the features.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255, H and W multiples of 8.
        """
        assert isinstance(self.mean, Tensor)
        # The border that the stem adds is the mean, as it was when its weights were trained.
        x = self.stem(image - self.mean)
        s4 = functional.max_pool2d(x, 3, 2, 1)
        s8 = self.stage8(s4)
        s16 = self.stage16(s8)
        return Levels(s4, s8, s16, self.stage32(s16))


def _stage(inputs: int, channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Blocks of these inner widths; the first halves height and width."""
    return nn.Sequential(
        Halving(inputs, channels, widths[0]),
        *(Shuffling(channels, width) for width in widths[1:]),
    )
