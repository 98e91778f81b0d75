# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The learned bottleneck: an encoder for the robot, rates, an entropy model, and a decoder.

After Ladon and the compression networks it stands on: Ballé et al., arXiv 1611.01704 (GDN,
factorised prior, uniform noise); Johnston et al., arXiv 1912.08771 (GDN without square roots);
Cui et al., arXiv 2003.02012 (gain units: several rates behind one encoder).

What the decoder makes has the shape of the image, but nobody looks at it: it is trained for the
features that a trunk sees in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 16
CHANNELS = 128
WIDTH = 48
"""Channels of the encoder at stride 8."""

# A unit of the latents is this many grey levels, so that they are of the order of one.
GREY_UNIT = 64.0
GREY_OFFSET = 114.0

SEEN_RANGE = (-255.0, 510.0)
"""Of what the decoder makes; an image's levels lie well within."""

# The decoder's channels at strides 16 and 8.
_DEEP16, _DEEP8 = 144, 64

_SMALLEST_MASS = 1e-9
_LEAST_NORM = 1e-3
# Squares of what decayed towards zero are denormal numbers, with which a CPU counts ten times as
# slowly: 84 of 6,912 weights were a quarter of the decoder's time.
_LEAST_GAMMA = 1e-12


class GDN(nn.Module):
    """Divisive normalisation: y = x / (β + γ|x|).

    β and γ are squares of what is learned, which keeps them positive.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(0.05 * torch.eye(channels) + 0.01)

    def contrast(self, x: Tensor) -> Tensor:
        """β + γ|x|."""
        gamma = self.gamma.square()[:, :, None, None]
        return functional.conv2d(x.abs(), gamma, self.beta.square() + _LEAST_NORM)

    def forward(self, x: Tensor) -> Tensor:
        return x / self.contrast(x)

    def fixed(self) -> FixedGDN:
        """The same with constants, as it runs."""
        fixed = FixedGDN(len(self.beta))
        with torch.no_grad():
            gamma = self.gamma.square()[:, :, None, None]
            fixed.norm.weight.copy_(torch.where(gamma < _LEAST_GAMMA, 0.0, gamma))
            assert fixed.norm.bias is not None
            fixed.norm.bias.copy_(self.beta.square() + _LEAST_NORM)
        return fixed


class FixedGDN(nn.Module):
    """Divisive normalisation whose β and γ are a convolution's bias and weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.Conv2d(channels, channels, 1)

    def contrast(self, x: Tensor) -> Tensor:
        """β + γ|x|."""
        norm: Tensor = self.norm(x.abs())
        return norm

    def forward(self, x: Tensor) -> Tensor:
        return x / self.contrast(x)


class UndoGDN(nn.Module):
    """What a GDN read, from what it made: steps of x ← y (β + γ|x|), of which that is the limit.

    One step, as is usual, leaves a tenth of the variance, whatever is spent on bits; three leave
    less than a hundredth.
    """

    def __init__(self, channels: int, steps: int = 3) -> None:
        super().__init__()
        self.steps = nn.ModuleList(GDN(channels) for _ in range(steps))

    def forward(self, y: Tensor) -> Tensor:
        x = y
        for step in self.steps:
            assert isinstance(step, GDN | FixedGDN)
            x = y * step.contrast(x)
        return x

    def fixed(self) -> UndoGDN:
        """The same with constants, as it runs."""
        fixed = UndoGDN(0, 0)
        for step in self.steps:
            assert isinstance(step, GDN)
            fixed.steps.append(step.fixed())
        return fixed


class Encoder(nn.Module):
    """Image (B, 3, H, W) float BGR, 0 to 255 → latents (B, C, H/16, W/16).

    The robot's whole share of the work: blocks of 8×8 pixels, each normalised by its own
    contrast, then their neighbourhoods. Kernels that overlap at stride 4, and GDN there, would
    each cost a third more time.
    """

    def __init__(self, channels: int = CHANNELS, width: int = WIDTH) -> None:
        super().__init__()
        self.conv8 = nn.Conv2d(3, width, 8, stride=8)
        self.norm8 = GDN(width)
        self.conv16 = nn.Conv2d(width, channels, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm8(self.conv8((image - GREY_OFFSET) / GREY_UNIT))
        latent: Tensor = self.conv16(x)
        return latent


class Residual(nn.Module):
    """x + two 3x3 convolutions of x; the second starts at zero, so that nothing is added yet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        _start_at_zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(functional.silu(self.first(x)))
        return x + y


class Separable(nn.Module):
    """x + a map of every cell by itself, after a convolution of every channel by itself.

    A ninth of a residual's work; at stride 8, where cells are many and know little.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.first = nn.Conv2d(channels, 2 * channels, 1)
        self.second = nn.Conv2d(2 * channels, channels, 1)
        _start_at_zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(functional.silu(self.first(self.around(x))))
        return x + y


class Decoder(nn.Module):
    """Dequantised latents (B, C, H/16, W/16) → what the trunk reads, (B, 3, H, W), 0 to 255.

    Linear maps undo the encoder's block by block, and what deep ones add starts at zero. Most of
    the work is done at stride 16, where it reaches farthest for its price.
    """

    def __init__(self, channels: int = CHANNELS, width: int = WIDTH) -> None:
        super().__init__()
        self.linear16 = nn.Conv2d(channels, 4 * width, 1)
        self.deep16 = nn.Sequential(nn.Conv2d(channels, _DEEP16, 3, padding=1), Residual(_DEEP16))
        self.tail16 = nn.Conv2d(_DEEP16, 4 * width, 1)
        _start_at_zero(self.tail16)
        self.rise16 = nn.Conv2d(_DEEP16, 4 * width, 1)
        self.norm8 = UndoGDN(width)
        self.linear8 = nn.Conv2d(width, 3 * 64, 1)
        self.deep8 = nn.Sequential(
            nn.Conv2d(2 * width, _DEEP8, 3, padding=1), *(Separable(_DEEP8) for _ in range(2))
        )
        self.tail8 = nn.Conv2d(_DEEP8, 3 * 64, 1)
        _start_at_zero(self.tail8)

    def forward(self, latent: Tensor) -> Tensor:
        return shown(self.pixels(latent) * GREY_UNIT + GREY_OFFSET)

    def pixels(self, latent: Tensor) -> Tensor:
        """The image's blocks of 8×8 pixels, (B, 192, H/8, W/8), in units around a medium grey."""
        deep = functional.silu(self.deep16(latent))
        blocks = functional.pixel_shuffle(self.linear16(latent) + self.tail16(deep), 2)
        blocks = self.norm8(blocks)  # (B, width, H/8, W/8)
        seen = torch.cat((blocks, functional.pixel_shuffle(self.rise16(deep), 2)), dim=1)
        found: Tensor = self.linear8(blocks) + self.tail8(functional.silu(self.deep8(seen)))
        return found


def shown(pixels: Tensor) -> Tensor:
    """Blocks of 8×8 pixels, (B, 192, H/8, W/8) grey levels → image-like (B, 3, H, W).

    Symbols that no image has must not become features that are not finite.
    """
    return functional.pixel_shuffle(pixels, 8).clamp(*SEEN_RANGE)


class Density(nn.Module):
    """A factorised prior: each channel's latents follow a mixture of three logistic densities."""

    def __init__(self, channels: int = CHANNELS, parts: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(parts, channels))
        self.mean = nn.Parameter(torch.zeros(parts, channels))
        spread = torch.linspace(-1, 1, parts)[:, None]
        self.log_scale = nn.Parameter(spread.expand(parts, channels).clone())

    def cumulative(self, y: Tensor) -> Tensor:
        """P(latent < y) for y (B, C, h, w)."""
        share = self.weight.softmax(dim=0)
        total = torch.zeros_like(y)
        for weight, mean, log_scale in zip(share, self.mean, self.log_scale, strict=True):
            z = (y - mean[:, None, None]) * torch.exp(-log_scale)[:, None, None]
            total = total + weight[:, None, None] * z.sigmoid()
        return total

    def bits(self, y: Tensor, step: Tensor) -> Tensor:
        """Bits to tell y (B, C, h, w) from its neighbours one step (B, C, 1, 1) away."""
        mass = self.cumulative(y + step / 2) - self.cumulative(y - step / 2)
        return -torch.log2(mass.clamp_min(_SMALLEST_MASS))


class Compressed(NamedTuple):
    """What came out of the bottleneck, and what it cost."""

    image: Tensor  # (B, 3, H, W), what the remote trunk reads
    bits: Tensor  # (B,), estimated


class Bottleneck(nn.Module):
    """Encoder, gain units, entropy model and decoder.

    Args:
        rates: how many rates there are behind the encoder.
        steps: quantisation steps that the first and the last rate start with, in latents.
        channels: of the latents.
    """

    def __init__(
        self, rates: int = 5, steps: tuple[float, float] = (1.0, 0.2), channels: int = CHANNELS
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels)
        self.decoder = Decoder(channels)
        self.density = Density(channels)
        first, last = (math.log(1 / step) for step in steps)
        start = torch.linspace(first, last, rates)[:, None].expand(rates, channels)
        self.log_gain = nn.Parameter(start.clone())
        # What undoes a gain need not be its inverse: a symbol's mean lies nearer to zero.
        self.log_inverse = nn.Parameter(-start.clone())

    def forward(self, image: Tensor, rate: Tensor) -> Compressed:
        """Compress and decompress.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255.
            rate: (B,) int64, each image's rate.
        """
        latent = self.encoder(image).float()
        gain = self.log_gain[rate].exp()[:, :, None, None]  # (B, C, 1, 1)
        noise = torch.rand_like(latent) - 0.5
        bits = self.density.bits(latent + noise / gain, 1 / gain)
        scaled = latent * gain
        symbols = scaled + (scaled.round() - scaled).detach()  # straight through
        inverse = self.log_inverse[rate].exp()[:, :, None, None]
        return Compressed(self.decoder(symbols * inverse), bits.sum(dim=(1, 2, 3)))


def _start_at_zero(conv: nn.Conv2d) -> None:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
