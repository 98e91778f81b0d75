# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paths from the recipe to the model folder, by the commands that a person types."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip('torch')

import tiny_data
from click.testing import CliRunner
from tiny_run import save_run

from mt_perception.cli.export import export
from mt_perception.cli.train import train
from mt_perception.model.folder import open_model
from mt_perception.network.multitask import build
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.gating import train_path_policy
from mt_perception.training.gating.path_losses import open_reference_detector, path_pipelines
from mt_perception.types import Frame

CLASSES = tiny_data.classes()
LABELS = (CLASSES.detection, CLASSES.segmentation)
RATES = {'light': 0.001, 'depth': 0.001}
PHASE = {'steps': 2, 'batch_size': 2, 'warmup': 1}
DENSE = {'segmentation': 1.0, 'depth': 1.0, 'depth_gradient': 0.5}
RECIPE = {
    'network': 'cspnano',
    'detection_labels': 'coco/instances.json',
    'seed': 1,
    'threads': 1,
    'precision': 'bfloat16',
    'canvases': [[64, 96]],
    'sets': [
        {'name': 'coco', 'kind': 'coco', 'folder': 'coco', 'split': 'train2017', 'weight': 1.0},
        {'name': 'wall', 'kind': 'rgbd', 'folder': 'wall', 'focal_px': 60.0, 'weight': 1.0},
    ],
    'gating': {
        'least_budget': 0.8,
        'paths': [
            {'name': 'skips', 'scale': 0.85, 'compute': 0.9},
            {'name': 'light', 'scale': 0.62, 'compute': 0.9, 'light': ['segmentation', 'depth']},
        ],
    },
    'phases': [
        {
            'name': 'joint',
            'weights': {**DENSE, 'distillation': 1.0},
            'learning_rates': {'policy': 0.002, 'depth': 0.001},
            **PHASE,
        },
        {'name': 'paths', 'weights': DENSE, 'learning_rates': RATES, **PHASE},
    ],
}


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and the model folder that its paths were added to."""
    root = tmp_path_factory.mktemp('paths')
    data = root / 'data'
    tiny_data.write_coco(data / 'coco')
    tiny_data.write_rgbd(data / 'wall', 12)
    torch.manual_seed(0)
    network = build('cspnano', *(len(names) for names in LABELS)).eval()
    save_run(root / 'base', network, LABELS)
    export_folder(network, ModelCard('tiny', '1', 'MIT', 'A test.', *LABELS), root / 'model')
    (root / 'recipe.yaml').write_text(yaml.safe_dump(RECIPE))
    arguments = [str(root / 'recipe.yaml'), '--data', str(data), '--out', str(root / 'run')]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_path_policy, '_STEPS', 30)  # It learns nothing here anyway.
        for command, given in (
            (train, [*arguments, '--start', str(root / 'base')]),
            (export, [str(root / 'run'), str(root / 'model'), '--data', str(data)]),
        ):
            result = CliRunner().invoke(command, given, catch_exceptions=False)
            assert result.exit_code == 0, result.output
    return root / 'run', root / 'model'


def test_what_is_exported_is_what_the_recipe_asks_for(made: tuple[Path, Path]) -> None:
    run, model = made
    assert load_checkpoint(run)['step'] == 4
    manifest = open_model(model).manifest
    full, skips, light = manifest.paths.choices
    assert (full.name, skips.name, light.name) == ('full', 'skips', 'light')
    assert all(0 < path.relative_macs <= 1 for path in manifest.paths.choices)
    assert all('depth' in path.accuracy for path in manifest.paths.choices)
    stands_for = {block.stands_for: block for block in light.variants}
    dense = manifest.graph.blocks
    for task in ('segmentation', 'depth'):
        assert stands_for[task].macs < 0.7 * dense[task].macs
    assert manifest.paths.policy is not None
    assert manifest.paths.policy.calibration


def test_every_path_runs_and_the_policy_chooses(made: tuple[Path, Path]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    results = [pipeline.run(Frame(image)) for pipeline in path_pipelines(made[1])]
    assert [r.execution.path for r in results] == ['full', 'skips', 'light']
    for result in results:
        assert not result.failures
        assert result.segmentation is not None
        assert result.segmentation.class_ids.shape == (120, 160)
    chosen = Pipeline.load(made[1], budget=Budget(compute=0.5)).run(Frame(image)).execution
    assert 'policy' in chosen.blocks


def test_a_second_export_replaces_the_first(made: tuple[Path, Path]) -> None:
    run, model = made
    before = sorted(path.name for path in model.iterdir())
    result = CliRunner().invoke(export, [str(run), str(model)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in model.iterdir()) == before
    assert open_model(model).manifest.paths.policy is None


def test_a_judge_speaks_of_our_classes(data: Path) -> None:
    """The judge that the shipped paths had; a picture of people, of which it is sure."""
    judge = open_reference_detector(data / 'teachers' / 'picodet_s_416_coco.onnx', ('person',))
    files = sorted((data / 'people' / 'images').iterdir())[:4]
    seen = [judge(Frame(np.asarray(cv2.imread(str(file)), np.uint8))) for file in files]
    assert any(len(boxes.classes) for boxes in seen)
    assert all((boxes.classes == 0).all() for boxes in seen)
