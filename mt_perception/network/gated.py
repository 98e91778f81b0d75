# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A network of the same shape as the full one, with weights and a gate policy of its own."""

from __future__ import annotations

import copy

from torch import nn

from mt_perception.network.gates import Prices
from mt_perception.network.multitask import Multitask
from mt_perception.network.policy import GatePolicy


class GatedNetwork(Multitask):
    """The lighter sibling of a network: it starts as a copy, so the full one never moves.

    Args:
        network: the full network.
        prices: its units, which the policy gates.
    """

    def __init__(self, network: Multitask, prices: Prices) -> None:
        nn.Module.__init__(self)
        self.trunk = copy.deepcopy(network.trunk)
        self.detection = copy.deepcopy(network.detection)
        self.segmentation = copy.deepcopy(network.segmentation)
        self.depth = copy.deepcopy(network.depth)
        self.policy = GatePolicy(network.trunk, prices.units)
