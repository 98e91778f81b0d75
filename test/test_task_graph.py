# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The task graph: every order is runnable, nothing unneeded runs, broken graphs are refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import ModelError
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph


def block(name: str, *inputs: str, outputs: tuple[str, ...] = ('out',)) -> Block:
    reads = {f'in{i}': tensor for i, tensor in enumerate(inputs)}
    return Block(name, reads, outputs, macs=1, parameters=1)


TREE = [
    block('depth', 'neck/out'),
    block('trunk', IMAGE),
    block('boxes', 'trunk/out'),
    block('neck', 'trunk/out'),
]
TASKS = {'detection': ['boxes/out'], 'depth': ['depth/out']}


def names(blocks: tuple[Block, ...]) -> list[str]:
    return [b.name for b in blocks]


def test_shared_blocks_run_once_and_first() -> None:
    graph = TaskGraph(TREE, TASKS)
    assert names(graph.blocks_for(['detection'])) == ['trunk', 'boxes']
    assert names(graph.blocks_for(['depth'])) == ['trunk', 'neck', 'depth']
    both = names(graph.blocks_for(['depth', 'detection']))
    assert sorted(both) == ['boxes', 'depth', 'neck', 'trunk']
    assert both.index('trunk') < both.index('neck') < both.index('depth')


def test_nobody_wants_anything() -> None:
    assert TaskGraph(TREE, TASKS).blocks_for([]) == ()


def test_a_task_that_is_not_there() -> None:
    with pytest.raises(ModelError, match=r"'normals'.*depth, detection"):
        TaskGraph(TREE, TASKS).blocks_for(['normals'])


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_any_graph_comes_in_an_order_that_runs(rng: random.Random, n: int) -> None:
    blocks = []
    for i in range(n):
        readable = [IMAGE, *(f'b{j}/out' for j in range(i))]
        blocks.append(block(f'b{i}', *rng.sample(readable, rng.randint(1, len(readable)))))
    wanted = [f'b{rng.randrange(n)}/out' for _ in range(3)]
    rng.shuffle(blocks)
    graph = TaskGraph(blocks, {'depth': wanted})
    for order in (list(graph.blocks.values()), graph.blocks_for(['depth'])):
        made = {IMAGE}
        for b in order:
            assert set(b.inputs.values()) <= made
            made.add(b.tensor('out'))
    needed = {tensor.split('/')[0] for tensor in wanted}
    for b in reversed(graph.blocks_for(['depth'])):
        assert b.name in needed  # Nothing runs that nobody reads.
        needed |= {t.split('/')[0] for t in b.inputs.values()}


def test_broken_graphs() -> None:
    with pytest.raises(ModelError, match='twice'):
        TaskGraph([block('a', IMAGE), block('a', IMAGE)], {})
    with pytest.raises(ModelError, match='twice'):
        TaskGraph([block(IMAGE, IMAGE)], {})
    with pytest.raises(ModelError, match=r"block 'a' reads tensor 'b/out'"):
        TaskGraph([block('a', 'b/out')], {})
    with pytest.raises(ModelError, match=r"task 'depth' reads tensor 'a/other'"):
        TaskGraph([block('a', IMAGE)], {'depth': ['a/other']})
    with pytest.raises(ModelError, match=r'a, b depend on each other'):
        TaskGraph([block('a', 'b/out'), block('b', 'a/out'), block('c', IMAGE)], {})
