# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Liveness: nothing is released before its last reader, nothing is kept after it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from task_trees import random_tree

from mt_perception.execution.plan import Stage, releases, with_releases
from mt_perception.model.task_graph import IMAGE, Block
from mt_perception.planning.path_plan import full_plan

TRUNK = Block('trunk', {'x': IMAGE}, ('s4', 's8', 'spare'), macs=1, parameters=1)
DEPTH = Block('depth', {'x': 'trunk/s4'}, ('map',), macs=1, parameters=1)
NORMALS = Block('normals', {'x': 'depth/map', 'y': 'trunk/s4'}, ('map',), macs=1, parameters=1)
BOXES = Block('boxes', {'x': 'trunk/s8'}, ('boxes',), macs=1, parameters=1)


def test_a_tensor_goes_with_its_last_reader() -> None:
    blocks = (TRUNK, BOXES, DEPTH, NORMALS)
    results = {'boxes/boxes', 'depth/map', 'normals/map'}
    assert releases(blocks, results) == ((IMAGE, 'trunk/spare'), ('trunk/s8',), (), ('trunk/s4',))
    # Where depth itself is not wanted, its map goes as soon as the normals are made.
    assert releases(blocks, {'boxes/boxes', 'normals/map'})[-1] == ('trunk/s4', 'depth/map')
    assert releases((), set()) == ()


def test_what_a_later_stage_reads_is_kept_until_then() -> None:
    stages = with_releases(
        [
            Stage((TRUNK, BOXES), ('detection',), frozenset({'boxes/boxes'})),
            Stage((DEPTH,), ('depth',), frozenset({'depth/map'})),
        ]
    )
    assert stages[0].releases == ((IMAGE, 'trunk/spare'), ('trunk/s8',))
    assert stages[1].releases == (('trunk/s4',),)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_every_tensor_lives_from_its_maker_to_its_last_reader(seed: int, tasks: int) -> None:
    rng = random.Random(seed)
    graph = random_tree(rng, tasks)
    wanted = rng.sample(list(graph.tasks), rng.randint(1, tasks))
    plan = full_plan(graph, wanted)
    results = {tensor for task in wanted for tensor in graph.tasks[task]}
    alive = {IMAGE}
    (stage,) = plan.stages
    for block, released in zip(stage.blocks, stage.releases, strict=True):
        assert set(block.inputs.values()) <= alive
        alive |= {block.tensor(output) for output in block.outputs}
        assert set(released) <= alive
        alive -= set(released)
    assert alive == results
