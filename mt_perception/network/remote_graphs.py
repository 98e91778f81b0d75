# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote half's blocks as they run on the host."""

from __future__ import annotations

from torch import Tensor, nn

from mt_perception.network.dense import DenseHead, LightHead
from mt_perception.network.graphs import BlockGraph, best_classes
from mt_perception.network.picodet import PicoDet, Pyramid, cells_of, decode_sides
from mt_perception.network.remote import ENLARGED, Remote, WideHead, enlarged
from mt_perception.network.trunk import Features

SEEN = 'seen'
"""What the decoder makes: an image-like tensor that trunk and detector read."""

WIDE = 'map'
"""What the wide head makes: classes of segmentation, then depth."""


class PyramidGraph(nn.Module):
    """seen (B, 3, H, W) → the detector's features at strides 8 to 64 of the enlarged image."""

    def __init__(self, detector: PicoDet) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, seen: Tensor) -> Pyramid:
        return self.detector.pyramid(enlarged(seen))


class SidesGraph(nn.Module):
    """d8 … d64 → boxes in network pixels, the best class's score, and that class."""

    def __init__(self, detector: PicoDet, calibration: Tensor) -> None:
        super().__init__()
        self.detector = detector
        self.slope, self.offset = calibration.tolist()

    def forward(self, d8: Tensor, d16: Tensor, d32: Tensor, d64: Tensor) -> tuple[Tensor, ...]:
        raw = self.detector.head(d8, d16, d32, d64)
        boxes = decode_sides(raw.sides, *cells_of(d8, d16, d32, d64)) / ENLARGED
        logits, class_ids = raw.classes.max(dim=2)
        return boxes, (self.slope * logits + self.offset).sigmoid(), class_ids


class WideGraph(nn.Module):
    """s4 … s32 of the trunk, d8 … d32 of the detector → what is added to both dense heads."""

    def __init__(self, head: WideHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *levels: Tensor) -> Tensor:
        found: Tensor = self.head(Features(*levels[:4]), *levels[4:])
        return found


class WidenedSegmentationGraph(nn.Module):
    """s4 … s32 of the trunk and the wide head's map → class_ids, uint8 (B, H/2, W/2)."""

    def __init__(self, head: DenseHead | LightHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *given: Tensor) -> Tensor:
        return best_classes(self.head(Features(*given[:4])) + given[4][:, :-1])


class WidenedDepthGraph(nn.Module):
    """s4 … s32 of the trunk and the wide head's map → depth_per_focal, (B, H/4, W/4)."""

    def __init__(self, head: DenseHead | LightHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *given: Tensor) -> Tensor:
        log_depth: Tensor = self.head(Features(*given[:4]))[:, 0] + given[4][:, -1]
        return log_depth.exp()


def remote_blocks(remote: Remote, seen: str) -> tuple[BlockGraph, ...]:
    """Give the blocks behind the decoder, each after those that it reads.

    Args:
        remote: the network.
        seen: the tensor that the decoder makes: what trunk and detector read, (B, 3, H, W).
    """
    levels, strides = Features._fields, ('d8', 'd16', 'd32', 'd64')
    trunk = {level: f'trunk/{level}' for level in levels}
    pyramid = {level: f'pyramid/{level}' for level in strides}
    both = trunk | {level: pyramid[level] for level in strides[:3]}
    widened = trunk | {WIDE: f'wide/{WIDE}'}
    sides = SidesGraph(remote.detector, remote.calibration)
    segmentation = WidenedSegmentationGraph(remote.segmentation)
    depth = WidenedDepthGraph(remote.depth)
    return (
        BlockGraph('trunk', remote.trunk, {SEEN: seen}, levels),
        BlockGraph('pyramid', PyramidGraph(remote.detector), {SEEN: seen}, strides),
        BlockGraph('wide', WideGraph(remote.wide), both, (WIDE,)),
        BlockGraph('detection', sides, pyramid, ('boxes', 'scores', 'class_ids')),
        BlockGraph('segmentation', segmentation, widened, ('class_ids',)),
        BlockGraph('depth', depth, widened, ('depth_per_focal',)),
    )
