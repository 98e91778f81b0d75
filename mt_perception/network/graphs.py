# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network's blocks for export: with input conversion, decoding and argmax."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.branched import Branched
from mt_perception.network.branches import LEVELS, Branches, Part
from mt_perception.network.dense import DenseHead, LightHead
from mt_perception.network.detection import (
    DetectionHead,
    RawDetections,
    cells_of,
    decode_boxes,
)
from mt_perception.network.layers import IMAGE
from mt_perception.network.multitask import TASKS, Multitask
from mt_perception.network.trunk import Features, Trunk


class TrunkGraph(nn.Module):
    """image, uint8 (1, H, W, 3) BGR → s4, s8, s16, s32. The trunk reads raw values 0 to 255."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, image: Tensor) -> Features:
        features: Features = self.trunk(image.permute(0, 3, 1, 2).float())
        return features


class DetectionGraph(nn.Module):
    """s8, s16, s32 → boxes in network pixels, score and index of the best class."""

    def __init__(self, head: DetectionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, s8: Tensor, s16: Tensor, s32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw: RawDetections = self.head(s8, s16, s32)
        boxes = decode_boxes(raw.boxes, *cells_of((s8, s16, s32)))
        logits, class_ids = raw.classes.max(dim=2)  # (1, N)
        # The sigmoid of the best logit only, instead of all classes.
        return boxes, raw.objectness.sigmoid() * logits.sigmoid(), class_ids


class SegmentationGraph(nn.Module):
    """s4 … s32 → class_ids, uint8 (1, H/2, W/2), and logits, float32 (1, C, H/4, W/4).

    The class ids of a reduced head are (1, H/4, W/4). The logits are for the confidence; an output
    that is not fetched costs nothing.
    """

    def __init__(self, head: DenseHead | LightHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *levels: Tensor) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.head(levels)
        if isinstance(self.head, DenseHead):
            # Finer contours for a third of the head's latency; reduced heads do without.
            return best_classes(logits), logits
        return logits.argmax(dim=1).to(torch.uint8), logits


def best_classes(logits: Tensor) -> Tensor:
    """Return class ids, uint8 (B, H/2, W/2), of logits (B, C, H/4, W/4)."""
    fine = functional.interpolate(logits, scale_factor=2.0, mode='bilinear', align_corners=False)
    return fine.argmax(dim=1).to(torch.uint8)


class DepthGraph(nn.Module):
    """s4 … s32 → depth_per_focal, float32 (1, H/4, W/4): metres over focal length in pixels."""

    def __init__(self, head: DenseHead | LightHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *levels: Tensor) -> Tensor:
        log_depth: Tensor = self.head(levels)
        return log_depth[:, 0].exp()


@dataclass(frozen=True)
class BlockGraph:
    """One block to export.

    Args:
        name: the block's name in the manifest.
        module: takes the inputs in order, returns the outputs in order.
        inputs: input name → tensor of the graph.
        outputs: output names.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]


def block_graphs(network: Multitask, tasks: Collection[str] = TASKS) -> tuple[BlockGraph, ...]:
    """Return the blocks of a network for some tasks, in topological order."""
    if isinstance(network, Branched):
        trunks, taps = branch_graphs(network.branches())
    else:
        levels = Features._fields
        trunks = (BlockGraph('trunk', TrunkGraph(network.trunk), {IMAGE: IMAGE}, levels),)
        taps = {task: tuple(f'trunk/{level}' for level in LEVELS[task]) for task in TASKS}
    heads = head_graphs(network, taps)
    return (*trunks, *(graph for graph in heads if graph.name in tasks))


def head_graphs(network: Multitask, taps: Mapping[str, tuple[str, ...]]) -> tuple[BlockGraph, ...]:
    """Return the heads' blocks.

    Args:
        network: the network.
        taps: task → input tensors of its head, in the order of LEVELS.
    """
    heads: Mapping[str, tuple[nn.Module, tuple[str, ...]]] = {
        'detection': (DetectionGraph(network.detection), ('boxes', 'scores', 'class_ids')),
        'segmentation': (SegmentationGraph(network.segmentation), ('class_ids', 'logits')),
        'depth': (DepthGraph(network.depth), ('depth_per_focal',)),
    }
    graphs = []
    for task, (module, outputs) in heads.items():
        head = network.get_submodule(task)
        read = head.levels if isinstance(head, LightHead) else LEVELS[task]
        inputs = dict(zip(LEVELS[task], taps[task], strict=True))
        graphs.append(BlockGraph(task, module, {name: inputs[name] for name in read}, outputs))
    return tuple(graphs)


class PartGraph(nn.Module):
    """Inputs of a part of a branched trunk → its outputs."""

    def __init__(self, branches: Branches, part: Part) -> None:
        super().__init__()
        self.branches = branches.only(part.steps)
        self.part = part

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.part.inputs, given, strict=True))
        if IMAGE in values:
            values[IMAGE] = values[IMAGE].permute(0, 3, 1, 2).float()
        values = self.branches.run(self.part.steps, values)
        return tuple(values[name] for name in self.part.outputs)


def branch_graphs(
    branches: Branches,
) -> tuple[tuple[BlockGraph, ...], dict[str, tuple[str, ...]]]:
    """Return a branched trunk's blocks, and task → input tensors of its head."""
    parts = branches.parts()
    tensors = {IMAGE: IMAGE}
    for part in parts:
        tensors |= {name: f'{part.name}/{name}' for name in part.outputs}
    graphs = tuple(
        BlockGraph(
            part.name,
            PartGraph(branches, part),
            {name: tensors[name] for name in part.inputs},
            part.outputs,
        )
        for part in parts
    )
    taps = {task: tuple(tensors[name] for name in names) for task, names in branches.taps.items()}
    return graphs, taps
