# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runners that execute torch networks in a pipeline, for validation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import manifest_text, parse_manifest
from mt_perception.network.graphs import BlockGraph, block_graphs
from mt_perception.network.multitask import Multitask
from mt_perception.network.split_graphs import DECODED, remote_blocks
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import TASKS, measure_metrics
from mt_perception.training.export.write_model import ModelCard, manifest_data, run_graph
from mt_perception.training.loop import Validate
from mt_perception.training.recipe import Recipe
from mt_perception.training.split.train_split import SplitNetwork


class TorchRunner:
    """Runs plans with a torch network.

    Args:
        network: the network; not copied, so later changes of its weights take effect.
    """

    def __init__(self, network: Multitask) -> None:
        self._graphs = {graph.name: graph for graph in block_graphs(network)}

    @torch.inference_mode()
    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run the blocks of a stage that have not run yet."""
        tensors = {name: torch.from_numpy(value) for name, value in run.tensors.items()}
        for block in stage.blocks:
            if block.name in run.block_ms:
                continue
            start = time.perf_counter()
            tensors |= run_graph(self._graphs[block.name], tensors)
            run.blocks.append(block)
            run.block_ms[block.name] = (time.perf_counter() - start) * 1e3
        run.tensors.update({name: tensor.numpy() for name, tensor in tensors.items()})


class TorchSplitRunner:
    """Runs plans with both parts of a split in torch; symbols are rounded, but not coded.

    Args:
        split: both parts.
        rate: index of the compression rate.
    """

    def __init__(self, split: SplitNetwork, rate: int) -> None:
        self._split = split
        self._rate = torch.tensor([rate])
        self._graphs = remote_blocks(split.remote, DECODED)

    @torch.inference_mode()
    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run the blocks that the tasks of all stages need."""
        planes = torch.from_numpy(run.image).permute(0, 3, 1, 2).float()
        tensors = {DECODED: self._split.bottleneck(planes, self._rate).image}
        for graph in self._needed(task for one in run.plan.stages for task in one.tasks):
            tensors |= run_graph(graph, tensors)
        run.tensors.update({name: tensor.numpy() for name, tensor in tensors.items()})

    def _needed(self, tasks: Iterable[str]) -> list[BlockGraph]:
        """Return the blocks of some tasks, in an order in which they can run."""
        wanted, found = set(tasks), []
        for graph in reversed(self._graphs):
            if graph.name in wanted:
                wanted |= {source.partition('/')[0] for source in graph.inputs.values()}
                found.append(graph)
        return found[::-1]


_NO_FILE = '0' * 64


def torch_pipeline(network: Multitask, card: ModelCard) -> Pipeline:
    """Return a pipeline that runs a torch network instead of exported files."""
    sums = {graph.name: _NO_FILE for graph in block_graphs(network, card.tasks)}
    text = manifest_text(manifest_data(network, card, sums))
    return Pipeline(parse_manifest(text), TorchRunner(network))


def validator(data: Path, recipe: Recipe, card: ModelCard) -> Validate:
    """Return a function that measures a network on a recipe's validation data.

    Tasks whose outputs the recipe cannot change are not measured.
    """
    moves = any(
        rate > 0 and part.startswith('trunk')
        for phase in recipe.phases
        for part, rate in (*phase.learning_rates.items(), *phase.relative_rates.items())
    )
    tasks = TASKS if moves else recipe.tasks

    def validate(network: Multitask) -> Mapping[str, float]:
        return measure_metrics(torch_pipeline(network, card), data, recipe, tasks)

    return validate
