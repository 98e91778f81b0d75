# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models of a report with their task graphs.

The graph is text: a picture needs a layout engine (Graphviz is a program, Mermaid is 3 MB of
JavaScript), and the page must not fetch or hold one. Its Mermaid source is in the page too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mt_perception.errors import ModelError
from mt_perception.evaluation.baselines.open_baseline import PREFIX
from mt_perception.model.folder import read_manifest
from mt_perception.model.graph_text import graph_mermaid, graph_text


@dataclass(frozen=True)
class ModelGraph:
    """A model: name and version, description, and its task graph as a tree and in Mermaid."""

    name: str
    description: str
    tree: str
    mermaid: str


def model_graphs(models: Iterable[str]) -> list[ModelGraph]:
    """The task graphs of models, each once; baselines and unreadable folders have none.

    Args:
        models: Model folders, or baselines such as ``onnx:…``.
    """
    found: dict[str, ModelGraph] = {}
    for model in models:
        if model in found or model.startswith(PREFIX):
            continue
        try:
            manifest = read_manifest(model)
        except ModelError:
            # Records outlive models: the rest of the report needs none.
            continue
        name = f'{manifest.name} {manifest.version}'
        found[model] = ModelGraph(
            name,
            manifest.description,
            graph_text(manifest.graph),
            graph_mermaid(manifest.graph, name),
        )
    return list(found.values())
