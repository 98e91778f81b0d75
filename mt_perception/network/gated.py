# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trainable copy of a full network, with reduced heads and a gate policy (AdaMTL)."""

from __future__ import annotations

import copy
from collections.abc import Collection

from torch import nn

from mt_perception.errors import ModelError
from mt_perception.network.dense import LightHead
from mt_perception.network.gates import UnitCosts
from mt_perception.network.multitask import Multitask
from mt_perception.network.policy import GatePolicy


class GatedNetwork(Multitask):
    """A copy of a full network with gates; the full network stays unchanged.

    It has full dense heads, whose units are gated, and reduced heads.

    Args:
        network: the full network.
        prices: its skippable units.

    Raises:
        ModelError: the network has reduced heads already.
    """

    def __init__(self, network: Multitask, prices: UnitCosts) -> None:
        nn.Module.__init__(self)
        self.trunk = copy.deepcopy(network.trunk)
        self.detection = copy.deepcopy(network.detection)
        self.segmentation = copy.deepcopy(network.segmentation)
        self.depth = copy.deepcopy(network.depth)
        self.policy = GatePolicy(network.trunk, prices.units)
        if isinstance(network.segmentation, LightHead) or isinstance(network.depth, LightHead):
            raise ModelError('the network has reduced heads already; start from a full network')
        # Depth is smooth: its gates skip the refinement at stride 8 too.
        self.light_segmentation = LightHead(network.segmentation, refined=True)
        self.light_depth = LightHead(network.depth, refined=False)

    def with_light(self, tasks: Collection[str]) -> Multitask:
        """Return the network with reduced heads for some tasks, sharing all weights."""
        view = Multitask.__new__(Multitask)
        nn.Module.__init__(view)
        view.trunk, view.detection = self.trunk, self.detection
        view.segmentation, view.depth = self.segmentation, self.depth
        if 'segmentation' in tasks:
            view.segmentation = self.light_segmentation
        if 'depth' in tasks:
            view.depth = self.light_depth
        return view
