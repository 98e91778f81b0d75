# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trunk of a sharing tree: shared segments, and copies after branch points (Antler)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import nn

from mt_perception.errors import ModelError
from mt_perception.model.branching import SharingTree
from mt_perception.network.branches import LEVELS, Branches, Step
from mt_perception.network.layers import (
    IMAGE,
    Layer,
    convolution,
    copy_convolution,
    operation,
    read_layers,
)
from mt_perception.network.multitask import TASKS
from mt_perception.network.trunk import Features, Trunk

M = TypeVar('M', bound=nn.Module)

SEGMENTS: tuple[tuple[str, ...], ...] = (
    ('stem', 'stage2'),
    ('stage3',),
    ('stage4',),
    ('stage5',),
    ('lateral5', 'top_down4', 'lateral4', 'top_down3'),
    ('down3', 'bottom_up4', 'down4', 'bottom_up5'),
)
"""The trunk's submodules between two branch points, from the image to the heads."""


def grow_tree(tree: SharingTree, trunks: Mapping[str, Trunk]) -> Branches:
    """Build the trunk of a sharing tree (Antler, arXiv 2302.13155).

    Shared layers start from the mean of the single-task weights, which is meaningful because all
    networks started from the same pretrained weights.

    Args:
        tree: tasks are numbered as in TASKS, segments as in SEGMENTS.
        trunks: task → trunk of its single-task network.

    Raises:
        ModelError: the tree has other segments or tasks.
    """
    found = {task for group in tree.partitions[0] for task in group}
    if len(tree.partitions) != len(SEGMENTS) or found != set(range(len(TASKS))):
        raise ModelError(
            f'expected a tree of {len(TASKS)} tasks and {len(SEGMENTS)} segments, found {tree}'
        )
    read = read_layers(next(iter(trunks.values())))
    steps: list[Step] = []
    made: dict[tuple[str, int], str] = {(IMAGE, task): IMAGE for task in range(len(TASKS))}
    for layer in read.layers:
        depth = next(d for d, names in enumerate(SEGMENTS) if layer.section in names)
        for group in tree.partitions[depth]:
            members = [TASKS[task] for task in group]
            name = f'{layer.name}-{"-".join(members)}'
            reads = tuple(made[source, group[0]] for source in layer.reads)
            steps.append(Step(name, reads, _operation(layer, [trunks[m] for m in members])))
            made |= {(layer.name, task): name for task in group}
    taps = dict(zip(Features._fields, read.outputs, strict=True))
    return Branches(
        steps,
        {
            task: tuple(made[taps[level], TASKS.index(task)] for level in LEVELS[task])
            for task in TASKS
        },
    )


def _operation(layer: Layer, trunks: Sequence[nn.Module]) -> nn.Module:
    if layer.kind != 'convolution':
        return operation(layer)
    return mean_weights([copy_convolution(convolution(trunk, layer)) for trunk in trunks])


@torch.no_grad()
def mean_weights(copies: Sequence[M]) -> M:
    """Set the first of some equal networks to the mean of all weights, and return it."""
    for ours, *theirs in zip(*(copy.parameters() for copy in copies), strict=True):
        ours.copy_(torch.stack([ours, *theirs]).mean(dim=0))
    return copies[0]
