# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights within a budget: never above it, and what is needed last goes first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_trees import random_tree

from mt_perception.errors import OptionError
from mt_perception.model.weight_residency import Residency
from mt_perception.planning.path_plan import full_plan


def loads(residency: Residency, sequence: list[str], frames: int) -> int:
    """Bytes loaded over so many frames."""
    before = residency.loaded_bytes
    for _ in range(frames):
        residency.follow(sequence)
        for name in sequence:
            residency.admit(name)
    return residency.loaded_bytes - before


def test_what_is_needed_last_goes() -> None:
    residency = Residency(dict.fromkeys('abcd', 1), budget=3)
    residency.follow('abcdabcd')
    assert [residency.admit(name) for name in 'abcd'] == [(), (), (), ('c',)]
    assert residency.resident_bytes == 3
    residency.follow('cb')
    assert residency.admit('c') in (('a',), ('d',))  # Neither is needed any more.
    assert residency.admit('b') == ()


def test_room_made_by_a_large_block_saves_the_small_ones() -> None:
    sizes = {'small': 1, 'large': 6, 'next': 2, 'new': 5}
    residency = Residency(sizes, budget=10)
    residency.follow(['small', 'large', 'next', 'new', 'next', 'large', 'small'])
    for name in ('small', 'large', 'next'):
        assert residency.admit(name) == ()
    assert residency.admit('new') == ('large',)  # Though small is needed after large.
    assert residency.resident_bytes == 8


@pytest.mark.parametrize(('blocks', 'budget'), [(5, 3), (8, 4), (9, 2), (6, 1), (4, 4)])
def test_equal_blocks_in_a_circle_load_as_few_as_possible(blocks: int, budget: int) -> None:
    """Belady's rule misses N (N - k) times in N - 1 rounds of N blocks, k of which fit."""
    sequence = [f'b{i}' for i in range(blocks)]
    residency = Residency(dict.fromkeys(sequence, 1), budget)
    loads(residency, sequence, 3 * blocks)
    assert loads(residency, sequence, blocks - 1) == blocks * (blocks - budget)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(0.3, 1.2))
def test_the_budget_holds(seed: int, tasks: int, share: float) -> None:
    rng = random.Random(seed)
    graph = random_tree(rng, tasks)
    sizes = {name: block.parameters for name, block in graph.blocks.items()}
    total = sum(sizes.values())
    budget = max(int(share * total), *sizes.values(), 0)
    residency = Residency(sizes, budget)
    resident: set[str] = set()
    for _ in range(3):
        wanted = rng.sample(list(graph.tasks), min(tasks, 4))
        names = [name for task in wanted for name in full_plan(graph, [task]).block_names]
        residency.follow(names)
        for name in names:
            if rng.random() < 0.1:
                continue  # Its inputs failed.
            resident.add(name)
            evicted = residency.admit(name)
            assert set(evicted) <= resident - {name}
            resident -= set(evicted)
            assert residency.resident_bytes == sum(sizes[b] for b in resident) <= budget
    if budget >= total:
        assert residency.loaded_bytes == sum(sizes[b] for b in resident)


def test_without_a_budget_everything_stays() -> None:
    residency = Residency({'a': 10**12, 'b': 1})
    assert residency.admit('a') == residency.admit('b') == ()
    assert residency.admit('a') == ()
    assert residency.loaded_bytes == residency.resident_bytes == 10**12 + 1


def test_what_could_not_be_loaded_does_not_count() -> None:
    residency = Residency({'a': 5}, budget=5)
    residency.admit('a')
    residency.forget('a')
    assert residency.loaded_bytes == residency.resident_bytes == 0
    residency.forget('a')


def test_a_block_larger_than_the_budget() -> None:
    message = r"2\.00 MB cannot hold block 'trunk' with its 3\.28 MB; .* smaller blocks"
    with pytest.raises(OptionError, match=message):
        Residency({'trunk': 3_279_842, 'depth': 432_588}, budget=2_000_000)
    Residency({}, budget=0)
