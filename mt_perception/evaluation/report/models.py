# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models of a report: what they are, and their task graphs in the page's own colours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mt_perception.errors import ModelError
from mt_perception.evaluation.baselines.open_baseline import PREFIX
from mt_perception.model.folder import read_manifest
from mt_perception.model.graph_text import BOX, INK, PALE, PAPER, SHARED, graph_svg
from mt_perception.model.manifest import Manifest

_PAGE_STYLE = {
    f'fill="{PAPER}"': 'fill="none"',
    f'fill="{INK}"': 'fill="currentColor"',
    BOX: 'var(--page)',
    PALE: 'var(--line)',
    SHARED: 'var(--soft)',
    'font-family="sans-serif"': '',
}


@dataclass(frozen=True)
class Graph:
    """A model: its name and version, what it says of itself, and its task graph as SVG."""

    name: str
    lead: str
    svg: str


def graphs(models: Iterable[str]) -> list[Graph]:
    """The task graphs of models, each once; baselines have none.

    Args:
        models: Model folders, or baselines such as ``onnx:…``.
    """
    found: dict[str, Graph] = {}
    for model in models:
        if model in found or model.startswith(PREFIX):
            continue
        try:
            found[model] = _drawn(read_manifest(model))
        except ModelError:
            # Records outlive models: the rest of the report needs none.
            continue
    return list(found.values())


def _drawn(manifest: Manifest) -> Graph:
    name = f'{manifest.name} {manifest.version}'
    svg = graph_svg(manifest.graph, name)
    for ours, pages in _PAGE_STYLE.items():
        svg = svg.replace(ours, pages)
    opening = '<svg role="img" aria-label="task graph" class="plot" '
    return Graph(name, manifest.description, svg.replace('<svg ', opening, 1))
