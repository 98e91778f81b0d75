# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a network's blocks in torch behind the pipeline's own runner protocol.

What validates a network while it is trained is then the very pipeline that runs on the robot:
the same letterbox, the same post-processing.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mt_perception.graph.block import IMAGE
from mt_perception.graph.plan import Plan
from mt_perception.network.graphs import block_graphs
from mt_perception.network.multitask import Multitask
from mt_perception.runtime.executor import Outcome


class TorchRunner:
    """Runs plans with a torch network.

    Args:
        network: the network; later changes of its weights are seen.
    """

    def __init__(self, network: Multitask) -> None:
        self._graphs = {graph.name: graph for graph in block_graphs(network)}

    @torch.inference_mode()
    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        """Run the blocks of a plan on the network's input, uint8 (1, H, W, 3)."""
        tensors = {IMAGE: torch.from_numpy(image)}
        latency_ms: dict[str, float] = {}
        for block in plan.blocks:
            start = time.perf_counter()
            graph = self._graphs[block.name]
            made = graph.module(*(tensors[block.inputs[name]] for name in graph.inputs))
            values = made if isinstance(made, tuple) else (made,)
            tensors |= {
                block.tensor(name): value
                for name, value in zip(graph.outputs, values, strict=True)
            }
            latency_ms[block.name] = (time.perf_counter() - start) * 1e3
        found: dict[str, NDArray[Any]] = {name: t.numpy() for name, t in tensors.items()}
        return Outcome(found, {}, latency_ms)
