# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of a split network for export: the encoder on the robot, all others on the host."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mt_perception.network import detection
from mt_perception.network.bottleneck import (
    GREY_OFFSET,
    GREY_UNIT,
    Bottleneck,
    Decoder,
    Encoder,
    to_image,
)
from mt_perception.network.box_fusion import Found, best, fuse_boxes, rows
from mt_perception.network.dense import LightHead
from mt_perception.network.graphs import BlockGraph, best_classes
from mt_perception.network.picodet import BINS, PicoDet, cells_of, decode_sides
from mt_perception.network.remote import Remote, WideHead
from mt_perception.network.trunk import Features

LATENT = 'latent'
DECODED = 'seen'
"""Tensor name of the decoded image, the input of trunk and detector."""

FOUND = Found._fields

OWN, WIDE = 'own', 'map'
"""Tensor names of the maps of base heads and wide head: segmentation classes, then depth."""

_LEAST_SCORE = 1e-6


class EncoderGraph(nn.Module):
    """image, uint8 (1, H, W, 3) BGR → latent (1, C, H/16, W/16).

    A row of the image is 3 W bytes, and a block of 8×8 pixels is 8 rows of 24 bytes. A convolution
    with an 8×24 kernel on one channel reads the blocks without a transposition. The scaling of
    grey levels is folded into its weights, which is exact because there is no padding.
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
    """latent (B, C, h, w), dequantised → image (B, 3, H, W), 0 to 255."""

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
        return to_image(self.decoder.pixels(latent))


class RemoteTrunkGraph(nn.Module):
    """decoded image (B, 3, H, W) → s8 … s32 of the trunk, and the map of the base dense heads."""

    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self.trunk, self.segmentation, self.depth = remote.trunk, remote.segmentation, remote.depth

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features: Features = self.trunk(image)
        own = torch.cat((self.segmentation(features), self.depth(features)), dim=1)
        return (*features[1:], own)


class PyramidGraph(nn.Module):
    """decoded image (B, 3, H, W) → pyramid at strides 8 to 64, backbone features at 8 to 32."""

    def __init__(self, detector: PicoDet) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels: tuple[Tensor, ...] = self.detector.backbone(image)[1:]
        return (*self.detector.neck(*levels), *levels)


class SidesGraph(nn.Module):
    """d8 … d64 → boxes in network pixels, scores and classes of the best cells.

    Classes and boxes are computed for the best cells only.
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
    """s8, s16, s32 → the same by the robot's detection head."""

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
    """Boxes, scores and classes of both detectors → fused boxes, calibrated scores, classes."""

    def __init__(self, calibration: Tensor) -> None:
        super().__init__()
        self.slope, self.offset = calibration.tolist()

    def forward(self, *found: Tensor) -> Found:
        boxes, scores, class_ids = fuse_boxes(Found(*found[:3]), Found(*found[3:]))
        logits = torch.logit(scores, _LEAST_SCORE)
        return Found(boxes, (self.slope * logits + self.offset).sigmoid(), class_ids)


class WideGraph(nn.Module):
    """s8 … s32 of the trunk, c8 … c32 of the detector → map of the wide head."""

    def __init__(self, head: WideHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *levels: Tensor) -> Tensor:
        found: Tensor = self.head(levels[:3], levels[3:])
        return found


class FusedSegmentationGraph(nn.Module):
    """Maps of base heads and wide head → class_ids, uint8 (B, H/2, W/2)."""

    def forward(self, own: Tensor, wide: Tensor) -> Tensor:
        return best_classes(own[:, :-1] + wide[:, :-1])


class FusedDepthGraph(nn.Module):
    """Maps of base heads and wide head → depth_per_focal, (B, H/4, W/4)."""

    def forward(self, own: Tensor, wide: Tensor) -> Tensor:
        return (own[:, -1] + wide[:, -1]).exp()


def remote_blocks(remote: Remote, decoded: str) -> tuple[BlockGraph, ...]:
    """Return the blocks after the decoder, in topological order.

    Trunk and base dense heads are one block, which runs in parallel with the detector's larger
    one; then both detection heads and the wide head run in parallel. The tasks' own blocks are
    small.

    Args:
        remote: the remote network.
        decoded: tensor of the decoded image, (B, 3, H, W).
    """
    strides, backbone = ('d8', 'd16', 'd32', 'd64'), ('c8', 'c16', 'c32')
    pyramid = {level: f'pyramid/{level}' for level in strides}
    features = {level: f'trunk/{level}' for level in LightHead.levels}
    both = features | {level: f'pyramid/{level}' for level in backbone}
    maps = {OWN: f'trunk/{OWN}', WIDE: f'wide/{WIDE}'}
    boxes = {f'{who}_{name}': f'{who}/{name}' for who in ('sides', 'cells') for name in FOUND}
    return (
        BlockGraph('trunk', RemoteTrunkGraph(remote), {DECODED: decoded}, (*features, OWN)),
        BlockGraph(
            'pyramid', PyramidGraph(remote.detector), {DECODED: decoded}, (*strides, *backbone)
        ),
        BlockGraph('wide', WideGraph(remote.wide), both, (WIDE,)),
        BlockGraph('sides', SidesGraph(remote.detector), pyramid, FOUND),
        BlockGraph('cells', CellsGraph(remote.detection), features, FOUND),
        BlockGraph('detection', BoxFusionGraph(remote.calibration), boxes, FOUND),
        BlockGraph('segmentation', FusedSegmentationGraph(), maps, ('class_ids',)),
        BlockGraph('depth', FusedDepthGraph(), maps, ('depth_per_focal',)),
    )


def robot_graph(bottleneck: Bottleneck) -> BlockGraph:
    """Return the robot's half."""
    return BlockGraph('encoder', EncoderGraph(bottleneck.encoder), {'image': 'image'}, (LATENT,))


def remote_graphs(bottleneck: Bottleneck, remote: Remote) -> tuple[BlockGraph, ...]:
    """Return the remote half; its tasks' blocks have the names of the complete network's."""
    decoder = DecoderGraph(bottleneck.decoder)
    return (
        BlockGraph('decoder', decoder, {LATENT: LATENT}, (DECODED,)),
        *remote_blocks(remote, f'decoder/{DECODED}'),
    )
