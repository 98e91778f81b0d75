# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a task graph: everything is in it, nothing lies on something else."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from task_trees import random_tree

from mt_perception.model.graph_text import HEIGHT, WIDTH, graph_svg, graph_text
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph

SVG = '{http://www.w3.org/2000/svg}'

STEM = Block('stem', {'x': IMAGE}, ('y',), macs=300_000_000, parameters=800_000)
NECK = Block('neck', {'x': 'stem/y'}, ('y',), macs=100_000_000, parameters=9)
DEPTH = Block('depth', {'x': 'neck/y', 'fine': 'stem/y'}, ('map',), 0, 1500, skippable=True)
EDGES = Block('edges', {'x': 'stem/y'}, ('map',), macs=12_345, parameters=0)
GRAPH = TaskGraph([STEM, NECK, DEPTH, EDGES], {'depth': ['depth/map'], 'edges': ['edges/map']})


def texts(svg: str) -> list[str]:
    return [element.text or '' for element in ET.fromstring(svg).iter(f'{SVG}text')]


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


def test_everything_is_in_the_picture() -> None:
    svg = graph_svg(GRAPH, 'a <net> & more')
    found = texts(svg)
    assert found[0] == 'a <net> & more'
    for name in ('stem', 'neck', 'depth', 'edges'):
        assert name in found
    assert found.count('depth') == 2  # The block, and the task.
    assert '300 MMAC, 800 k weights, 75%' in found
    titles = [element.text for element in ET.fromstring(svg).iter(f'{SVG}title')]
    assert 'depth: reads neck/y, stem/y; makes depth/map' in titles
    # Three blocks wait for the last one they read; the further reading is dashed, as is the box.
    assert svg.count('<path') == 4 + 2
    assert svg.count('stroke-dasharray') == 2


def test_a_task_that_reads_the_image_itself() -> None:
    graph = TaskGraph([], {'thumbnail': [IMAGE]})
    assert graph_text(graph).splitlines() == ['0 MAC, 0 weights', 'image', '└── ▸ thumbnail']
    assert 'thumbnail' in texts(graph_svg(graph, ''))


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_no_box_lies_on_another(seed: int, tasks: int) -> None:
    graph = random_tree(random.Random(seed), tasks)
    root = ET.fromstring(graph_svg(graph, 'tree'))
    width, height = float(root.attrib['width']), float(root.attrib['height'])
    corners = []
    for group in root.iter(f'{SVG}g'):
        box = group.find(f'{SVG}rect')
        assert box is not None
        corners.append((float(box.attrib['x']), float(box.attrib['y'])))
    assert len(corners) == len(graph.blocks)
    for x, y in corners:
        assert 0 <= x <= width - WIDTH
        assert 0 <= y <= height - HEIGHT
    for (x0, y0), (x1, y1) in combinations(corners, 2):
        assert abs(x0 - x1) >= WIDTH or abs(y0 - y1) >= HEIGHT
    assert len(graph_text(graph).splitlines()) == 2 + len(graph.blocks) + tasks
