# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from mt_perception.errors import ModelError
from mt_perception.model.folder import open_model
from mt_perception.network.multitask import NETWORKS, Multitask, build
from mt_perception.pipeline import Pipeline
from mt_perception.training.checkpoint import save_checkpoint
from mt_perception.training.export.publish_model import publish_model
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.export.write_model import (
    PARITY_SIZES,
    ModelCard,
    block_graphs,
    check_blocks,
    export_folder,
)
from mt_perception.types import Frame, Intrinsics

CARD = ModelCard('tiny', '1.2.3', 'Apache-2.0', 'A test.', ('cup', 'cat'), ('floor', 'wall', 'x'))


@pytest.fixture(scope='module', params=sorted(NETWORKS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Multitask, Path]:
    torch.manual_seed(0)
    network = build(request.param, 2, 3).eval()
    folder = tmp_path_factory.mktemp('models') / 'tiny'
    export_folder(network, CARD, folder)
    return network, folder


def test_every_block_computes_what_torch_computes(exported: tuple[Multitask, Path]) -> None:
    network, folder = exported
    for size in (*PARITY_SIZES, (320, 416)):
        check_blocks(block_graphs(network), folder, size)


def test_a_block_that_differs_is_refused(exported: tuple[Multitask, Path], tmp_path: Path) -> None:
    _, folder = exported
    torch.manual_seed(1)
    other = build('cspnano', 2, 3).eval()
    with pytest.raises(ModelError, match='differs from torch'):
        check_blocks(block_graphs(other), folder, (160, 160))


def test_the_manifest_says_what_is_there(exported: tuple[Multitask, Path]) -> None:
    manifest = open_model(exported[1]).manifest
    assert (manifest.name, manifest.version, manifest.licence) == ('tiny', '1.2.3', 'Apache-2.0')
    assert manifest.tasks['detection'].labels == ('cup', 'cat')
    assert manifest.tasks['segmentation'].labels == ('floor', 'wall', 'x')
    parameters = sum(p.numel() for p in exported[0].parameters())
    blocks = manifest.graph.blocks
    blocks = list(blocks.values()) if isinstance(blocks, dict) else list(blocks)
    assert sum(block.parameters for block in blocks) == parameters
    assert all(block.macs > 0 for block in blocks)


@pytest.mark.parametrize('size', [(480, 640), (333, 200)])
def test_the_pipeline_gives_the_same_with_torch_and_with_onnx(
    exported: tuple[Multitask, Path], size: tuple[int, int]
) -> None:
    network, folder = exported
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    camera = Intrinsics(500, 500, size[1] / 2, size[0] / 2, size[1], size[0])
    with_onnx = Pipeline.load(folder).run(Frame(image, intrinsics=camera))
    with_torch = torch_pipeline(network, CARD).run(Frame(image, intrinsics=camera))
    np.testing.assert_allclose(with_onnx.depth.depth, with_torch.depth.depth, rtol=1e-3)
    same = with_onnx.segmentation.class_ids == with_torch.segmentation.class_ids
    assert same.mean() > 0.999


def test_a_run_becomes_a_model_folder(tmp_path: Path) -> None:
    network = build('cspnano', 2, 3)
    run = tmp_path / 'run'
    run.mkdir()
    other = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    save_checkpoint(
        run,
        {
            'step': 1,
            'name': 'cspnano',
            'network': other,
            'average': network.state_dict(),
            'detection_labels': ['cup', 'cat'],
            'segmentation_labels': ['floor', 'wall', 'x'],
        },
    )
    assert publish_model(run, tmp_path / 'mine', None, '0.0.1', 'MIT') == {}
    manifest = open_model(tmp_path / 'mine').manifest
    assert (manifest.name, manifest.licence) == ('mine', 'MIT')
    check_blocks(block_graphs(network.eval()), tmp_path / 'mine', (160, 224))


def test_confidence_is_the_probability_of_the_class(exported: tuple[Multitask, Path]) -> None:
    network, folder = exported
    image = np.random.default_rng(0).integers(0, 255, (320, 416, 3), np.uint8)
    found = Pipeline.load(folder).run(image, ['segmentation'], confidence=True).segmentation
    assert found is not None
    assert found.confidence is not None
    levels = network.trunk(torch.from_numpy(image)[None].permute(0, 3, 1, 2).float())
    with torch.no_grad():
        best = network.segmentation(levels).softmax(1).amax(1)[:, None]
        fine = torch.nn.functional.interpolate(best, size=(320, 416), mode='bilinear')[0, 0]
    np.testing.assert_allclose(found.confidence, 255 * fine.numpy(), atol=2)
