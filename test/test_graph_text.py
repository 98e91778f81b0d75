# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Task graphs as a tree, in Mermaid and in Graphviz."""

from __future__ import annotations

import random
import re
import shutil
import subprocess

from hypothesis import given
from hypothesis import strategies as st
from task_trees import random_tree

from mt_perception.model.graph_text import graph_dot, graph_mermaid, graph_text
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph

STEM = Block('stem', {'x': IMAGE}, ('y',), macs=300_000_000, parameters=800_000)
NECK = Block('neck', {'x': 'stem/y'}, ('y',), macs=100_000_000, parameters=9)
DEPTH = Block('depth', {'x': 'neck/y', 'fine': 'stem/y'}, ('map',), 0, 1500, skippable=True)
EDGES = Block('edges', {'x': 'stem/y'}, ('map',), macs=12_345, parameters=0)
GRAPH = TaskGraph([STEM, NECK, DEPTH, EDGES], {'depth': ['depth/map'], 'edges': ['edges/map']})


def test_the_tree_in_text() -> None:
    assert graph_text(GRAPH).splitlines() == [
        '400 MMAC, 802 k weights; 0.57 of the MACs of separate networks',
        'image',
        '└── stem  300 MMAC, 800 k weights  shared by depth, edges',
        '    ├── neck  100 MMAC, 9 weights',
        '    │   └── depth  0 MAC, 1.5 k weights  also reads stem',
        '    │       └── ▸ depth',
        '    └── edges  12.3 kMAC, 0 weights',
        '        └── ▸ edges',
    ]


def test_mermaid() -> None:
    assert graph_mermaid(GRAPH, 'a "net"').splitlines() == [
        '---',
        'title: "a #34;net#34;"',
        '---',
        'flowchart LR',
        '  image(["image"])',
        '  block0["stem<br/>300 MMAC, 800 k weights, 75%<br/>depth, edges"]',
        '  block1["neck<br/>100 MMAC, 9 weights, 25%<br/>depth"]',
        '  block2["depth<br/>0 MAC, 1.5 k weights, 0%<br/>depth"]',
        '  style block2 stroke-dasharray: 5 3',
        '  block3["edges<br/>12.3 kMAC, 0 weights, 0%<br/>edges"]',
        '  task0(["depth"])',
        '  task1(["edges"])',
        '  image --> block0',
        '  block0 --> block1',
        '  block1 --> block2',
        '  block0 --> block2',
        '  block0 --> block3',
        '  block2 --> task0',
        '  block3 --> task1',
    ]


def test_graphviz() -> None:
    dot = graph_dot(GRAPH, 'a "net" \\')
    assert 'label="a \\"net\\" \\\\"' in dot
    assert (
        '  block2 [label="depth\\n0 MAC, 1.5 k weights, 0%\\ndepth", style="rounded,dashed"];'
        in dot
    )
    assert dot.count(' -> ') == 7
    if shutil.which('dot'):
        subprocess.run(['dot', '-Tsvg'], input=dot.encode(), check=True, capture_output=True)


def test_a_task_that_reads_the_image_itself() -> None:
    graph = TaskGraph([], {'thumbnail': [IMAGE]})
    assert graph_text(graph).splitlines() == ['0 MAC, 0 weights', 'image', '└── ▸ thumbnail']
    assert '  image --> task0' in graph_mermaid(graph, '').splitlines()


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_every_block_and_task_is_in_every_form(seed: int, tasks: int) -> None:
    graph = random_tree(random.Random(seed), tasks)
    assert len(graph_text(graph).splitlines()) == 2 + len(graph.blocks) + tasks
    for text, arrow in ((graph_mermaid(graph, 'tree'), '-->'), (graph_dot(graph, 'tree'), '->')):
        ends = {name for pair in re.findall(rf'(\w+) {arrow} (\w+)', text) for name in pair}
        assert len(ends) == 1 + len(graph.blocks) + tasks
