# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from mt_perception.model.branching import SharingTree, choose_tree, score_trees
from mt_perception.network.multitask import TASKS
from mt_perception.network.tree import SEGMENTS
from mt_perception.network.trunk import Trunk
from mt_perception.training.structure.affinity import (
    TreeChoice,
    measure_affinity,
    similarity_profiles,
)

IMAGES = (255 * torch.rand(6, 3, 32, 64, generator=torch.Generator().manual_seed(1))).byte()


@pytest.fixture(scope='module')
def trunks() -> list[Trunk]:
    torch.manual_seed(0)
    return [Trunk() for _ in TASKS]


def test_identical_nets_are_alike_everywhere(trunks: list[Trunk]) -> None:
    affinity = measure_affinity([trunks[0], trunks[0]], IMAGES)
    assert affinity.shape == (len(SEGMENTS), 2, 2)
    assert (affinity == 1).all()


def test_affinity_is_symmetric_and_one_on_the_diagonal(trunks: list[Trunk]) -> None:
    affinity = measure_affinity(trunks, IMAGES)
    np.testing.assert_array_equal(affinity, affinity.transpose(0, 2, 1))
    assert (np.einsum('dii->di', affinity) == 1).all()
    assert (affinity[:, 0, 1] < 1).all()
    assert (np.abs(affinity) <= 1).all()


def test_nets_part_where_their_weights_do(trunks: list[Trunk]) -> None:
    other = Trunk()
    other.load_state_dict(trunks[0].state_dict())
    with torch.no_grad():
        for weight in other.stage5.parameters():
            weight.normal_(std=0.3)
    alike = measure_affinity([trunks[0], other], IMAGES)[:, 0, 1]
    first = next(d for d, names in enumerate(SEGMENTS) if 'stage5' in names)
    assert (alike[:first] == 1).all()
    assert (alike[first:] < 1).all()


def test_profiles_do_not_depend_on_scale_or_offset_of_features(trunks: list[Trunk]) -> None:
    """Pearson's correlation of every pair of images, as numpy computes it."""
    profiles = similarity_profiles(trunks[0], IMAGES)
    with torch.no_grad():
        s32 = trunks[0](IMAGES.float()).s32.flatten(1).double().numpy()
    above = np.triu_indices(len(IMAGES), k=1)
    np.testing.assert_allclose(profiles[-1], np.corrcoef(3 * s32 + 5)[above], atol=1e-9)


def test_the_table_marks_the_tree_that_was_taken(trunks: list[Trunk], tmp_path: Path) -> None:
    affinity = measure_affinity(trunks, IMAGES)
    costs = (5, 4, 3, 3, 2, 2)
    trees = tuple(score_trees(affinity, costs))
    choice = TreeChoice(affinity, costs, trees, choose_tree(trees, 0.5))
    rows = choice.table().splitlines()
    assert rows[0] == 'branch point,detection~segmentation,detection~depth,segmentation~depth'
    assert sum(row.endswith(',yes') for row in rows) == 1
    pytest.importorskip('matplotlib')
    from mt_perception.training.structure.pareto_plot import draw_front

    draw_front(choice, tmp_path / 'tree.svg')
    assert 'Pareto front' in (tmp_path / 'tree.svg').read_text(encoding='utf-8')


def test_where_tasks_part_in_words() -> None:
    pytest.importorskip('matplotlib')
    from mt_perception.training.structure.pareto_plot import branch_points

    everybody, pair, apart = ((0, 1, 2),), ((0, 2), (1,)), ((0,), (1,), (2,))
    assert branch_points(SharingTree((everybody,) * 6)) == (
        'shared to the heads: detection + segmentation + depth'
    )
    assert branch_points(SharingTree((everybody, everybody, pair, pair, pair, apart))) == (
        'after stage3: detection + depth | segmentation\n'
        'after top_down3: detection | segmentation | depth'
    )
    assert branch_points(SharingTree((pair,) * 6)).startswith(
        'from the image on: detection + depth'
    )
