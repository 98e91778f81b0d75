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

from mt_perception.network import detection
from mt_perception.network.box_fusion import Found, best, fuse_boxes, rows
from mt_perception.network.dense import LightHead
from mt_perception.network.graphs import BlockGraph, best_classes
from mt_perception.network.picodet import BINS, PicoDet, cells_of, decode_sides
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
    """d8 … d64 → the best boxes in network pixels, their best class's score, and that class.

    Of cells that are not among the best neither class nor box is worked out.
    """

    def __init__(self, detector: PicoDet) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, d8: Tensor, d16: Tensor, d32: Tensor, d64: Tensor) -> Found:
        maps = self.detector.maps(d8, d16, d32, d64)
        classes = self.detector.classes
        scores, index = best(maps[:, :classes].amax(dim=1).sigmoid())
        chosen = maps.gather(2, index[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)
        sides = chosen[..., classes:].reshape(*index.shape, 4, BINS)
        centres, strides = (cells[index] for cells in cells_of(d8, d16, d32, d64))
        return Found(
            decode_sides(sides, centres, strides), scores, chosen[..., :classes].argmax(2)
        )


class CellsGraph(nn.Module):
    """s8, s16, s32 → the same by the robot's own head."""

    def __init__(self, head: detection.DetectionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, s8: Tensor, s16: Tensor, s32: Tensor) -> Found:
        raw = self.head(s8, s16, s32)
        scores, index = best(raw.objectness.sigmoid() * raw.classes.amax(dim=2).sigmoid())
        corners, strides = (cells[index] for cells in detection.cells_of((s8, s16, s32)))
        boxes = detection.decode_boxes(rows(raw.boxes, index), corners, strides)
        return Found(boxes, scores, rows(raw.classes, index).argmax(dim=2))


class BoxFusionGraph(nn.Module):
    """Boxes, scores and classes of both detectors → those that they agree on."""

    def __init__(self, calibration: Tensor) -> None:
        super().__init__()
        self.slope, self.offset = calibration.tolist()

    def forward(self, *found: Tensor) -> Found:
        boxes, scores, class_ids = fuse_boxes(Found(*found[:3]), Found(*found[3:]))
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
    decoded = {f'{who}_{name}': f'{who}/{name}' for who in ('sides', 'cells') for name in FOUND}
    return (
        BlockGraph('trunk', TrunkGraph(remote), {SEEN: seen}, (*features, OWN)),
        BlockGraph('pyramid', PyramidGraph(remote.detector), {SEEN: seen}, (*strides, *backbone)),
        BlockGraph('wide', WideGraph(remote.wide), both, (WIDE,)),
        BlockGraph('sides', SidesGraph(remote.detector), pyramid, FOUND),
        BlockGraph('cells', CellsGraph(remote.detection), features, FOUND),
        BlockGraph('detection', BoxFusionGraph(remote.calibration), decoded, FOUND),
        BlockGraph('segmentation', SegmentationGraph(), said, ('class_ids',)),
        BlockGraph('depth', DepthGraph(), said, ('depth_per_focal',)),
    )
