# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network's blocks as they run on the robot: normalisation before, decoding behind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.dense import DenseHead
from mt_perception.network.detection import (
    DetectionHead,
    RawDetections,
    cells_of,
    decode_boxes,
)
from mt_perception.network.multitask import Multitask
from mt_perception.network.trunk import Features, Trunk


class TrunkGraph(nn.Module):
    """image, uint8 (1, H, W, 3) BGR → s4, s8, s16, s32. Raw 0 to 255 is what the trunk reads."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, image: Tensor) -> Features:
        features: Features = self.trunk(image.permute(0, 3, 1, 2).float())
        return features


class DetectionGraph(nn.Module):
    """s8, s16, s32 → boxes in network pixels, the best class's score, and that class."""

    def __init__(self, head: DetectionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, s8: Tensor, s16: Tensor, s32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw: RawDetections = self.head(s8, s16, s32)
        boxes = decode_boxes(raw.boxes, *cells_of((s8, s16, s32)))
        logits, class_ids = raw.classes.max(dim=2)  # (1, N)
        # One sigmoid on the best logit instead of one on each of the 80.
        return boxes, raw.objectness.sigmoid() * logits.sigmoid(), class_ids


class SegmentationGraph(nn.Module):
    """s4 … s32 → class_ids, uint8 (1, H/2, W/2)."""

    def __init__(self, head: DenseHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, s4: Tensor, s8: Tensor, s16: Tensor, s32: Tensor) -> Tensor:
        logits = self.head(Features(s4, s8, s16, s32))
        fine = functional.interpolate(
            logits, scale_factor=2.0, mode='bilinear', align_corners=False
        )
        return fine.argmax(dim=1).to(torch.uint8)


class DepthGraph(nn.Module):
    """s4 … s32 → depth_per_focal, float32 (1, H/4, W/4): metres over focal length in pixels."""

    def __init__(self, head: DenseHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, s4: Tensor, s8: Tensor, s16: Tensor, s32: Tensor) -> Tensor:
        return self.head(Features(s4, s8, s16, s32))[:, 0].exp()


@dataclass(frozen=True)
class BlockGraph:
    """One block to export.

    Args:
        name: the block's name in the manifest.
        module: takes the inputs in order, returns the outputs in order.
        inputs: its own input names.
        outputs: its own output names.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def block_graphs(network: Multitask) -> tuple[BlockGraph, ...]:
    """Give the blocks of a network, the trunk first."""
    pyramid = ('s4', 's8', 's16', 's32')
    return (
        BlockGraph('trunk', TrunkGraph(network.trunk), ('image',), pyramid),
        BlockGraph(
            'detection',
            DetectionGraph(network.detection),
            pyramid[1:],
            ('boxes', 'scores', 'class_ids'),
        ),
        BlockGraph(
            'segmentation', SegmentationGraph(network.segmentation), pyramid, ('class_ids',)
        ),
        BlockGraph('depth', DepthGraph(network.depth), pyramid, ('depth_per_focal',)),
    )
