# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote half's blocks as they run on the host.

Trunk and dense heads of the robot's kind are one block, which runs beside the second detector's
larger one; then come both detectors' heads and the wide one side by side. What is left of the
tasks behind them is small.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mt_perception.network.agreement import Found, agreed
from mt_perception.network.dense import LightHead
from mt_perception.network.graphs import BlockGraph, DetectionGraph, best_classes
from mt_perception.network.picodet import PicoDet, cells_of, decode_sides
from mt_perception.network.remote import Remote, WideHead
from mt_perception.network.trunk import Features

SEEN = 'seen'
"""What the decoder makes: an image-like tensor that trunk and detector read."""

FOUND = Found._fields

OWN, WIDE = 'own', 'map'
"""What the dense heads make together, and the wide head: classes of segmentation, then depth."""


_LEAST_SCORE = 1e-6


class TrunkGraph(nn.Module):
    """seen (B, 3, H, W) → the trunk's s8 … s32, and what both dense heads say of its features."""

    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self.trunk, self.segmentation, self.depth = remote.trunk, remote.segmentation, remote.depth

    def forward(self, seen: Tensor) -> tuple[Tensor, ...]:
        features: Features = self.trunk(seen)
        own = torch.cat((self.segmentation(features), self.depth(features)), dim=1)
        return (*features[1:], own)


class PyramidGraph(nn.Module):
    """seen (B, 3, H, W) → the detector's features at strides 8 to 64, its backbone's to 32."""

    def __init__(self, detector: PicoDet) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, seen: Tensor) -> tuple[Tensor, ...]:
        levels: tuple[Tensor, ...] = self.detector.backbone(seen)[1:]
        return (*self.detector.neck(*levels), *levels)


class SidesGraph(nn.Module):
    """d8 … d64 → boxes in network pixels, the best class's score, and that class."""

    def __init__(self, detector: PicoDet) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, d8: Tensor, d16: Tensor, d32: Tensor, d64: Tensor) -> Found:
        raw = self.detector.head(d8, d16, d32, d64)
        boxes = decode_sides(raw.sides, *cells_of(d8, d16, d32, d64))
        logits, class_ids = raw.classes.max(dim=2)
        return Found(boxes, logits.sigmoid(), class_ids)


class AgreementGraph(nn.Module):
    """Boxes, scores and classes of both detectors → those that they agree on."""

    def __init__(self, calibration: Tensor) -> None:
        super().__init__()
        self.slope, self.offset = calibration.tolist()

    def forward(self, *found: Tensor) -> Found:
        boxes, scores, class_ids = agreed(Found(*found[:3]), Found(*found[3:]))
        logits = torch.logit(scores, _LEAST_SCORE)
        return Found(boxes, (self.slope * logits + self.offset).sigmoid(), class_ids)


class WideGraph(nn.Module):
    """s8 … s32 of the trunk, c8 … c32 of the detector → what is added to both dense heads."""

    def __init__(self, head: WideHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *levels: Tensor) -> Tensor:
        found: Tensor = self.head(levels[:3], levels[3:])
        return found


class SegmentationGraph(nn.Module):
    """What the dense heads and the wide head say → class_ids, uint8 (B, H/2, W/2)."""

    def forward(self, own: Tensor, wide: Tensor) -> Tensor:
        return best_classes(own[:, :-1] + wide[:, :-1])


class DepthGraph(nn.Module):
    """What the dense heads and the wide head say → depth_per_focal, (B, H/4, W/4)."""

    def forward(self, own: Tensor, wide: Tensor) -> Tensor:
        return (own[:, -1] + wide[:, -1]).exp()


def remote_blocks(remote: Remote, seen: str) -> tuple[BlockGraph, ...]:
    """Give the blocks behind the decoder, each after those that it reads.

    Args:
        remote: the network.
        seen: the tensor that the decoder makes: what trunk and detector read, (B, 3, H, W).
    """
    strides, backbone = ('d8', 'd16', 'd32', 'd64'), ('c8', 'c16', 'c32')
    pyramid = {level: f'pyramid/{level}' for level in strides}
    features = {level: f'trunk/{level}' for level in LightHead.levels}
    both = features | {level: f'pyramid/{level}' for level in backbone}
    said = {OWN: f'trunk/{OWN}', WIDE: f'wide/{WIDE}'}
    opinions = {f'{who}_{name}': f'{who}/{name}' for who in ('sides', 'cells') for name in FOUND}
    return (
        BlockGraph('trunk', TrunkGraph(remote), {SEEN: seen}, (*features, OWN)),
        BlockGraph('pyramid', PyramidGraph(remote.detector), {SEEN: seen}, (*strides, *backbone)),
        BlockGraph('wide', WideGraph(remote.wide), both, (WIDE,)),
        BlockGraph('sides', SidesGraph(remote.detector), pyramid, FOUND),
        BlockGraph('cells', DetectionGraph(remote.detection), features, FOUND),
        BlockGraph('detection', AgreementGraph(remote.calibration), opinions, FOUND),
        BlockGraph('segmentation', SegmentationGraph(), said, ('class_ids',)),
        BlockGraph('depth', DepthGraph(), said, ('depth_per_focal',)),
    )
