# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A training starts from a run or an exported model; new classes get new outputs only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

import tiny_data
from test_training_loop import RECIPE
from tiny_run import save_run

from mt_perception.errors import ModelError
from mt_perception.network.multitask import Multitask, build
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.start import check_start, read_start, start_network

LABELS = (('cup', 'cat'), ('floor', 'wall', 'sky'))
CARD = ModelCard('tiny', '1', 'MIT', '', *LABELS)


@pytest.fixture(scope='module')
def network() -> Multitask:
    torch.manual_seed(0)
    return build('cspnano', 2, 3).eval()


@pytest.fixture(scope='module')
def model(network: Multitask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('models') / 'tiny'
    export_folder(network, CARD, folder)
    return folder


def test_a_model_folder_has_every_weight_of_the_network(
    network: Multitask, model: Path, tmp_path: Path
) -> None:
    for path in (model, save_run(tmp_path / 'run', network, LABELS)):
        started = start_network(read_start(path), 'cspnano', LABELS)
        state = started.network.state_dict()
        for name, value in network.state_dict().items():
            assert state[name].equal(value), name
        assert '154 of 154' in started.report[0]


def test_new_classes_keep_everything_but_their_outputs(network: Multitask, model: Path) -> None:
    labels = (('cat', 'dog', 'cup'), ('wall', 'grass', 'floor', 'sky'))
    started = start_network(read_start(model), 'cspnano', labels)
    before, after = network.state_dict(), started.network.state_dict()
    changed = {n for n, v in after.items() if v.shape != before[n].shape or not v.equal(before[n])}
    assert {n.split('.')[0] for n in changed} == {'detection', 'segmentation'}
    assert all('.classes.' in n or '.predict.' in n for n in changed)
    # Outputs of classes with the same name are kept too, wherever they are.
    key = 'segmentation.predict.weight'
    assert after[key][0].equal(before[key][1])
    assert after[key][2].equal(before[key][0])
    key = 'detection.levels.0.classes.bias'
    assert after[key][2].equal(before[key][0])
    assert 'outputs of 2 classes kept, 1 new' in started.report[0]
    assert 'outputs of 3 classes kept, 1 new' in started.report[0]


def test_a_model_with_one_task_starts_the_others_anew(network: Multitask, tmp_path: Path) -> None:
    folder = tmp_path / 'one'
    export_folder(network, replace(CARD, tasks=('segmentation',)), folder)
    start = read_start(folder)
    assert start.tasks == ('segmentation',)
    assert start.labels == ((), LABELS[1])
    started = start_network(start, 'cspnano', ((), LABELS[1]))
    state = started.network.state_dict()
    assert state['segmentation.predict.weight'].equal(
        network.state_dict()['segmentation.predict.weight']
    )
    assert 'depth: 0 of 32 tensors kept' in started.report[0]


def test_what_is_no_start_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelError, match='neither a training run'):
        read_start(tmp_path)
    foreign = tmp_path / 'foreign'
    from tiny_model import write_tiny_model

    write_tiny_model(foreign)
    with pytest.raises(ModelError, match='no weights under the names'):
        read_start(foreign)


def test_detections_of_other_classes_cannot_be_distilled(model: Path) -> None:
    phase = replace(RECIPE.phases[0], weights=replace(RECIPE.phases[0].weights, distillation=1.0))
    recipe = replace(RECIPE, phases=(phase,), gating=None)
    start = read_start(model)
    check_start(recipe, start, LABELS)
    with pytest.raises(ModelError, match='remove the loss "distillation"'):
        check_start(recipe, start, (tiny_data.LABELS, LABELS[1]))
