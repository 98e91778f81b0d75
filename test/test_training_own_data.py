# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip('torch')

import tiny_data
from click.testing import CliRunner
from test_training_loop import RECIPE

from mt_perception.cli.train import train
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.parts import Parts
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.data.augment import make_example
from mt_perception.training.data.read_datasets import read_coco, read_rgbd, read_segmentation
from mt_perception.training.data.recipe_sets import read_sets
from mt_perception.training.recipe import SetSpec, read_recipe
from mt_perception.training.run_record import LOG, RECORD

CLASSES = tiny_data.classes()
DOCS = Path(__file__).parent.parent / 'docs'
GUIDE = DOCS / 'training.md'
MT2ST_PAGE = DOCS / 'systems' / 'mt2st.md'


def write_segmentation(folder: Path, images: int = 12) -> Path:
    """Floor below, wall above, one pixel column of an id without a name."""
    (folder / 'images').mkdir(parents=True)
    (folder / 'semantic').mkdir()
    label = np.full(tiny_data.SIZE, 2, np.uint8)
    label[24:], label[:, 0], label[:, 1] = 1, 7, 255
    rng = np.random.default_rng(0)
    for number in range(images):
        picture = rng.integers(0, 255, (*tiny_data.SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / 'images' / f'{number:03}.jpg'), picture)
        cv2.imwrite(str(folder / 'semantic' / f'{number:03}.png'), label)
    (folder / 'classes.yaml').write_text('classes: {1: floor-wood, 2: wall-brick}\n')
    return folder


def own_data(folder: Path) -> Path:
    tiny_data.write_coco(folder / 'shelves', images=12)
    index = json.loads((folder / 'shelves' / 'instances.json').read_text())
    for image in index['images']:
        del image['coco_split']
    (folder / 'shelves' / 'instances.json').write_text(json.dumps(index))
    tiny_data.write_rgbd(folder / 'office', 12)
    write_segmentation(folder / 'floors')
    return folder


def documented_recipe(folder: Path) -> Path:
    """The recipe that the guide shows, word for word."""
    found = re.search(r'```yaml\n(network: .*?)```', GUIDE.read_text(), re.DOTALL)
    assert found is not None
    path = folder / 'recipe.yaml'
    path.write_text(found.group(1))
    return path


def test_the_guide_s_recipe_trains_on_one_s_own_folders(tmp_path: Path) -> None:
    data, recipe = own_data(tmp_path / 'data'), documented_recipe(tmp_path)
    arguments = [str(recipe), '--data', str(data), '--out', str(tmp_path / 'run')]
    result = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    state = load_checkpoint(tmp_path / 'run')
    assert state['step'] == 6
    assert state['detection_labels'] == list(tiny_data.LABELS)
    rows = [row.split(',') for row in (tmp_path / 'run' / LOG).read_text().splitlines()]
    assert {'detection', 'segmentation', 'depth', 'gmacs', 'ap', 'abs_rel'} <= {r[2] for r in rows}
    assert {r[1] for r in rows} == {'joint', 'segmentation'}
    (start,) = yaml.safe_load((tmp_path / 'run' / RECORD).read_text())
    assert start['seed'] == 1
    # A held-out block of five: images 10 and 11 of twelve, and more, were not trained on.
    assert start['data']['shelves']['images'] == 10
    assert torch.__version__.startswith(start['versions']['torch'].partition('+')[0])
    assert not any(str(tmp_path) in str(value) for value in start.values())


def test_a_second_start_is_written_down_too(tmp_path: Path) -> None:
    data, recipe = own_data(tmp_path / 'data'), documented_recipe(tmp_path)
    arguments = [str(recipe), '--data', str(data), '--out', str(tmp_path / 'run')]
    for _ in range(2):
        assert CliRunner().invoke(train, arguments, catch_exceptions=False).exit_code == 0
    assert len(yaml.safe_load((tmp_path / 'run' / RECORD).read_text())) == 2
    assert (tmp_path / 'run' / 'recipe.yaml').read_text() == recipe.read_text()


def test_the_guide_s_mt2st_section_is_one(tmp_path: Path) -> None:
    found = re.search(r'```yaml\n(    mt2st:.*?)```', MT2ST_PAGE.read_text(), re.DOTALL)
    assert found is not None
    text = documented_recipe(tmp_path).read_text()
    text = text.replace('    stop: {', found.group(1) + '    stop: {', 1)
    path = tmp_path / 'faded.yaml'
    path.write_text(text)
    fading = read_recipe(path).phases[0].mt2st
    assert fading.switch is not None
    assert fading.diminish['detection'].at(60) == pytest.approx(0.056, abs=0.001)


def test_segmentation_folders_are_read_as_evaluation_reads_them(tmp_path: Path) -> None:
    samples = read_segmentation(write_segmentation(tmp_path / 'floors'), CLASSES)
    assert [sample.name for sample in samples] == [f'floors_{n:03}' for n in range(10)]
    assert samples[0].boxes is None
    assert samples[0].depth_path is None
    assert samples[0].semantic is not None
    label = samples[0].semantic()
    ground, wall = (CLASSES.segmentation.index(name) for name in ('ground', 'wall'))
    assert (label[30, 2:] == ground).all()
    assert (label[10, 2:] == wall).all()
    assert (label[:, :2] == 255).all(), 'ids without a name are unlabelled'
    kept = read_segmentation(tmp_path / 'floors', CLASSES, part='held_out')
    assert [sample.name for sample in kept] == ['floors_010', 'floors_011']


@pytest.mark.parametrize('kind', ['segmentation', 'regions'])
def test_what_validates_is_not_trained_on(tmp_path: Path, kind: str) -> None:
    if kind == 'segmentation':
        write_segmentation(tmp_path / 'floors', images=3)
    else:
        tiny_data.write_coco(tmp_path / 'floors', images=3)
    floors = SetSpec('floors', kind, 'floors', 1.0, split='all', without=('000',))
    parts = Parts({'floors': {'choose': frozenset({'001'})}}, {})
    (found,) = read_sets(replace(RECIPE, parts=parts, sets=(floors,)), tmp_path, CLASSES, tmp_path)
    assert [sample.name for sample in found.samples] == ['floors_002']


def test_names_may_stand_in_the_recipe(tmp_path: Path) -> None:
    folder = write_segmentation(tmp_path / 'floors')
    (folder / 'classes.yaml').unlink()
    with pytest.raises(SourceError, match='0 YAML files'):
        read_segmentation(folder, CLASSES)
    (sample, *_) = read_segmentation(folder, CLASSES, {1: 'sky-other-merged'})
    assert sample.semantic is not None
    assert sample.semantic()[30, 5] == CLASSES.segmentation.index('sky')


def test_a_segmentation_folder_without_labels_is_said(tmp_path: Path) -> None:
    folder = write_segmentation(tmp_path / 'floors', 3)
    for path in (folder / 'semantic').iterdir():
        path.unlink()
    with pytest.raises(SourceError, match='no label image'):
        read_segmentation(folder, CLASSES)
    (folder / 'semantic').rmdir()
    with pytest.raises(SourceError, match='no label image'):
        read_segmentation(folder, CLASSES)


def coco_with(folder: Path, change) -> Path:  # type: ignore[no-untyped-def]
    tiny_data.write_coco(folder)
    index = json.loads((folder / 'instances.json').read_text())
    change(index)
    (folder / 'instances.json').write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda i: i.pop('annotations'), 'no list of annotations'),
        (lambda i: i['images'][0].update(file_name='../../secret.png'), 'leads out of'),
    ],
)
def test_a_coco_file_that_does_not_fit_is_refused(tmp_path: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SourceError, match=said):
        read_coco(coco_with(tmp_path / 'coco', change), CLASSES)


def test_json_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = tiny_data.write_coco(tmp_path / 'coco')
    (folder / 'instances.json').write_text('[' * 100_000)
    with pytest.raises(SourceError, match=r'nested|JSON|deep'):
        read_coco(folder, CLASSES)


def test_run_lengths_are_left_out_and_areas_may_miss(tmp_path: Path) -> None:
    def change(index) -> None:  # type: ignore[no-untyped-def]
        for annotation in index['annotations']:
            del annotation['area'], annotation['iscrowd']
        index['annotations'][0]['segmentation'] = {'counts': 'abc', 'size': [48, 64]}

    samples = read_coco(coco_with(tmp_path / 'coco', change), CLASSES, pixels='polygons')
    assert samples[0].semantic is not None


def test_labels_of_another_size_are_said(tmp_path: Path) -> None:
    def change(index) -> None:  # type: ignore[no-untyped-def]
        index['images'][0]['height'] *= 2

    (sample, *_) = read_coco(coco_with(tmp_path / 'coco', change), CLASSES)
    with pytest.raises(SourceError, match='scale the labels with the image'):
        make_example(sample, (64, 96), np.random.default_rng(0))


def test_a_frame_without_depth_is_said(tmp_path: Path) -> None:
    folder = tiny_data.write_rgbd(tmp_path / 'room', 3)
    (folder / 'depth_mm' / '001.png').unlink()
    with pytest.raises(SourceError, match=r'001\.png'):
        read_rgbd(folder, CLASSES, 500.0)


@pytest.mark.parametrize('wish', ['voc_labels', 'relative_depth'])
def test_a_teacher_that_is_not_named_is_said(tmp_path: Path, wish: str) -> None:
    from mt_perception.errors import ModelError

    recipe = documented_recipe(tmp_path)
    recipe.write_text(recipe.read_text().replace('weight: 2.0', f'weight: 2.0, {wish}: true'))
    with pytest.raises(ModelError, match=wish):
        read_recipe(recipe)


def test_tensorboard_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip('tensorboard')
    data, recipe = own_data(tmp_path / 'data'), documented_recipe(tmp_path)
    arguments = [str(recipe), '--data', str(data), '--out', str(tmp_path / 'run'), '--tensorboard']
    assert CliRunner().invoke(train, arguments, catch_exceptions=False).exit_code == 0
    assert list((tmp_path / 'run' / 'tensorboard').glob('events.*'))
