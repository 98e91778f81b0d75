# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared trunk: CSPDarknet-nano and its feature pyramid."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.conv_blocks import (
    ConvAct,
    CSPStage,
    DepthwiseConv,
    Focus,
    SpatialPyramidPooling,
)


class Features(NamedTuple):
    """Input features of the heads at strides 4, 8, 16 and 32."""

    s4: Tensor  # (B, 32, H/4, W/4)
    s8: Tensor  # (B, 64, H/8, W/8)
    s16: Tensor  # (B, 128, H/16, W/16)
    s32: Tensor  # (B, 256, H/32, W/32)


FEATURE_CHANNELS = {'s4': 32, 's8': 64, 's16': 128, 's32': 256}


def _upsample(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode='nearest')


class Trunk(nn.Module):
    """CSPDarknet-nano (depth 0.33, width 0.25, depthwise) with a path aggregation pyramid.

    Ge et al., YOLOX, arXiv 2107.08430; Liu et al., PANet, arXiv 1803.01534. Submodules are
    declared in execution order, which `pretrained` relies on. s4 is the output of the second
    backbone stage; s8, s16 and s32 are outputs of the pyramid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Focus(16)  # H/2
        self.stage2 = nn.Sequential(DepthwiseConv(16, 32, 2), CSPStage(32, 32, 1))  # H/4
        self.stage3 = nn.Sequential(DepthwiseConv(32, 64, 2), CSPStage(64, 64, 3))  # H/8
        self.stage4 = nn.Sequential(DepthwiseConv(64, 128, 2), CSPStage(128, 128, 3))  # H/16
        self.stage5 = nn.Sequential(  # H/32
            DepthwiseConv(128, 256, 2),
            SpatialPyramidPooling(256),
            CSPStage(256, 256, 1, shortcut=False),
        )
        self.lateral5 = ConvAct(256, 128)
        self.top_down4 = CSPStage(256, 128, 1, shortcut=False)
        self.lateral4 = ConvAct(128, 64)
        self.top_down3 = CSPStage(128, 64, 1, shortcut=False)
        self.down3 = DepthwiseConv(64, 64, 2)
        self.bottom_up4 = CSPStage(128, 128, 1, shortcut=False)
        self.down4 = DepthwiseConv(128, 128, 2)
        self.bottom_up5 = CSPStage(256, 256, 1, shortcut=False)

    def forward(self, image: Tensor) -> Features:
        """Compute the features.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255, H and W multiples of 32.
        """
        return self.pyramid(*self.backbone(image))

    def backbone(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the backbone stages' outputs at strides 4, 8, 16 and 32."""
        s4 = self.stage2(self.stem(image))
        c8 = self.stage3(s4)
        c16 = self.stage4(c8)
        return s4, c8, c16, self.stage5(c16)

    def pyramid(self, s4: Tensor, c8: Tensor, c16: Tensor, c32: Tensor) -> Features:
        """Compute the features from the backbone's outputs."""
        lateral5 = self.lateral5(c32)  # (B, 128, H/32, W/32)
        p16 = self.top_down4(torch.cat((_upsample(lateral5), c16), dim=1))
        lateral4 = self.lateral4(p16)  # (B, 64, H/16, W/16)
        s8 = self.top_down3(torch.cat((_upsample(lateral4), c8), dim=1))
        s16 = self.bottom_up4(torch.cat((self.down3(s8), lateral4), dim=1))
        s32 = self.bottom_up5(torch.cat((self.down4(s16), lateral5), dim=1))
        return Features(s4, s8, s16, s32)
