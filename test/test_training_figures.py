# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip('torch')

import tiny_data
from test_training_loop import RECIPE

from mt_perception.evaluation.datasets.parts import Parts, read_parts
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.execution.options import Options
from mt_perception.model.folder import open_model
from mt_perception.network.multitask import build
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.confidence import calibrate_confidence
from mt_perception.training.export.model_metrics import (
    measure,
    measure_metrics,
    scene_sets,
    validation_sets,
)
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.recipe import SetSpec
from mt_perception.training.run_record import record_run

CLASSES = tiny_data.classes()
CARD = ModelCard('tiny', '0', 'MIT', '', CLASSES.detection, CLASSES.segmentation)
ROOT = Path(__file__).resolve().parent.parent
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


def test_images_and_scenes_that_choose_are_measured_and_the_others_not(folder: Path) -> None:
    """The network is right in the chosen room, which is never a validation frame by its index."""
    network = build('cspnano', 3, 15)
    with torch.no_grad():
        network.depth.predict.weight.zero_()
    parts = Parts(
        {'coco': {'choose': frozenset({'001'})}, 'room': {'choose': frozenset({'000'})}},
        {},
        {'room': 50.0},
    )
    whole = replace(ROOM, split='all')
    recipe = replace(
        RECIPE, detection_labels='coco/instances.json', sets=(whole,), parts=parts
    )  # fmt: skip
    sets = validation_sets(recipe, folder)
    assert [source.keys for source in sets] == [frozenset({'001'})], 'the room has no frame left'
    assert [(s.name, s.keys) for s in scene_sets(folder, parts, 'choose')] == [
        ('room', frozenset({'000'}))
    ]
    assert scene_sets(folder, parts, 'report') == ()
    figures = measure_metrics(torch_pipeline(network, CARD), folder, recipe, ('depth',))
    assert set(figures) == {'abs_rel/unseen', 'abs_rel_scaled/unseen'}


def test_a_run_keeps_the_parts_that_its_recipe_names(tmp_path: Path) -> None:
    (tmp_path / 'splits').mkdir()
    (tmp_path / 'splits' / 'mine.yaml').write_text('images: {coco: {report: [a]}}')
    recipe = replace(RECIPE, parts=read_parts(tmp_path / 'splits' / 'mine.yaml'))
    (tmp_path / 'recipe.yaml').write_text('seed: 1')
    record_run(tmp_path / 'run', tmp_path / 'recipe.yaml', recipe, ())
    assert read_parts(tmp_path / 'run' / 'splits' / 'mine.yaml').images == recipe.parts.images


def test_every_scene_of_a_part_is_left_out_once_and_others_are_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
    left_out = importlib.import_module('left_out_scenes')
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    for part, groups in left_out.GROUPS.items():
        scenes = Counter(name for found in parts.scenes.values() for name in found.get(part, ()))
        rooms = Counter({'rendered_rooms': 1})
        assert Counter(name for group in groups for name in group) == scenes + rooms
    group = ('hololens_lounge', 'rendered_rooms')
    (tmp_path / 'parts.yaml').write_text(yaml.safe_dump(left_out.only(parts, 'report', group)))
    kept = read_parts(tmp_path / 'parts.yaml')
    names = {folder: set(found['report']) for folder, found in kept.scenes.items()}
    assert names == {'rgbd_scenes/hololens_dvmvs': {'hololens_lounge'}}
    rendered = 'rgbd_scenes/rendered_rooms'
    assert kept.images == {rendered: {'report': parts.images[rendered]['report']}}


def test_the_confidence_is_calibrated_on_the_validation_images(
    folder: Path, tmp_path: Path
) -> None:
    """A logistic fit with an offset makes the mean confidence equal to the accuracy."""
    torch.manual_seed(0)
    recipe = replace(RECIPE, detection_labels='coco/instances.json', sets=())
    network = build('cspnano', 3, 15).eval()
    with torch.no_grad():
        network.segmentation.predict.bias[CLASSES.segmentation.index('ground')] += 1
    export_folder(network, CARD, tmp_path / 'model')
    slope, offset = calibrate_confidence(tmp_path / 'model', folder, recipe)
    spec = open_model(tmp_path / 'model').manifest.tasks['segmentation'].confidence
    assert spec is not None
    assert (spec.slope, spec.offset) == pytest.approx((slope, offset), abs=1e-3)
    metric = SegmentationMetric()
    (source,) = validation_sets(recipe, folder)
    pipeline = Pipeline.load(tmp_path / 'model')
    measure(pipeline, folder / 'coco', source.split, None, {'segmentation': metric})
    found = metric.evaluate()
    rows = found['reliability']
    mean = sum(row['confidence'] * row['pixels'] for row in rows)
    assert mean / sum(row['pixels'] for row in rows) == pytest.approx(
        found['pixel_accuracy'], abs=0.01
    )
