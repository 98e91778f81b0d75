# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures a network while it is trained, through the pipeline that runs on the robot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mt_perception.network.graphs import block_graphs
from mt_perception.network.multitask import Multitask
from mt_perception.pipeline import Pipeline
from mt_perception.runtime.manifest import parse_manifest
from mt_perception.training.export import ModelCard, manifest_text
from mt_perception.training.figures import all_figures
from mt_perception.training.loop import Validate
from mt_perception.training.recipe import Recipe
from mt_perception.training.torch_runner import TorchRunner

_NO_FILE = '0' * 64


def torch_pipeline(network: Multitask, card: ModelCard) -> Pipeline:
    """Give a pipeline that runs a torch network instead of exported files."""
    sums = {graph.name: _NO_FILE for graph in block_graphs(network)}
    return Pipeline(parse_manifest(manifest_text(network, card, sums)), TorchRunner(network))


def validator(data: Path, recipe: Recipe, card: ModelCard) -> Validate:
    """Give a function that measures a network on the validation parts of a recipe's data."""

    def validate(network: Multitask) -> Mapping[str, float]:
        return all_figures(torch_pipeline(network, card), data, recipe)

    return validate
