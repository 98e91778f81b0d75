# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The paths of a model: ways through its graph that cost less and give a little less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mt_perception.graph.block import Block

FULL_PATH = 'full'


@dataclass(frozen=True)
class NetPath:
    """One way through the graph.

    Attributes:
        name: Unique in the model.
        variants: Blocks that take the place of others (see ``Block.stands_for``).
        scale: Factor on the long side of the network's input.
        relative_macs: Multiply-accumulates of all tasks, against those of the full path.
        relative_latency: Measured time of all tasks, against that of the full path.
        accuracy: Task → its main metric (AP, mIoU; AbsRel, of which less is better), measured;
            empty where it was not.
    """

    name: str
    variants: tuple[Block, ...] = ()
    scale: float = 1.0
    relative_macs: float = 1.0
    relative_latency: float = 1.0
    accuracy: Mapping[str, float] = field(default_factory=dict)


FULL = NetPath(FULL_PATH)
