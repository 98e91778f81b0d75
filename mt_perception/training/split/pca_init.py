# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PCA initialisation of a bottleneck.

Each layer of the encoder starts as the Karhunen-Loève transform of its input blocks, each layer of
the decoder as the inverse: a transform coder that is about as good as JPEG before any training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.bottleneck import GREY_OFFSET, GREY_UNIT, Bottleneck


@torch.no_grad()
def start_from_principal_components(bottleneck: Bottleneck, images: Tensor) -> None:
    """Initialise the linear layers of a bottleneck, and the scales of its density.

    Args:
        bottleneck: changed in place, except for its normalisations.
        images: (B, 3, H, W) float BGR, 0 to 255.
    """
    encoder, decoder = bottleneck.encoder, bottleneck.decoder
    x = (images - GREY_OFFSET) / GREY_UNIT
    y = _fill(encoder.conv8, decoder.linear8, x, 8)
    z = _fill(encoder.conv16, decoder.linear16, encoder.norm8(y), 2)
    spread = z.std(dim=(0, 2, 3)).clamp_min(1e-3).log()
    # Three scales below the measured spread: latents are sparser than a logistic density.
    bottleneck.density.log_scale.copy_(spread + torch.tensor([-3.0, -1.7, -0.6])[:, None])


def _fill(forward: nn.Conv2d, back: nn.Conv2d, x: Tensor, factor: int) -> Tensor:
    """Initialise a convolution and its inverse, and return the convolution of x."""
    channels, kept = x.shape[1], forward.out_channels
    blocks = functional.pixel_unshuffle(x, factor)  # (B, C f f, H/f, W/f)
    rows = blocks.permute(0, 2, 3, 1).reshape(-1, channels * factor**2)
    mean = rows.mean(dim=0)
    _, basis = torch.linalg.eigh(torch.cov((rows - mean).T))
    basis = basis.flip(1)[:, :kept].T.contiguous()  # (kept, C f f), the largest variance first
    # A larger kernel has the block in its last corner; its first row and column are zero.
    nn.init.zeros_(forward.weight)
    forward.weight[:, :, -factor:, -factor:] = basis.reshape(kept, channels, factor, factor)
    back.weight.copy_(basis.T[:, :, None, None])
    assert forward.bias is not None
    assert back.bias is not None
    # No bias: the mean of the blocks is nearly zero.
    nn.init.zeros_(forward.bias)
    nn.init.zeros_(back.bias)
    made: Tensor = forward(x)
    return made
