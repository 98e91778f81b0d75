# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plans: what is wanted and no more, at the cost that the blocks say."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_trees import random_tree

from mt_perception.errors import ModelError
from mt_perception.model.paths import FULL_PATH
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph
from mt_perception.planning.path_plan import full_plan

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


def test_tasks_with_much_in_common_come_together() -> None:
    neck = Block('neck', {'s8': 'trunk/s8'}, ('out',), macs=50, parameters=1)
    heads = {
        'detection': BOXES,
        'depth': Block('depth', {'x': 'neck/out'}, ('map',), macs=3, parameters=1),
        'edges': Block('edges', {'s8': 'trunk/s8'}, ('map',), macs=3, parameters=1),
        'normals': Block('normals', {'x': 'neck/out'}, ('map',), macs=3, parameters=1),
    }
    tasks = {task: [head.tensor(head.outputs[0])] for task, head in heads.items()}
    graph = TaskGraph([TRUNK, neck, *heads.values()], tasks)
    plan = full_plan(graph, tasks)
    assert plan.tasks == ('detection', 'depth', 'normals', 'edges')
    names = [block.name for block in plan.blocks]
    assert names == ['trunk', 'boxes', 'neck', 'depth', 'normals', 'edges']
    assert plan.results == {'boxes/boxes', 'depth/map', 'edges/map', 'normals/map'}


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_the_plan_of_a_tree_runs_every_block_once_and_in_time(seed: int, tasks: int) -> None:
    graph = random_tree(random.Random(seed), tasks)
    plan = full_plan(graph, graph.tasks)
    assert sorted(plan.tasks) == sorted(graph.tasks)
    assert sorted(block.name for block in plan.blocks) == sorted(graph.blocks)
    made = {IMAGE}
    for block in plan.blocks:
        assert set(block.inputs.values()) <= made
        made |= {block.tensor(output) for output in block.outputs}
