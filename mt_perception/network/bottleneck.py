# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The learned bottleneck: encoder on the robot, gain units, entropy model, decoder.

After Ladon and earlier compression networks: Ballé et al., arXiv 1611.01704 (GDN, factorised
prior, eq. 7; uniform noise, section 3); Johnston et al., arXiv 1912.08771 (GDN without square
roots); Cui et al., arXiv 2003.02012 (gain units: several rates behind one encoder).

The decoder's output has the shape of the image, but is optimised for the features of a trunk.
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

# Grey levels per unit of the latents, so that latents are of order one.
GREY_UNIT = 64.0
GREY_OFFSET = 114.0

DECODED_RANGE = (-255.0, 510.0)
"""Limits of decoded grey levels, wider than those of an image."""

# The decoder's channels at strides 16 and 8.
_DEEP16, _DEEP8 = 144, 64

_SMALLEST_MASS = 1e-9
_LEAST_NORM = 1e-3
# Smaller weights become zero: squares of decayed weights are denormal numbers, which are ten times
# as slow on a CPU (84 of 6,912 weights took a quarter of the decoder's time).
_LEAST_GAMMA = 1e-12


class GDN(nn.Module):
    """Divisive normalisation: y = x / (β + γ|x|).

    β and γ are squares of the parameters, which keeps them positive (arXiv 1912.08771, eq. 3).
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
        """Return the same layer with constants, for export."""
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
    """Inverse of GDN by fixed-point iteration: x ← y (β + γ|x|), started from y.

    One step, the usual approximation, leaves an error of a tenth of the variance; three steps
    leave less than a hundredth.
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
        """Return the same layer with constants, for export."""
        fixed = UndoGDN(0, 0)
        for step in self.steps:
            assert isinstance(step, GDN)
            fixed.steps.append(step.fixed())
        return fixed


class Encoder(nn.Module):
    """Image (B, 3, H, W) float BGR, 0 to 255 → latents (B, C, H/16, W/16).

    The complete computation on the robot: blocks of 8×8 pixels, GDN, then 3×3 neighbourhoods.
    Overlapping kernels at stride 4, or GDN there, would each add a third of its time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv8 = nn.Conv2d(3, WIDTH, 8, stride=8)
        self.norm8 = GDN(WIDTH)
        self.conv16 = nn.Conv2d(WIDTH, CHANNELS, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm8(self.conv8((image - GREY_OFFSET) / GREY_UNIT))
        latent: Tensor = self.conv16(x)
        return latent


class Residual(nn.Module):
    """x + conv3x3(silu(conv3x3(x))); the second convolution is initialised to zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        _start_at_zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(functional.silu(self.first(x)))
        return x + y


class Separable(nn.Module):
    """x + conv1x1(silu(conv1x1(depthwise3x3(x)))): a ninth of the cost of `Residual`."""

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
    """Dequantised latents (B, C, H/16, W/16) → trunk input (B, 3, H, W), 0 to 255.

    Linear layers invert the encoder's; nonlinear branches add to them and are initialised to
    zero. Most of the computation is at stride 16, where the receptive field is largest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear16 = nn.Conv2d(CHANNELS, 4 * WIDTH, 1)
        self.deep16 = nn.Sequential(nn.Conv2d(CHANNELS, _DEEP16, 3, padding=1), Residual(_DEEP16))
        self.tail16 = nn.Conv2d(_DEEP16, 4 * WIDTH, 1)
        _start_at_zero(self.tail16)
        self.rise16 = nn.Conv2d(_DEEP16, 4 * WIDTH, 1)
        self.norm8 = UndoGDN(WIDTH)
        self.linear8 = nn.Conv2d(WIDTH, 3 * 64, 1)
        self.deep8 = nn.Sequential(
            nn.Conv2d(2 * WIDTH, _DEEP8, 3, padding=1), *(Separable(_DEEP8) for _ in range(2))
        )
        self.tail8 = nn.Conv2d(_DEEP8, 3 * 64, 1)
        _start_at_zero(self.tail8)

    def forward(self, latent: Tensor) -> Tensor:
        return to_image(self.pixels(latent) * GREY_UNIT + GREY_OFFSET)

    def pixels(self, latent: Tensor) -> Tensor:
        """Return blocks of 8×8 pixels, (B, 192, H/8, W/8), in latent units around GREY_OFFSET."""
        deep = functional.silu(self.deep16(latent))
        blocks = functional.pixel_shuffle(self.linear16(latent) + self.tail16(deep), 2)
        blocks = self.norm8(blocks)  # (B, WIDTH, H/8, W/8)
        joined = torch.cat((blocks, functional.pixel_shuffle(self.rise16(deep), 2)), dim=1)
        found: Tensor = self.linear8(blocks) + self.tail8(functional.silu(self.deep8(joined)))
        return found


def to_image(pixels: Tensor) -> Tensor:
    """Blocks of 8×8 pixels, (B, 192, H/8, W/8) grey levels → image (B, 3, H, W), clamped.

    The limits keep features finite for arbitrary symbols.
    """
    return functional.pixel_shuffle(pixels, 8).clamp(*DECODED_RANGE)


class Density(nn.Module):
    """Factorised prior: each channel's latents follow a mixture of three logistic densities."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, CHANNELS))
        self.mean = nn.Parameter(torch.zeros(3, CHANNELS))
        spread = torch.linspace(-1, 1, 3)[:, None]
        self.log_scale = nn.Parameter(spread.expand(3, CHANNELS).clone())

    def cumulative(self, y: Tensor) -> Tensor:
        """Return P(latent < y) for y (B, C, h, w)."""
        share = self.weight.softmax(dim=0)
        total = torch.zeros_like(y)
        for weight, mean, log_scale in zip(share, self.mean, self.log_scale, strict=True):
            z = (y - mean[:, None, None]) * torch.exp(-log_scale)[:, None, None]
            total = total + weight[:, None, None] * z.sigmoid()
        return total

    def bits(self, y: Tensor, step: Tensor) -> Tensor:
        """Return the bits of y (B, C, h, w), quantised with a step (B, C, 1, 1)."""
        mass = self.cumulative(y + step / 2) - self.cumulative(y - step / 2)
        return -torch.log2(mass.clamp_min(_SMALLEST_MASS))


class Compressed(NamedTuple):
    """Decoded image and its cost."""

    image: Tensor  # (B, 3, H, W), input of the remote trunk
    bits: Tensor  # (B,), estimated


class Bottleneck(nn.Module):
    """Encoder, gain units, entropy model and decoder.

    Args:
        rates: number of compression rates.
        steps: initial quantisation steps of the first and the last rate, in latent units.
    """

    def __init__(self, rates: int = 5, steps: tuple[float, float] = (1.0, 0.2)) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.density = Density()
        first, last = (math.log(1 / step) for step in steps)
        start = torch.linspace(first, last, rates)[:, None].expand(rates, CHANNELS)
        self.log_gain = nn.Parameter(start.clone())
        # Learned separately from the gain: the mean of a symbol's interval is closer to zero.
        self.log_inverse = nn.Parameter(-start.clone())

    def forward(self, image: Tensor, rate: Tensor) -> Compressed:
        """Compress and decompress.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255.
            rate: (B,) int64, compression rate of each image.
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
