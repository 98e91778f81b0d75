# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of a cascade for export: a second network behind the robot's, and the fusion of both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.box_fusion import Found, best, rows
from mt_perception.network.dense import LightHead
from mt_perception.network.graphs import BlockGraph, best_classes
from mt_perception.network.layers import IMAGE
from mt_perception.network.picodet import ESNet, PicoDet
from mt_perception.network.remote import Remote
from mt_perception.network.split_graphs import FOUND, BoxFusionGraph, SidesGraph, WideGraph

BACKBONE, DETECTOR, WIDE = 'picodet_backbone', 'picodet', 'wide'
"""Names of the second network's blocks."""

LOGITS = 'logits'
"""Output of the robot's segmentation block: (1, C, H/4, W/4)."""

_LEVELS = ('c8', 'c16', 'c32')


class BackboneGraph(nn.Module):
    """image, uint8 (1, H, W, 3) BGR → c8, c16, c32 of the second detector."""

    def __init__(self, backbone: ESNet) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels: tuple[Tensor, ...] = self.backbone(image.permute(0, 3, 1, 2).float())
        return levels[1:]


class SquareDetectorGraph(nn.Module):
    """image, uint8 (1, H, W, 3) BGR → boxes in network pixels, scores and classes of best cells.

    The detector was trained on images stretched to squares, and detects more there.
    """

    def __init__(self, detector: PicoDet) -> None:
        super().__init__()
        self.sides = SidesGraph(detector)

    def forward(self, image: Tensor) -> Found:
        planes = image.permute(0, 3, 1, 2).float()
        height, width = (torch.as_tensor(side) for side in planes.shape[2:])
        side = torch.maximum(height, width)
        # Tensors, so that the exported graph takes any size.
        size: Any = (side, side)
        square = functional.interpolate(planes, size=size, mode='bilinear', align_corners=False)
        found: Found = self.sides(*self.sides.detector.pyramid(square))
        shrink = torch.stack((width, height, width, height)) / side
        return Found(found.boxes * shrink, found.scores, found.class_ids)


class AllBoxesFusionGraph(nn.Module):
    """Best boxes of the second detector, all boxes of the robot's → fused and calibrated."""

    def __init__(self, calibration: Tensor) -> None:
        super().__init__()
        self.fusion = BoxFusionGraph(calibration)

    def forward(self, *found: Tensor) -> Found:
        boxes, all_scores, class_ids = found[3:]
        scores, index = best(all_scores)
        own = (rows(boxes, index), scores, rows(class_ids, index))
        fused: Found = self.fusion(*found[:3], *own)
        return fused


class SummedSegmentationGraph(nn.Module):
    """Logits of the robot's head and map of the wide head → class_ids, uint8 (1, H/2, W/2)."""

    def forward(self, logits: Tensor, wide: Tensor) -> Tensor:
        return best_classes(logits + wide[:, : logits.shape[1]])


def fusion_graph(calibration: Tensor) -> BlockGraph:
    """Return the block that fuses the boxes of both detectors.

    Args:
        calibration: slope and offset of the fused logits, (2,).
    """
    boxes = {f'{who}_{name}': f'{who}/{name}' for who in (DETECTOR, 'detection') for name in FOUND}
    return BlockGraph('fused_detection', AllBoxesFusionGraph(calibration), boxes, FOUND)


def cascade_graphs(remote: Remote) -> tuple[BlockGraph, ...]:
    """Return the blocks behind those of the robot's network, in topological order.

    Args:
        remote: both networks and the wide head.
    """
    own = {level: f'trunk/{level}' for level in LightHead.levels}
    second = {level: f'{BACKBONE}/{level}' for level in _LEVELS}
    return (
        BlockGraph(BACKBONE, BackboneGraph(remote.detector.backbone), {IMAGE: IMAGE}, _LEVELS),
        BlockGraph(DETECTOR, SquareDetectorGraph(remote.detector), {IMAGE: IMAGE}, FOUND),
        BlockGraph(WIDE, WideGraph(remote.wide), own | second, ('map',)),
        fusion_graph(remote.calibration),
        BlockGraph(
            'fused_segmentation',
            SummedSegmentationGraph(),
            {LOGITS: f'segmentation/{LOGITS}', WIDE: f'{WIDE}/map'},
            ('class_ids',),
        ),
    )


class GateGraph(nn.Module):
    """Tensors of a task's first stage → estimated gain of its later blocks, (1, 1).

    The gain is linear in a few numbers.

    Args:
        numbers: makes the numbers (1, K) of the tensors.
        weights: (K,).
        bias: ().
    """

    def __init__(self, numbers: nn.Module, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.numbers = numbers
        self.weights = nn.Parameter(weights[:, None], requires_grad=False)
        self.bias = nn.Parameter(bias.reshape(1, 1), requires_grad=False)

    def forward(self, *tensors: Tensor) -> Tensor:
        gain: Tensor = self.numbers(*tensors) @ self.weights + self.bias
        return gain


_UNCERTAIN = (0.05, 0.5)
_SMALL = 32.0
"""Side of a small box in network pixels."""


class BoxCertainty(nn.Module):
    """Scores (1, N), boxes (1, N, 4), class_ids (1, N) → certainty of a detection, (1, 6).

    Counts of boxes are sums over the best boxes, in logarithms. A class counts 1 - exp(-m), with
    m the sum of its scores: average precision is a mean over classes.
    """

    names = ('boxes', 'uncertain boxes', 'entropy', 'small boxes', 'classes', 'best score')

    def forward(self, scores: Tensor, boxes: Tensor, class_ids: Tensor) -> Tensor:
        p, index = best(scores)
        boxes, class_ids = rows(boxes, index), rows(class_ids, index)
        area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
        low, high = _UNCERTAIN
        q = p.clamp(1e-6, 1 - 1e-6)
        entropy = -(q * q.log() + (1 - q) * (1 - q).log())
        same = (class_ids[:, :, None] == class_ids[:, None]).to(p.dtype)  # (1, M, M)
        mass = (same @ p[..., None])[..., 0].clamp_min(1e-6)
        counts = (
            p,
            ((p > low) & (p < high)).to(p.dtype),
            entropy,
            p * (area < _SMALL**2).to(p.dtype),
            p / mass * (1 - (-mass).exp()),
        )
        sums = torch.cat([n.sum(dim=1, keepdim=True) for n in counts], dim=1)
        return torch.cat((sums.add(1).log(), p[:, :1]), dim=1)


class MapCertainty(nn.Module):
    """Logits (1, C, h, w) → numbers on the certainty of a label map, (1, 3)."""

    names = ('entropy', 'margin', 'uncertain pixels')

    def forward(self, logits: Tensor) -> Tensor:
        logits = functional.avg_pool2d(logits, 4)
        p = logits.softmax(dim=1)
        two = p.topk(2, dim=1).values
        margin = two[:, 0] - two[:, 1]
        entropy = -(p * p.clamp_min(1e-6).log()).sum(dim=1)
        numbers = (entropy, margin, (margin < 0.5).float())
        return torch.stack([n.mean(dim=(1, 2)) for n in numbers], dim=1)
