# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One head of the shipped model replaced, or its light variant; the remote half stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip('torch')

import numpy as np
import onnx
from onnx import numpy_helper
from tiny_run import save_run

from mt_perception.errors import ModelError
from mt_perception.model.folder import open_model, read_manifest
from mt_perception.network.gated import GatedNetwork
from mt_perception.network.gates import count_unit_costs
from mt_perception.network.multitask import Multitask
from mt_perception.training.export.replace_head import replace_full, replace_head
from mt_perception.training.export.write_model import REFERENCE_SIZE
from mt_perception.training.start import read_start, start_network
from mt_perception.types import DETECTION, SEGMENTATION

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / 'models' / 'cspnano'


@pytest.fixture(scope='module')
def labels() -> tuple[tuple[str, ...], tuple[str, ...]]:
    tasks = read_manifest(MODEL).tasks
    return tuple(tasks[DETECTION].labels), tuple(tasks[SEGMENTATION].labels)


@pytest.fixture
def network(labels: tuple[tuple[str, ...], tuple[str, ...]]) -> Multitask:
    made = start_network(read_start(MODEL), 'cspnano', labels).network.eval()
    with torch.no_grad():
        made.depth.predict.bias.add_(0.5)
    return made


def weights(path: Path) -> dict[str, Any]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


def test_a_new_depth_head_leaves_the_remote_half(
    tmp_path: Path, network: Multitask, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    model = tmp_path / 'model'
    shutil.copytree(MODEL, model)
    assert replace_head(save_run(tmp_path / 'run', network, labels), model, 'depth', '9') == (
        model / 'depth.onnx'
    )
    open_model(model)  # every checksum fits
    head = weights(model / 'depth.onnx')
    for name, value in network.depth.state_dict().items():
        np.testing.assert_array_equal(head[f'head.{name}'], value.numpy())
    for path in sorted((MODEL / 'cut').iterdir()):
        assert (model / 'cut' / path.name).read_bytes() == path.read_bytes()


def test_a_run_of_lighter_paths_replaces_the_light_head(
    tmp_path: Path, network: Multitask, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    gated = GatedNetwork(network, count_unit_costs(network, REFERENCE_SIZE))
    with torch.no_grad():
        gated.light_depth.predict.bias.fill_(-3.0)
    run = save_run(
        tmp_path / 'run', network, labels, full=network.state_dict(), average=gated.state_dict()
    )
    shutil.copy(ROOT / 'recipes' / 'cspnano_light.yaml', run / 'recipe.yaml')
    shutil.copytree(ROOT / 'recipes' / 'splits', run / 'splits')
    model = tmp_path / 'model'
    shutil.copytree(MODEL, model)
    before = {p.relative_to(model): p.read_bytes() for p in model.rglob('*.onnx')}
    assert replace_head(run, model, 'depth', '9') == model / 'depth_light.onnx'
    changed = [name for name, content in before.items() if (model / name).read_bytes() != content]
    assert changed == [Path('depth_light.onnx')]
    assert weights(model / 'depth_light.onnx')['head.predict.bias'] == pytest.approx([-3.0])
    assert open_model(model).manifest.paths.variants


def test_a_model_without_a_light_head_gets_none(
    tmp_path: Path, network: Multitask, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    gated = GatedNetwork(network, count_unit_costs(network, REFERENCE_SIZE))
    run = save_run(
        tmp_path / 'run', network, labels, full=network.state_dict(), average=gated.state_dict()
    )
    shutil.copy(ROOT / 'recipes' / 'cspnano_light.yaml', run / 'recipe.yaml')
    shutil.copytree(ROOT / 'recipes' / 'splits', run / 'splits')
    with pytest.raises(ModelError, match='one variant of detection'):
        replace_head(run, MODEL, 'detection', '9')


def test_trunk_and_full_heads_replaced_paths_and_remote_networks_kept(
    tmp_path: Path, network: Multitask, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    model = tmp_path / 'model'
    shutil.copytree(MODEL, model)
    with torch.no_grad():
        next(network.trunk.parameters()).mul_(1.01)
    replace_full(save_run(tmp_path / 'run', network, labels), model, '9')
    opened = open_model(model)  # every checksum fits
    assert opened.manifest.version == '9'
    assert opened.manifest.paths.choices[0].name == 'full'
    read = read_start(model).weights
    for name, value in network.state_dict().items():
        assert torch.equal(read[name], value)
    for name in ('depth_light.onnx', 'cut/trunk.onnx', 'cut/encoder.onnx'):
        assert (model / name).read_bytes() == (MODEL / name).read_bytes()


def test_a_share_of_the_models_own_weights_stays(
    tmp_path: Path, network: Multitask, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    model = tmp_path / 'model'
    shutil.copytree(MODEL, model)
    old = {name: value.clone() for name, value in read_start(model).weights.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.01)
    replace_full(save_run(tmp_path / 'run', network, labels), model, '9', share=0.25)
    read = read_start(model).weights
    for name, value in network.state_dict().items():
        torch.testing.assert_close(read[name], 0.25 * value + 0.75 * old[name])


def test_a_network_of_other_classes_replaces_nothing(
    tmp_path: Path, network: Multitask, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    model = tmp_path / 'model'
    shutil.copytree(MODEL, model)
    others = (labels[0][::-1], labels[1])
    with pytest.raises(ModelError, match='its classes for detection are not'):
        replace_full(save_run(tmp_path / 'run', network, others), model, '9')
    assert (model / 'trunk.onnx').read_bytes() == (MODEL / 'trunk.onnx').read_bytes()
