# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from mt_perception.model.branching import SharingTree
from mt_perception.network.branched import Branched, describe, restore
from mt_perception.network.interrogate import GatedTrunk
from mt_perception.network.macs import count_macs
from mt_perception.network.multitask import TASKS, Multitask, build
from mt_perception.network.tree import grow_tree
from mt_perception.network.trunk import Trunk
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.recipe import Phase, Recipe, Structure, Weights, read_recipe
from mt_perception.training.structure.structure import single_task
from mt_perception.types import Frame, Intrinsics

CARD = ModelCard('tiny', '1', 'Apache-2.0', 'A test.', ('cup', 'cat'), ('floor', 'wall', 'x'))
PAIR = ((0,), (1, 2))
TREE = SharingTree((((0, 1, 2),),) * 3 + (PAIR,) * 2 + (((0,), (1,), (2,)),))
FRAME = Frame(
    np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8),
    intrinsics=Intrinsics(150.0, 150.0, 80.0, 60.0, 160, 120),
)


@pytest.fixture(scope='module')
def networks() -> dict[str, Branched]:
    torch.manual_seed(0)
    base = build('cspnano', 2, 3)
    heads = {task: base.get_submodule(task) for task in TASKS}
    trunks = {task: Trunk() for task in TASKS}
    for trunk in trunks.values():
        trunk.stem.load_state_dict(base.trunk.stem.state_dict())
        trunk.stage2.load_state_dict(base.trunk.stage2.state_dict())
    gated = GatedTrunk(base.trunk, trunks, dict.fromkeys(TASKS, 0.1))
    with torch.no_grad():
        gated.gates.alpha.copy_(torch.rand(gated.gates.alpha.shape) - 0.9)
        # Depth shares everything before the pyramid's way up.
        first = gated.spans['down3.0'].start
        gated.gates.alpha[TASKS.index('depth'), :first] = -1.0
        opened = gated.gates.alpha >= 0
        gated.gates.allowed.copy_(opened.to(gated.gates.costs) @ gated.gates.costs)
    return {
        'gates': Branched(gated, heads).eval(),
        'tree': Branched(grow_tree(TREE, trunks), heads, TREE).eval(),
    }


@pytest.mark.parametrize('kind', ['gates', 'tree'])
def test_a_structure_is_restored_from_its_description(
    networks: dict[str, Branched], kind: str
) -> None:
    network = networks[kind]
    other = restore(build('cspnano', 2, 3), describe(network))
    other.load_state_dict(network.state_dict())
    image = 255 * torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = network(image), other(image)
    assert ours.depth is not None
    assert theirs.depth is not None
    torch.testing.assert_close(ours.depth, theirs.depth)
    assert describe(other) == describe(network)


def test_a_plain_network_has_a_description_too() -> None:
    network = build('cspnano', 2, 3)
    assert restore(network, describe(network)) is network


@pytest.mark.parametrize('kind', ['gates', 'tree'])
def test_the_runtime_runs_an_exported_structure_unchanged(
    networks: dict[str, Branched], kind: str, tmp_path: Path
) -> None:
    network = networks[kind]
    export_folder(network, CARD, tmp_path / 'tiny')
    pipeline = Pipeline.load(tmp_path / 'tiny')
    expected = torch_pipeline(network, CARD).run(FRAME)
    found = pipeline.run(FRAME)
    assert not found.failures
    assert expected.depth is not None
    assert found.depth is not None
    np.testing.assert_allclose(found.depth.depth, expected.depth.depth, rtol=1e-3)
    graph = pipeline.manifest.graph
    whole = sum(block.macs for block in graph.blocks_for(TASKS))
    for task in TASKS:
        assert sum(block.macs for block in graph.blocks_for((task,))) < whole
    image = torch.zeros(1, 3, *pipeline.manifest.reference_size)
    heads = sum(
        block.macs for block in graph.blocks_for(TASKS) if not block.name.startswith('trunk')
    )
    assert whole - heads == count_macs(network.branches(), [image])


def test_one_task_runs_only_what_it_needs(networks: dict[str, Branched]) -> None:
    graph = torch_pipeline(networks['tree'], CARD).manifest.graph
    names = [block.name for block in graph.blocks_for(('depth',))]
    assert names == ['trunk', 'trunk_segmentation_depth', 'trunk_depth', 'depth']


def recipe() -> Recipe:
    heads = Phase(
        'heads', 10, 2, Weights(segmentation=1, depth=1), {'segmentation': 1, 'depth': 1}
    )
    joint = Phase(
        'joint',
        10,
        2,
        Weights(detection=1, distillation=1, segmentation=1, depth=1, depth_gradient=1),
        {'segmentation': 1, 'depth': 1, 'trunk.stem': 0},
        {'trunk': 1, 'detection': 1},
    )
    return Recipe(
        'cspnano', 1, 1, 'float32', ((64, 64),), (), (heads, joint), structure=Structure()
    )


def test_a_single_task_recipe_has_its_own_losses_and_parts_only() -> None:
    depth = single_task(recipe(), 'depth')
    assert [phase.name for phase in depth.phases] == ['heads', 'joint']
    assert depth.phases[1].weights == Weights(depth=1, depth_gradient=1)
    assert depth.phases[1].learning_rates == {'depth': 1, 'trunk.stem': 0}
    assert depth.phases[1].relative_rates == {'trunk': 1}


def test_phases_in_which_a_task_learns_nothing_are_left_out() -> None:
    assert [phase.name for phase in single_task(recipe(), 'detection').phases] == ['joint']


def test_the_shipped_recipe_names_every_structure() -> None:
    path = Path(__file__).resolve().parent.parent / 'recipes' / 'structure.yaml'
    found = read_recipe(path)
    assert found.structure.kind in ('hard_shared', 'antler', 'interrogate')
    assert set(found.structure.targets) == set(TASKS)
    assert replace(found.structure, kind='antler').phases
    assert isinstance(build(found.network, 2, 3), Multitask)
