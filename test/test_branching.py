# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sharing trees: all of them and each once, scored by hand, chosen from the Pareto front."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import OptionError
from mt_perception.model.branching import (
    SharingTree,
    choose_tree,
    pareto_front,
    score_trees,
    sharing_trees,
)

# Multichains in the lattice of partitions: Bell numbers of higher order (OEIS A000110, A000258,
# A000307, A000357, A000405), by segments and then by tasks.
COUNTS = [
    [1, 2, 5, 15, 52],
    [1, 3, 12, 60, 358],
    [1, 4, 22, 154, 1304],
    [1, 5, 35, 315, 3455],
    [1, 6, 51, 561, 7556],
]


def test_every_tree_once() -> None:
    for depth, counts in enumerate(COUNTS, 1):
        for tasks, count in enumerate(counts, 1):
            trees = list(sharing_trees(tasks, depth))
            assert len(trees) == len(set(trees)) == count


def test_trees_refine() -> None:
    for tree in sharing_trees(4, 3):
        assert len(tree.partitions) == 3
        for partition in tree.partitions:
            assert sorted(task for group in partition for task in group) == [0, 1, 2, 3]
        for coarse, fine in zip(tree.partitions, tree.partitions[1:], strict=False):
            assert all(any(set(small) <= set(large) for large in coarse) for small in fine)


def test_scores_by_hand() -> None:
    affinity = np.zeros((2, 3, 3))
    affinity[0] = 0.9
    affinity[1, 0, 1] = 0.8
    affinity[1, 0, 2] = affinity[1, 1, 2] = 0.1
    scored = {s.tree: s for s in score_trees(affinity, [10, 4])}
    whole = ((0, 1, 2),)
    pair = ((0, 1), (2,))
    alone = ((0,), (1,), (2,))
    for partitions, variety, cost in (
        ((whole, whole), 0.3 + 0.2 + 0.9 + 0.9, 14),
        ((whole, pair), 0.3 + 0.2, 18),
        ((whole, alone), 0.3, 22),
        ((pair, pair), 0.1 + 0.2, 28),
        ((alone, alone), 0, 42),
    ):
        tree = scored[SharingTree(partitions)]
        assert tree.variety == pytest.approx(variety)
        assert tree.cost == cost
    assert str(SharingTree((whole, pair))) == '012 | 01 2'
    # Tasks 0 and 1 see the same things; a moderate weight shares them and frees task 2.
    assert choose_tree(list(scored.values()), 0.5).tree == SharingTree((whole, pair))


@st.composite
def networks(draw: st.DrawFn) -> tuple[np.ndarray, list[float]]:
    depth, tasks = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few distinct values, so that ties happen.
    return rng.integers(-2, 5, (depth, tasks, tasks)) / 4, list(rng.integers(0, 4, depth) / 1.0)


@given(networks(), st.floats(0, 1))
def test_the_front_beats_the_rest(net: tuple[np.ndarray, list[float]], weight: float) -> None:
    scored = score_trees(*net)
    front = pareto_front(scored)
    for tree in scored:
        assert any(f.variety <= tree.variety and f.cost <= tree.cost for f in front)
    for a, b in combinations(front, 2):
        assert a.cost < b.cost
        assert a.variety > b.variety
    assert choose_tree(scored, weight) in front


def test_the_ends_of_the_weight() -> None:
    rng = np.random.default_rng(0)
    scored = score_trees(rng.uniform(0, 0.9, (3, 4, 4)), [3.0, 2.0, 1.0])
    assert choose_tree(scored, 0).tree.partitions == (((0, 1, 2, 3),),) * 3
    assert choose_tree(scored, 1).tree.partitions == (((0,), (1,), (2,), (3,)),) * 3
    assert [choose_tree(scored, w).cost for w in (0, 0.2, 0.4, 0.6, 0.8, 1)] == sorted(
        choose_tree(scored, w).cost for w in (0, 0.2, 0.4, 0.6, 0.8, 1)
    )


def test_what_is_refused() -> None:
    with pytest.raises(OptionError, match='20 tasks'):
        list(sharing_trees(20, 3))
    with pytest.raises(OptionError, match='fewer branch points'):
        list(sharing_trees(3, 9))
    with pytest.raises(OptionError, match='one cost for each segment'):
        score_trees(np.zeros((2, 3, 3)), [1.0])
    with pytest.raises(OptionError, match='finite'):
        score_trees(np.full((1, 2, 2), np.nan), [1.0])
    with pytest.raises(OptionError, match=r'found 1\.5'):
        choose_tree(score_trees(np.zeros((1, 2, 2)), [1.0]), 1.5)
