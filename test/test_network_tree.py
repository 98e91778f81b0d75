# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

from mt_perception.errors import ModelError
from mt_perception.model.branching import SharingTree
from mt_perception.network.branches import LEVELS
from mt_perception.network.layers import read_layers
from mt_perception.network.macs import count_macs, layer_macs
from mt_perception.network.multitask import TASKS
from mt_perception.network.tree import SEGMENTS, grow_tree
from mt_perception.network.trunk import Trunk

IMAGE = 255 * torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))
TOGETHER = ((0, 1, 2),)
ALONE = ((0,), (1,), (2,))


@pytest.fixture(scope='module')
def trunks() -> dict[str, Trunk]:
    torch.manual_seed(0)
    return {task: Trunk() for task in TASKS}


def test_a_tree_that_parts_at_once_is_the_single_task_nets(trunks: dict[str, Trunk]) -> None:
    branches = grow_tree(SharingTree((ALONE,) * len(SEGMENTS)), trunks)
    with torch.no_grad():
        found = branches(IMAGE)
        for task in TASKS:
            features = trunks[task](IMAGE)
            for level, ours in zip(LEVELS[task], getattr(found, task), strict=True):
                torch.testing.assert_close(ours, getattr(features, level))
    assert count_macs(branches, [IMAGE]) == 3 * count_macs(Trunk(), [IMAGE])


def test_a_tree_that_never_parts_is_one_trunk_of_mean_weights(trunks: dict[str, Trunk]) -> None:
    tree = SharingTree((TOGETHER,) * len(SEGMENTS))
    branches = grow_tree(tree, dict.fromkeys(TASKS, trunks['depth']))
    with torch.no_grad():
        features = trunks['depth'](IMAGE)
        torch.testing.assert_close(branches(IMAGE).depth[-1], features.s32)
        mixed = grow_tree(tree, trunks)
    name = f'stem-{"-".join(TASKS)}'
    mean = torch.stack([trunks[task].stem.conv.weight for task in TASKS]).mean(dim=0)
    torch.testing.assert_close(mixed.operations[name].conv.weight, mean)


def test_a_tree_costs_its_segments_and_gives_a_block_for_each_group(
    trunks: dict[str, Trunk],
) -> None:
    pair = ((0,), (1, 2))
    tree = SharingTree((TOGETHER, TOGETHER, pair, pair, ALONE, ALONE))
    branches = grow_tree(tree, trunks)
    macs = layer_macs(Trunk(), (64, 96))
    expected = sum(
        count * len(groups)
        for names, groups in zip(SEGMENTS, tree.partitions, strict=True)
        for path, count in macs.items()
        if path.split('.')[0] in names
    )
    assert count_macs(branches, [IMAGE]) == expected
    blocks = [part.name for part in branches.parts()]
    assert set(blocks) == {'trunk', 'trunk_segmentation_depth', *(f'trunk_{t}' for t in TASKS)}
    assert blocks[0] == 'trunk'
    served: set[str] = {'image'}
    for part in branches.parts():
        assert set(part.inputs) <= served
        served |= set(part.outputs)


def test_another_number_of_segments_is_refused(trunks: dict[str, Trunk]) -> None:
    with pytest.raises(ModelError, match='6 segments'):
        grow_tree(SharingTree((TOGETHER, ALONE)), trunks)


def test_every_layer_of_the_trunk_belongs_to_one_segment() -> None:
    sections = {layer.section for layer in read_layers(Trunk()).layers}
    assert sections == {name for names in SEGMENTS for name in names}


def test_a_trunk_that_does_something_else_is_refused() -> None:
    class Other(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sigmoid()

    with pytest.raises(ModelError, match='sigmoid'):
        read_layers(Other())
