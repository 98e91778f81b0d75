# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A block: a piece of network with named inputs and outputs and a known cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

IMAGE = 'image'
"""The tensor that no block makes: the network's input."""


@dataclass(frozen=True)
class Block:
    """One node of the task graph.

    Tensors have names of the whole graph: ``image``, or ``<block>/<output>``.

    Attributes:
        name: Unique in the graph.
        inputs: The block's own input name → the tensor that it reads.
        outputs: The block's own output names.
        macs: Multiply-accumulates at the model's reference size.
        parameters: Number of weights.
        skippable: Whether a plan may leave the block out.
        stands_for: The block whose place a plan may give it; its tensors then bear that one's
            name, so that readers cannot tell them apart. Empty for a block of the graph itself.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    macs: int
    parameters: int
    skippable: bool = False
    stands_for: str = ''

    def tensor(self, output: str) -> str:
        """The graph-wide name of one of this block's outputs."""
        return f'{self.stands_for or self.name}/{output}'
