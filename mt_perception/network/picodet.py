# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PicoDet-S and its backbone ESNet: a detector with four strides and GFL box sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.detection import cell_grid

# Mean of ImageNet in BGR, 0 to 255.
_MEAN = (0.406 * 255, 0.456 * 255, 0.485 * 255)

CHANNELS = {'s4': 24, 's8': 96, 's16': 192, 's32': 384}
STRIDES = (8, 16, 32, 64)
WIDTH = 96
"""Channels of the pyramid at every stride."""

BINS = 8
"""Number of bins: sides are 0 to 7 strides from the cell's centre."""


class Levels(NamedTuple):
    """Features of the backbone."""

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


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """A depthwise 3x3 convolution without activation."""
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)


class Attention(nn.Module):
    """Squeeze and excitation (arXiv 1709.01507): scales channels by a function of their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * functional.hardsigmoid(self.excite(functional.relu(self.squeeze(means))))


class Halving(nn.Module):
    """Block with stride 2: two branches over all channels, concatenated and mixed."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.direct = nn.Sequential(depthwise(inputs, 2), Swish(inputs, outputs // 2))
        self.widen = Swish(inputs, width)
        self.spatial = depthwise(width, 2)
        self.attention = Attention(width)
        self.project = Swish(width, outputs // 2)
        self.join = nn.Sequential(Swish(outputs, outputs, 3, 1, outputs), Swish(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.project(self.attention(self.spatial(self.widen(x))))
        joined: Tensor = self.join(torch.cat((self.direct(x), inner), dim=1))
        return joined


class Shuffling(nn.Module):
    """Block with stride 1: processes half of the channels, then shuffles both halves."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.widen = Swish(channels // 2, width)
        self.spatial = depthwise(width)
        self.attention = Attention(2 * width)
        self.project = Swish(2 * width, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        kept, processed = x.chunk(2, dim=1)
        wide = self.widen(processed)
        both = self.attention(torch.cat((wide, self.spatial(wide)), dim=1))
        pair = torch.stack((kept, self.project(both)), dim=2)  # (B, C/2, 2, h, w)
        # Channels last, or training is slow.
        return pair.flatten(1, 2).contiguous(memory_format=torch.channels_last)


class ESNet(nn.Module):
    """The backbone of PicoDet-S (Yu et al., arXiv 2111.00902, section 3.1).

    Submodules are declared in execution order, which `pretrained` relies on.
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
        # The stem's zero padding equals the mean colour, as in pretraining.
        x = self.stem(image - self.mean)
        s4 = functional.max_pool2d(x, 3, 2, 1)
        s8 = self.stage8(s4)
        s16 = self.stage16(s8)
        return Levels(s4, s8, s16, self.stage32(s16))


def _stage(inputs: int, channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Return blocks of these inner widths; the first has stride 2."""
    return nn.Sequential(
        Halving(inputs, channels, widths[0]),
        *(Shuffling(channels, width) for width in widths[1:]),
    )


class Pyramid(NamedTuple):
    """Input features of the head."""

    s8: Tensor  # (B, 96, H/8, W/8)
    s16: Tensor  # (B, 96, ⌈H/16⌉, ⌈W/16⌉)
    s32: Tensor  # (B, 96, ⌈H/32⌉, ⌈W/32⌉)
    s64: Tensor  # (B, 96, ⌈H/64⌉, ⌈W/64⌉)


class RawSides(NamedTuple):
    """Raw predictions per cell, with the cells of all strides concatenated."""

    classes: Tensor  # (B, N, C) logits
    sides: Tensor  # (B, N, 4, BINS) logits of left, top, right and bottom, in strides


class Separable(nn.Sequential):
    """A depthwise 5x5 and a 1x1 convolution, each with hard swish."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(Swish(channels, channels, 5, stride, channels), Swish(channels, channels))


class CSPLayer(nn.Module):
    """CSP layer of two levels (arXiv 1911.11929): half of the channels bypass a convolution."""

    def __init__(self) -> None:
        super().__init__()
        half = WIDTH // 2
        self.short = Swish(2 * WIDTH, half)
        self.main = nn.Sequential(Swish(2 * WIDTH, half), Swish(half, half), Separable(half))
        self.final = Swish(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.final(torch.cat((self.main(x), self.short(x)), dim=1))
        return joined


class CSPPAN(nn.Module):
    """Pyramid of PicoDet (arXiv 2111.00902, section 3.2): top-down, bottom-up, and stride 64."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral8 = Swish(CHANNELS['s8'], WIDTH)
        self.lateral16 = Swish(CHANNELS['s16'], WIDTH)
        self.lateral32 = Swish(CHANNELS['s32'], WIDTH)
        self.top_down16 = CSPLayer()
        self.top_down8 = CSPLayer()
        self.down8 = Separable(WIDTH, 2)
        self.bottom_up16 = CSPLayer()
        self.down16 = Separable(WIDTH, 2)
        self.bottom_up32 = CSPLayer()
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

    Submodules are declared in execution order, which `pretrained` relies on.

    Args:
        classes: number of classes.
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
        """Compute the input features of the head.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255, H and W multiples of 8.
        """
        found: Pyramid = self.neck(*self.backbone(image)[1:])
        return found

    def maps(self, s8: Tensor, s16: Tensor, s32: Tensor, s64: Tensor) -> Tensor:
        """Return logits of classes and sides of all cells, (B, C + 4 BINS, N)."""
        levels = zip(self.levels, (s8, s16, s32, s64), strict=True)
        return torch.cat([level(x).flatten(2) for level, x in levels], dim=2)

    def head(self, s8: Tensor, s16: Tensor, s32: Tensor, s64: Tensor) -> RawSides:
        """Return raw predictions for the pyramid."""
        rows = self.maps(s8, s16, s32, s64).transpose(1, 2)
        sides = rows[..., self.classes :]
        return RawSides(rows[..., : self.classes], sides.reshape(*sides.shape[:2], 4, BINS))

    def forward(self, image: Tensor) -> RawSides:
        return self.head(*self.pyramid(image))


def decode_sides(sides: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Decode sides (B, N, 4, BINS) to x1, y1, x2, y2 in network pixels.

    Each distance is the mean of its distribution (Li et al., arXiv 2006.04388, equation 6).

    Args:
        sides: logits.
        centres: x and y of the cells' centres in network pixels, (N, 2) or (B, N, 2).
        strides: strides of the cells, (N, 1) or (B, N, 1).
    """
    # A matrix of one column: ONNX Runtime is five times as slow with a vector.
    steps = torch.arange(BINS, dtype=sides.dtype, device=sides.device)[:, None]
    distance = (sides.softmax(dim=3) @ steps)[..., 0] * strides  # (B, N, 4)
    return torch.cat((centres - distance[..., :2], centres + distance[..., 2:]), dim=-1)


def cells_of(s8: Tensor, s16: Tensor, s32: Tensor, s64: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cells of all levels: centres (N, 2) and strides (N, 1)."""
    grids = [
        cell_grid(x.shape[2], x.shape[3], stride, x)
        for x, stride in zip((s8, s16, s32, s64), STRIDES, strict=True)
    ]
    strides = torch.cat([strides for _, strides in grids])
    return torch.cat([corners for corners, _ in grids]) + strides / 2, strides


def _double(x: Tensor, like: Tensor) -> Tensor:
    """Double height and width, cropped to the size of a finer level with odd sides."""
    doubled = functional.interpolate(x, scale_factor=2.0, mode='nearest')
    return doubled[:, :, : like.shape[2], : like.shape[3]]
