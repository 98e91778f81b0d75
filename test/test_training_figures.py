# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

import tiny_data
from test_training_loop import RECIPE

from mt_perception.execution.options import Options
from mt_perception.network.multitask import build
from mt_perception.training.export.export import ModelCard
from mt_perception.training.export.metrics import measure_metrics
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.recipe import SetSpec

CLASSES = tiny_data.classes()
CARD = ModelCard('tiny', '0', 'MIT', '', CLASSES.detection, CLASSES.segmentation)
ROOM = SetSpec('room', 'rgbd', 'room', 1.0, focal_px=50.0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('data')
    tiny_data.write_coco(path / 'coco', panoptic_images=(1, 3))
    tiny_data.write_rgbd(path / 'room')
    return path


def test_every_task_is_measured_on_its_validation_part(folder: Path) -> None:
    torch.manual_seed(0)
    recipe = replace(RECIPE, detection_labels='coco/instances.json', sets=(ROOM,))
    pipeline = torch_pipeline(build('cspnano', 3, 15), CARD)
    before = pipeline.options
    figures = measure_metrics(pipeline, folder, recipe)
    assert {'ap', 'ap50', 'miou', 'iou/ground', 'iou/person', 'abs_rel', 'abs_rel/room'} <= set(
        figures
    )
    assert all(math.isfinite(value) for value in figures.values())
    assert pipeline.options == before == Options()


def test_a_network_that_knows_the_depth_has_no_error(folder: Path) -> None:
    """The frame's left half is at 2 m, its right half at 1 m; 1.41 m is 41 % off at worst."""
    network = build('cspnano', 3, 15)
    focal = 50 * 416 / 64  # of the stored image, seen at a long side of 416
    with torch.no_grad():
        network.depth.predict.weight.zero_()
        network.depth.predict.bias.fill_(math.log(math.sqrt(2) / focal))
    recipe = replace(RECIPE, detection_labels='coco/instances.json', sets=(ROOM,))
    figures = measure_metrics(torch_pipeline(network, CARD), folder, recipe)
    expected = ((2 - math.sqrt(2)) / 2 + (math.sqrt(2) - 1)) / 2
    assert figures['abs_rel/room'] == pytest.approx(expected, abs=0.01)
