# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A network beside the full one, with weights of its own, light heads and a gate policy."""

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
    """The lighter sibling of a network: it starts as a copy, so the full one never moves.

    Its dense heads are there twice, as copies whose units the policy gates and as light heads.

    Args:
        network: the full network.
        prices: its units, which the policy gates.

    Raises:
        ModelError: the network has no dense heads to begin with.
    """

    def __init__(self, network: Multitask, prices: UnitCosts) -> None:
        nn.Module.__init__(self)
        self.trunk = copy.deepcopy(network.trunk)
        self.detection = copy.deepcopy(network.detection)
        self.segmentation = copy.deepcopy(network.segmentation)
        self.depth = copy.deepcopy(network.depth)
        self.policy = GatePolicy(network.trunk, prices.units)
        if isinstance(network.segmentation, LightHead) or isinstance(network.depth, LightHead):
            raise ModelError('the network has light heads already; begin with a full one')
        # Depth is smooth where it is not wrong anyway: there the gates give up stride 8 too.
        self.light_segmentation = LightHead(network.segmentation, refined=True)
        self.light_depth = LightHead(network.depth, refined=False)

    def with_light(self, tasks: Collection[str]) -> Multitask:
        """Give the network with the light heads of some tasks; the weights are the same ones."""
        view = Multitask.__new__(Multitask)
        nn.Module.__init__(view)
        view.trunk, view.detection = self.trunk, self.detection
        view.segmentation, view.depth = self.segmentation, self.depth
        if 'segmentation' in tasks:
            view.segmentation = self.light_segmentation
        if 'depth' in tasks:
            view.depth = self.light_depth
        return view
