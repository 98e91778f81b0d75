# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conditions in words, and the order that they ask for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_trees import random_tree

from mt_perception.errors import OptionError
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph
from mt_perception.planning.conditions import (
    TaskCondition,
    parse_condition,
    parse_conditions,
    saved_macs,
    task_order,
    with_deciding_tasks,
)

NAMES = st.text('abcdefgh_0', min_size=1, max_size=8)
LABELS = st.lists(st.sampled_from(['person', 'traffic light', 'dog']), unique=True, max_size=3)


def test_words_of_a_rule() -> None:
    assert parse_condition('depth if detection finds anything') == TaskCondition(
        'depth', 'detection'
    )
    assert parse_condition(
        'segmentation if detection finds traffic light or dog'
    ) == TaskCondition('segmentation', 'detection', ('traffic light', 'dog'))
    assert parse_condition(' a  if b finds c with probability 0.25\n').probability == 0.25


@given(NAMES, NAMES, LABELS, st.integers(0, 100))
def test_a_rule_reads_as_it_was_written(
    task: str, on: str, labels: list[str], percent: int
) -> None:
    rule = TaskCondition(task, on, tuple(labels), percent / 100)
    assert parse_condition(str(rule)) == rule


@pytest.mark.parametrize(
    'text',
    ['', 'depth', 'depth if', 'depth if detection', 'depth when detection finds person',
     'depth if detection finds ', 'a if b finds c with probability 1.5',
     'a if b finds c with probability x', 'a if b finds c with probability nan'],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match='expected a condition such as'):
        parse_condition(text)


def test_rules_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(OptionError, match='two conditions'):
        parse_conditions(('a if b finds x', 'a if b finds y'))
    with pytest.raises(OptionError, match='depends on itself'):
        parse_conditions(('a if a finds x',))
    with pytest.raises(OptionError, match='depends on itself'):
        parse_conditions(('a if b finds x', 'b if c finds x', 'c if b finds x'))
    assert list(parse_conditions(('a if b finds x', 'b if c finds x'))) == ['a', 'b']


def test_what_decides_is_wanted_too() -> None:
    rules = parse_conditions(('a if b finds x', 'b if c finds x', 'e if f finds x'))
    assert with_deciding_tasks(['a', 'd'], rules) == {'a', 'b', 'c', 'd'}
    assert with_deciding_tasks(['d'], {}) == {'d'}


@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_a_task_comes_after_what_decides_about_it(seed: int, tasks: int) -> None:
    rng = random.Random(seed)
    graph = random_tree(rng, tasks)
    names = list(graph.tasks)
    rules = tuple(
        TaskCondition(names[i], rng.choice(names[:i]), probability=rng.random())
        for i in range(1, tasks)
        if rng.random() < 0.5
    )
    order = task_order(graph, frozenset(names), rules)
    assert sorted(order) == sorted(names)
    for rule in rules:
        assert order.index(rule.on) < order.index(rule.task)
    # Where the deciding task is not asked for, the other one is as any.
    some = frozenset(rng.sample(names, rng.randint(1, tasks)))
    assert set(task_order(graph, some, rules)) == some


def test_what_conditions_save_in_the_mean() -> None:
    blocks = [Block('trunk', {'x': IMAGE}, ('y',), 40, 0)]
    blocks += [Block(name, {'x': 'trunk/y'}, ('y',), 20, 0) for name in 'abc']
    graph = TaskGraph(blocks, {name: [f'{name}/y'] for name in 'abc'})
    assert saved_macs(graph, {}) == 0
    one = parse_conditions(('b if a finds x with probability 0.25',))
    assert saved_macs(graph, one) == pytest.approx(0.2 * 0.75)
    chain = parse_conditions(('c if b finds x', 'b if a finds x with probability 0.25'))
    assert saved_macs(graph, chain) == pytest.approx(0.2 * 0.75 + 0.2 * (1 - 0.125))
