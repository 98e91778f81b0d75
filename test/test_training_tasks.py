# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""No task is compulsory: any subset is trained, validated and exported by the commands."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip('torch')

import tiny_data
from click.testing import CliRunner
from test_training_own_data import own_data, write_segmentation

from mt_perception.cli.export import export
from mt_perception.cli.train import train
from mt_perception.errors import ModelError, PerceptionError
from mt_perception.pipeline import Pipeline
from mt_perception.training import loop
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.recipe import read_recipe
from mt_perception.types import Frame

HEAD = """
network: cspnano
seed: 1
threads: 1
precision: float32
canvases: [[64, 64]]
validate_every: 100
checkpoint_every: 100
"""
SETS = {
    'detection': '  - {name: shelves, kind: coco, folder: shelves, split: train, weight: 1.0}\n',
    'segmentation': '  - {name: floors, kind: segmentation, folder: floors, weight: 1.0}\n',
    'depth': '  - {name: office, kind: rgbd, folder: office, focal_px: 50.0, weight: 1.0}\n',
}
METRICS = {'detection': 'ap', 'segmentation': 'miou', 'depth': 'abs_rel'}


def write_recipe(path: Path, tasks: tuple[str, ...], more: str = '', part: str = '') -> Path:
    weights = ', '.join(f'{task}: 1.0' for task in tasks)
    rates = ', '.join(f'{part or task}: 0.001' for task in tasks)
    path.write_text(
        HEAD
        + ('detection_labels: shelves/instances.json\n' if 'detection' in tasks else '')
        + more
        + 'sets:\n'
        + ''.join(SETS[task] for task in tasks)
        + 'phases:\n'
        + f'  - {{name: one, steps: 2, batch_size: 2, warmup: 1, weights: {{{weights}}},\n'
        + f'     learning_rates: {{{rates}}}}}\n'
    )
    return path


def run_train(recipe: Path, data: Path, out: Path, *more: str) -> str:
    arguments = [str(recipe), '--data', str(data), '--out', str(out), *more]
    result = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    'tasks', [('segmentation',), ('depth',), ('detection', 'depth')], ids='-'.join
)
def test_any_tasks_are_trained_and_exported(tmp_path: Path, tasks: tuple[str, ...]) -> None:
    data = own_data(tmp_path / 'data')
    recipe = write_recipe(tmp_path / 'recipe.yaml', tasks)
    output = run_train(recipe, data, tmp_path / 'run')
    assert all(METRICS[task] in output for task in tasks)
    assert load_checkpoint(tmp_path / 'run')['tasks'] == list(tasks)
    model = tmp_path / 'model'
    arguments = [str(tmp_path / 'run'), str(model), '--data', str(data)]
    result = CliRunner().invoke(export, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    manifest = yaml.safe_load((model / 'manifest.yaml').read_text())
    assert list(manifest['tasks']) == list(tasks)
    assert {path.stem for path in model.glob('*.onnx')} == {'trunk', *tasks}
    # Accuracy only of what was measured, on the data's own name and number of images.
    rows = {row['task']: row for row in manifest['accuracy']}
    assert set(rows) == set(tasks)
    folders = {'detection': 'shelves', 'segmentation': 'floors', 'depth': 'office'}
    for task, row in rows.items():
        assert row['data'] == f'{folders[task]} held_out (2 images)'
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    assert not Pipeline.load(model).run(Frame(image)).failures


def test_a_training_starts_from_its_export_and_keeps_the_other_tasks(tmp_path: Path) -> None:
    data = own_data(tmp_path / 'data')
    first = write_recipe(tmp_path / 'first.yaml', ('detection', 'depth'))
    run_train(first, data, tmp_path / 'run')
    model = tmp_path / 'model'
    CliRunner().invoke(export, [str(tmp_path / 'run'), str(model)], catch_exceptions=False)
    second = write_recipe(tmp_path / 'second.yaml', ('segmentation',))
    output = run_train(second, data, tmp_path / 'next', '--start', str(model))
    assert 'trunk: 154 of 154 tensors kept' in ' '.join(output.split())
    state = load_checkpoint(tmp_path / 'next')
    assert state['tasks'] == ['detection', 'segmentation', 'depth']
    assert state['detection_labels'] == list(tiny_data.LABELS)
    before = load_checkpoint(tmp_path / 'run')['average']
    for name, value in state['average'].items():
        # The recipe trains the segmentation head alone.
        assert name.startswith('segmentation.') or value.equal(before[name]), name


def test_a_validation_that_fails_costs_no_training(tmp_path: Path) -> None:
    data = own_data(tmp_path / 'data')
    recipe = write_recipe(tmp_path / 'recipe.yaml', ('segmentation',))
    held_out = data / 'floors' / 'images' / '011.jpg'
    content = held_out.read_bytes()
    failures = []

    def fail(*_: object) -> dict[str, float]:
        failures.append(load_checkpoint(tmp_path / 'run')['step'])
        raise PerceptionError('the disk is full')

    original = loop._validated
    loop._validated = fail
    try:
        arguments = [str(recipe), '--data', str(data), '--out', str(tmp_path / 'run')]
        assert CliRunner().invoke(train, arguments).exit_code != 0
    finally:
        loop._validated = original
    assert failures == [2], 'the checkpoint is written before the validation'
    output = run_train(recipe, data, tmp_path / 'run')
    assert 'step 2: miou' in output, 'the validation is repeated'
    assert load_checkpoint(tmp_path / 'run')['phase'] == 1
    assert held_out.read_bytes() == content


def test_metrics_are_of_each_set(tmp_path: Path) -> None:
    data = own_data(tmp_path / 'data')
    write_segmentation(data / 'yard')
    recipe = write_recipe(tmp_path / 'recipe.yaml', ('segmentation',))
    text = recipe.read_text().replace(
        'phases:', SETS['segmentation'].replace('floors', 'yard') + 'phases:'
    )
    recipe.write_text(text)
    output = run_train(recipe, data, tmp_path / 'run').replace('\n', ' ')
    assert 'miou/floors' in output
    assert 'miou/yard' in output


def test_class_names_are_printed(tmp_path: Path) -> None:
    data = own_data(tmp_path / 'data')
    (data / 'floors' / 'classes.yaml').write_text(
        'classes: {1: floor-wood, 2: wall-brick, 7: spaceship}\n'
    )
    index = json.loads((data / 'shelves' / 'instances.json').read_text())
    index['categories'].append({'id': 9, 'name': 'couch'})
    (data / 'shelves' / 'instances.json').write_text(json.dumps(index))
    recipe = write_recipe(tmp_path / 'recipe.yaml', ('detection', 'segmentation'))
    output = ' '.join(run_train(recipe, data, tmp_path / 'run').split())
    assert 'floor-wood → ground' in output
    assert "floors: names outside the taxonomy, which train as 'object': spaceship" in output
    assert 'shelves: 4 of 4 names are classes of the detector' in output


def test_the_taxonomy_of_the_recipe_validates_too(tmp_path: Path) -> None:
    data = own_data(tmp_path / 'data')
    (tmp_path / 'mine.yaml').write_text('classes: {way: [floor-wood], side: [wall-brick]}\n')
    recipe = write_recipe(
        tmp_path / 'recipe.yaml', ('segmentation',), more='taxonomy: mine.yaml\n'
    )
    output = ' '.join(run_train(recipe, data, tmp_path / 'run').split())
    assert 'iou/way' in output
    assert (tmp_path / 'run' / 'mine.yaml').exists(), 'export needs it too'
    arguments = [str(tmp_path / 'run'), str(tmp_path / 'model'), '--data', str(data)]
    result = CliRunner().invoke(export, arguments, catch_exceptions=False)
    assert 'iou/side' in result.output


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (('learning_rates: {segmentation', 'learning_rates: {segmentatoin'), 'segmentation'),
        (('weights: {segmentation', 'weights: {segmentatoin'), 'did you mean segmentation'),
        (('validate_every', 'validat_every'), 'did you mean validate_every'),
        (('batch_size: 2', 'batch_size: 0'), 'batch_size'),
        (('weights: {segmentation: 1.0}', 'weights: {}'), 'no loss has a weight above 0'),
        (('weights: {segmentation', 'weights: {detection'), 'set detection_labels'),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    recipe = write_recipe(tmp_path / 'recipe.yaml', ('segmentation',))
    assert change[0] in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(*change))
    with pytest.raises(ModelError, match=said):
        read_recipe(recipe)


def test_a_part_that_the_network_lacks_is_refused(tmp_path: Path) -> None:
    data = own_data(tmp_path / 'data')
    recipe = write_recipe(tmp_path / 'recipe.yaml', ('segmentation',), part='segmentation.predct')
    arguments = [str(recipe), '--data', str(data), '--out', str(tmp_path / 'run')]
    result = CliRunner().invoke(train, arguments)
    assert isinstance(result.exception, ModelError)
    assert 'did you mean segmentation.predict' in str(result.exception)


@pytest.mark.parametrize('damage', ['image', 'label', 'missing', 'folder'])
def test_files_are_checked_before_the_first_step(tmp_path: Path, damage: str) -> None:
    data = own_data(tmp_path / 'data')
    recipe = write_recipe(tmp_path / 'recipe.yaml', ('segmentation', 'depth'))
    if damage == 'image':
        (data / 'floors' / 'images' / '003.jpg').write_bytes(b'no image')
    elif damage == 'label':
        cv2.imwrite(str(data / 'floors' / 'semantic' / '003.png'), np.zeros((48, 64, 3), np.uint8))
    elif damage == 'missing':
        (data / 'office' / 'depth_mm' / '003.png').unlink()
    else:
        (data / 'floors').rename(data / 'elsewhere')
    arguments = [str(recipe), '--data', str(data), '--out', str(tmp_path / 'run')]
    result = CliRunner().invoke(train, arguments)
    assert isinstance(result.exception, PerceptionError)
    assert ('floors' if damage == 'folder' else '003') in str(result.exception)
    assert not (tmp_path / 'run' / 'checkpoint.pt').exists()


def test_nothing_of_others_is_overwritten(tmp_path: Path) -> None:
    data = own_data(tmp_path / 'data')
    recipe = write_recipe(tmp_path / 'recipe.yaml', ('segmentation',))
    for out in (data, tmp_path, data / 'floors'):
        arguments = [str(recipe), '--data', str(data), '--out', str(out)]
        result = CliRunner().invoke(train, arguments)
        assert isinstance(result.exception, PerceptionError), out
    run_train(recipe, data, tmp_path / 'run')
    mine = tmp_path / 'mine'
    mine.mkdir()
    (mine / 'trunk.onnx').write_text('mine')
    result = CliRunner().invoke(export, [str(tmp_path / 'run'), str(mine)])
    assert isinstance(result.exception, PerceptionError)
    assert (mine / 'trunk.onnx').read_text() == 'mine'
