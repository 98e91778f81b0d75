# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plans: what is wanted and no more, at the cost that the blocks say."""

from __future__ import annotations

import pytest

from mt_perception.errors import ModelError
from mt_perception.graph.block import IMAGE, Block
from mt_perception.graph.plan import FULL_PATH, full_plan
from mt_perception.graph.task_graph import TaskGraph

TRUNK = Block('trunk', {'image': IMAGE}, ('s8',), macs=100, parameters=1)
BOXES = Block('boxes', {'s8': 'trunk/s8'}, ('boxes',), macs=20, parameters=1)
DEPTH = Block('depth', {'s8': 'trunk/s8'}, ('map',), macs=3, parameters=1)
GRAPH = TaskGraph([TRUNK, BOXES, DEPTH], {'detection': ['boxes/boxes'], 'depth': ['depth/map']})


def test_everything() -> None:
    plan = full_plan(GRAPH, ['depth', 'detection'])
    assert plan.tasks == ('detection', 'depth')  # In the graph's order, whoever asks.
    assert plan.blocks == (TRUNK, BOXES, DEPTH)
    assert plan.macs == 123
    assert plan.path == FULL_PATH


def test_only_what_is_wanted() -> None:
    assert full_plan(GRAPH, ['depth']).blocks == (TRUNK, DEPTH)
    assert full_plan(GRAPH, ['depth', 'depth']).macs == 103
    assert full_plan(GRAPH, []).blocks == ()
    assert full_plan(GRAPH, []).macs == 0


def test_an_unknown_task() -> None:
    with pytest.raises(ModelError, match='normals'):
        full_plan(GRAPH, ['depth', 'normals'])
