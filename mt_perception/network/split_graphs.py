# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The two halves of a cut network as they run: the robot's encoder, the remote host's rest."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mt_perception.network.bottleneck import (
    GREY_OFFSET,
    GREY_UNIT,
    Bottleneck,
    Decoder,
    Encoder,
    shown,
)
from mt_perception.network.graphs import BlockGraph
from mt_perception.network.remote import Remote
from mt_perception.network.remote_graphs import SEEN, remote_blocks

LATENT = 'latent'


class EncoderGraph(nn.Module):
    """image, uint8 (1, H, W, 3) BGR → latent (1, C, H/16, W/16).

    A row of the image is 3 W numbers in memory, and a block of 8×8 pixels is 8 rows of 24: a
    convolution on one channel reads the blocks as they lie, and nothing has to be transposed.
    The scaling of grey levels is part of its weights, which is exact since it has no border.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        theirs = encoder.conv8
        side = theirs.kernel_size[0]
        self.blocks = nn.Conv2d(1, theirs.out_channels, (side, 3 * side), (side, 3 * side))
        assert self.blocks.bias is not None
        assert theirs.bias is not None
        with torch.no_grad():
            weight = theirs.weight.contiguous() / GREY_UNIT  # (O, 3, 8, 8)
            self.blocks.weight.copy_(weight.permute(0, 2, 3, 1).reshape(-1, 1, side, 3 * side))
            self.blocks.bias.copy_(theirs.bias - GREY_OFFSET * weight.sum(dim=(1, 2, 3)))
        self.norm8 = encoder.norm8.fixed()
        self.conv16 = copy.deepcopy(encoder.conv16)

    def forward(self, image: Tensor) -> Tensor:
        rows = image.flatten(2).unsqueeze(1).float()  # (1, 1, H, 3 W)
        latent: Tensor = self.conv16(self.norm8(self.blocks(rows)))
        return latent


class DecoderGraph(nn.Module):
    """latent (B, C, h, w), dequantised → seen (B, 3, H, W); the weights scale grey levels."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(decoder)
        self.decoder.norm8 = decoder.norm8.fixed()
        with torch.no_grad():
            for last in (self.decoder.linear8, self.decoder.tail8):
                assert last.bias is not None
                last.weight.mul_(GREY_UNIT)
                last.bias.mul_(GREY_UNIT)
            assert self.decoder.linear8.bias is not None
            self.decoder.linear8.bias.add_(GREY_OFFSET)

    def forward(self, latent: Tensor) -> Tensor:
        return shown(self.decoder.pixels(latent))


def robot_graph(bottleneck: Bottleneck) -> BlockGraph:
    """The robot's half."""
    return BlockGraph('encoder', EncoderGraph(bottleneck.encoder), {'image': 'image'}, (LATENT,))


def remote_graphs(bottleneck: Bottleneck, remote: Remote) -> tuple[BlockGraph, ...]:
    """The remote half; its tasks' blocks have the names of the whole network's."""
    decoder = DecoderGraph(bottleneck.decoder)
    return (
        BlockGraph('decoder', decoder, {LATENT: LATENT}, (SEEN,)),
        *remote_blocks(remote, f'decoder/{SEEN}'),
    )
