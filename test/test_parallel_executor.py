# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks side by side: each after what it reads, whatever the number of threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.execution.parallel_executor import SideBySide, waves
from mt_perception.model.task_graph import Block


@st.composite
def graphs(draw: st.DrawFn) -> list[Block]:
    """Blocks in an order in which they can run, each reading some of those before it."""
    blocks: list[Block] = []
    for index in range(draw(st.integers(1, 8))):
        chosen = draw(st.sets(st.integers(-1, index - 1), min_size=1))
        reads = ['given' if i < 0 else blocks[i].tensor('y') for i in sorted(chosen)]
        inputs = {f'x{i}': tensor for i, tensor in enumerate(reads)}
        blocks.append(Block(f'b{index}', inputs, ('y',), draw(st.integers(0, 9)), 0))
    return blocks


class Session:
    """Adds up what it is given, and one."""

    def __init__(self, started: list[str], name: str) -> None:
        self._started, self._name = started, name

    def run(self, outputs: list[str], feeds: Mapping[str, Any]) -> list[Any]:
        self._started.append(self._name)
        return [1 + sum(feeds.values())]


def expected(blocks: list[Block]) -> dict[str, float]:
    values = {'given': 3.0}
    for block in blocks:
        values[block.tensor('y')] = 1 + sum(values[tensor] for tensor in block.inputs.values())
    return values


@given(graphs())
def test_a_wave_reads_only_what_waves_before_it_made(blocks: list[Block]) -> None:
    made = {'given'}
    found = waves(blocks)
    for wave in found:
        assert all(tensor in made for block in wave for tensor in block.inputs.values())
        assert [b.macs for b in wave] == sorted((b.macs for b in wave), reverse=True)
        made |= {block.tensor('y') for block in wave}
    assert sorted(b.name for wave in found for b in wave) == sorted(b.name for b in blocks)


@given(graphs(), st.integers(1, 4))
def test_threads_change_nothing(blocks: list[Block], threads: int) -> None:
    started: list[str] = []
    found = SideBySide(blocks, lambda name, n: Session(started, name), threads)
    tensors = found.run([block.name for block in blocks], {'given': np.float64(3)})
    assert tensors == expected(blocks)
    assert sorted(started) == sorted(block.name for block in blocks)


def test_only_named_blocks_run() -> None:
    blocks = [Block(name, {'x': 'given'}, ('y',), 1, 0) for name in 'abc']
    started: list[str] = []
    run = SideBySide(blocks, lambda name, n: Session(started, name), 2).run
    assert run(['b'], {'given': np.float64(0)}).keys() == {'given', 'b/y'}
    assert started == ['b']


def test_a_block_without_those_it_reads_is_an_error() -> None:
    blocks = [Block('a', {'x': 'given'}, ('y',), 1, 0), Block('b', {'x': 'a/y'}, ('y',), 1, 0)]
    run = SideBySide(blocks, lambda name, n: Session([], name), 2).run
    with pytest.raises(ValueError, match="'b'"):
        run(['b'], {'given': np.float64(0)})


def test_a_lone_block_gets_all_threads_and_others_share() -> None:
    blocks = [
        Block('decoder', {'x': 'given'}, ('y',), 9, 0),
        *(Block(name, {'x': 'decoder/y'}, ('y',), 1, 0) for name in ('trunk', 'pyramid')),
    ]
    threads: dict[str, int] = {}
    SideBySide(blocks, lambda name, n: threads.update({name: n}), 4)
    assert threads == {'decoder': 4, 'trunk': 2, 'pyramid': 2}


def test_blocks_of_a_wave_run_at_the_same_time() -> None:
    both = threading.Barrier(2)

    class Waits(Session):
        def run(self, outputs: list[str], feeds: Mapping[str, Any]) -> list[Any]:
            both.wait(timeout=30)
            return super().run(outputs, feeds)

    blocks = [Block(name, {'x': 'given'}, ('y',), 1, 0) for name in 'ab']
    run = SideBySide(blocks, lambda name, n: Waits([], name), 2).run
    assert len(run('ab', {'given': np.float64(0)})) == 3


def test_a_block_that_fails_fails_the_run_and_not_the_next_one() -> None:
    class Fails(Session):
        def run(self, outputs: list[str], feeds: Mapping[str, Any]) -> list[Any]:
            if feeds['x'] < 0:
                raise ValueError('negative')
            return super().run(outputs, feeds)

    blocks = [Block(name, {'x': 'given'}, ('y',), 1, 0) for name in 'ab']
    run = SideBySide(blocks, lambda name, n: Fails([], name), 2).run
    with pytest.raises(ValueError, match='negative'):
        run('ab', {'given': np.float64(-1)})
    assert run('ab', {'given': np.float64(1)})['b/y'] == 2


def test_one_thread_is_that_of_the_caller() -> None:
    """A pool of one thread would only add the time of waking it."""
    threads: list[threading.Thread] = []

    class Notes(Session):
        def run(self, outputs: list[str], feeds: Mapping[str, Any]) -> list[Any]:
            threads.append(threading.current_thread())
            return super().run(outputs, feeds)

    blocks = [Block('a', {'x': 'given'}, ('y',), 1, 0)]
    for count in (1, 2):
        run = SideBySide(blocks, lambda name, n: Notes([], name), count).run
        run('a', {'given': np.float64(0)})
    assert [thread is threading.current_thread() for thread in threads] == [True, False]
