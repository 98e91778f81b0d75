# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multitask networks with task-specific features: sharing trees and gated trunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from mt_perception.model.branching import SharingTree
from mt_perception.network.branches import Branches, TaskFeatures
from mt_perception.network.interrogate import GatedTrunk
from mt_perception.network.multitask import TASKS, Multitask, Outputs
from mt_perception.network.prune import prune
from mt_perception.network.tree import grow_tree
from mt_perception.network.trunk import Features


class Branched(Multitask):
    """Three heads, each on its own features.

    Args:
        trunk: computes TaskFeatures.
        heads: task → head.
        tree: the sharing tree of the trunk; None for a gated trunk.
    """

    def __init__(
        self,
        trunk: Branches | GatedTrunk,
        heads: Mapping[str, nn.Module],
        tree: SharingTree | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.add_module('trunk', trunk)
        self.tree = tree
        for task in TASKS:
            self.add_module(task, heads[task])

    def branches(self) -> Branches:
        """Return the trunk for deployment; gates are pruned."""
        trunk = self.get_submodule('trunk')
        return prune(trunk) if isinstance(trunk, GatedTrunk) else cast('Branches', trunk)

    def heads(self, features: Features | TaskFeatures, tasks: tuple[str, ...] = TASKS) -> Outputs:
        """Run the heads of some tasks, each on its own features."""
        assert isinstance(features, TaskFeatures)
        depth: Tensor | None = None
        if 'depth' in tasks:
            depth = self.depth(Features(*features.depth))[:, 0]
        return Outputs(
            self.detection(*features.detection) if 'detection' in tasks else None,
            self.segmentation(Features(*features.segmentation))
            if 'segmentation' in tasks
            else None,
            depth,
        )


def describe(network: Multitask) -> dict[str, Any]:
    """Return the structure of a network as plain data, for `restore`."""
    if not isinstance(network, Branched):
        return {'kind': 'trunk'}
    if network.tree is None:
        return {'kind': 'gates'}
    partitions = [[list(group) for group in level] for level in network.tree.partitions]
    return {'kind': 'tree', 'partitions': partitions}


def restore(network: Multitask, description: Mapping[str, Any]) -> Multitask:
    """Return a network of the described structure, with arbitrary weights.

    Args:
        network: a network of the same trunk and heads.
        description: result of `describe`.
    """
    heads = {task: network.get_submodule(task) for task in TASKS}
    trunks = dict.fromkeys(TASKS, network.trunk)
    if description['kind'] == 'tree':
        levels = description['partitions']
        tree = SharingTree(tuple(tuple(tuple(group) for group in level) for level in levels))
        return Branched(grow_tree(tree, trunks), heads, tree)
    if description['kind'] == 'gates':
        return Branched(GatedTrunk(network.trunk, trunks, dict.fromkeys(TASKS, 0.0)), heads)
    return network
