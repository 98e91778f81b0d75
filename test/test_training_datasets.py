# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('torch')

import tiny_data
from test_training_loop import RECIPE

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.parts import Parts
from mt_perception.training.data.read_datasets import read_coco, read_regions, read_rgbd
from mt_perception.training.data.recipe_sets import distance_shares, read_sets
from mt_perception.training.recipe import SetSpec
from mt_perception.types import UNLABELLED

CLASSES = tiny_data.classes()


def index(name: str) -> int:
    return CLASSES.segmentation.index(name)


def test_panoptic_pixels_where_they_exist_else_polygons(tmp_path: Path) -> None:
    samples = read_coco(tiny_data.write_coco(tmp_path / 'coco'), CLASSES)
    panoptic, polygons = samples[0].semantic(), samples[1].semantic()
    assert panoptic[40, 5] == index('ground')
    assert panoptic[5, 5] == index('person')
    assert panoptic[5, 60] == UNLABELLED
    assert polygons[20, 10] == index('person')
    assert polygons[20, 30] == index('seat')
    assert polygons[20, 50] == index('table')
    assert polygons[40, 10] == UNLABELLED, 'what is no thing is not labelled by polygons'


def test_splits_and_kinds_of_pixels(tmp_path: Path) -> None:
    folder = tiny_data.write_coco(tmp_path / 'coco')
    assert len(read_coco(folder, CLASSES, 'train2017')) == 2
    assert [s.name for s in read_coco(folder, CLASSES, None, 'panoptic')] == ['coco_000']
    assert len(read_coco(folder, CLASSES, 'train2017', 'polygons')) == 1


def test_persons_only_is_not_complete(tmp_path: Path) -> None:
    everything = read_coco(tiny_data.write_coco(tmp_path / 'all'), CLASSES)[0].boxes
    persons = read_coco(tiny_data.write_coco(tmp_path / 'p', names=('person',)), CLASSES)[0].boxes
    assert everything.complete
    assert everything.classes.tolist() == [0, 1, 2]
    assert everything.corners[0].tolist() == [4, 8, 20, 32]
    assert not persons.complete
    assert persons.classes.tolist() == [0]


def test_the_smaller_thing_lies_on_the_larger(tmp_path: Path) -> None:
    folder = tiny_data.write_coco(tmp_path / 'coco', images=2)
    path = folder / 'instances.json'
    content = json.loads(path.read_text())
    content['annotations'] = [
        {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [10, 10, 5, 5], 'area': 25,
         'segmentation': [[10, 10, 15, 10, 15, 15, 10, 15]]},
        {'id': 2, 'image_id': 1, 'category_id': 3, 'bbox': [0, 0, 40, 40], 'area': 1600,
         'segmentation': [[0, 0, 40, 0, 40, 40, 0, 40]]},
    ]  # fmt: skip
    path.write_text(json.dumps(content))
    label = read_coco(folder, CLASSES)[1].semantic()
    assert label[12, 12] == index('person')
    assert label[30, 30] == index('table')


def test_regions_are_shrunk_and_silent_where_they_disagree(tmp_path: Path) -> None:
    folder = tiny_data.write_coco(tmp_path / 'doors', images=1)
    path = folder / 'instances.json'
    content = json.loads(path.read_text())
    names = ('door', 'cabinet door', 'handle')
    content['categories'] = [{'id': i + 1, 'name': n} for i, n in enumerate(names)]
    boxes = [[0, 0, 20, 20], [10, 0, 20, 20], [40, 30, 10, 10]]
    content['annotations'] = [
        {'id': i, 'image_id': 0, 'category_id': i + 1, 'bbox': b, 'area': 1, 'iscrowd': 0}
        for i, b in enumerate(boxes)
    ]
    path.write_text(json.dumps(content))
    label = read_regions(folder, CLASSES, shrink=0.1)[0].semantic()
    assert label[10, 5] == index('door')
    assert label[10, 25] == index('furniture')
    assert label[10, 15] == UNLABELLED, 'two classes claim it'
    assert label[0, 0] == UNLABELLED, 'the rim of a box is left out'
    assert label[35, 45] == UNLABELLED, 'a handle belongs to no class of ours'


def test_rgbd_parts_do_not_share_frames(tmp_path: Path) -> None:
    folder = tiny_data.write_rgbd(tmp_path / 'room')
    train, held = (
        {s.name for s in read_rgbd(folder, CLASSES, 500.0, part)} for part in ('train', 'held_out')
    )
    assert held == {f'room_{n:03}' for n in range(10, 15)}
    assert len(train) == 20
    assert not train & held


def test_the_focal_length_is_of_the_stored_image(tmp_path: Path) -> None:
    sample = read_rgbd(tiny_data.write_rgbd(tmp_path / 'room'), CLASSES, 500.0)[0]
    assert sample.focal_px == 500.0


def test_label_images_beside_depth(tmp_path: Path) -> None:
    folder = tiny_data.write_rgbd(tmp_path / 'table', frames=1)
    (folder / 'label').mkdir()
    label = np.zeros(tiny_data.SIZE, np.uint8)
    label[:16], label[16:32] = 1, 2
    cv2.imwrite(str(folder / 'label' / '000.png'), label)
    found = read_rgbd(folder, CLASSES, 500.0, 'train', {1: 'table'})[0].semantic()
    assert found[[0, 20, 40], 0].tolist() == [index('table'), index('object'), UNLABELLED]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r'instances\.json'):
        read_coco(tmp_path, CLASSES)
    (tmp_path / 'rgb').mkdir()
    with pytest.raises(SourceError, match='expected images'):
        read_rgbd(tmp_path, CLASSES, 500.0)


def test_a_recording_says_its_focal_lengths(tmp_path: Path) -> None:
    folder = tiny_data.write_rgbd(tmp_path / 'room', frames=3)
    with pytest.raises(SourceError, match='focal_px'):
        read_rgbd(folder, CLASSES, part='all')
    camera = {'width': 128, 'height': 96, 'fx': 100.0, 'fy': 100.0, 'cx': 63.5, 'cy': 47.5}
    own = {'intrinsics': {'001': [200.0, 200.0, 63.5, 47.5]}}
    (folder / 'meta.json').write_text(json.dumps(camera | own))
    samples = read_rgbd(folder, CLASSES, part='all', kept=lambda key: key != '002')
    assert [s.focal_px for s in samples] == [50, 100], 'stored images are half as large'
    assert read_rgbd(folder, CLASSES, 70.0, part='all')[0].focal_px == 70


def test_boxes_keep_their_names(tmp_path: Path) -> None:
    folder = tiny_data.write_coco(tmp_path / 'coco', names=('person', 'banana'))
    objects = read_coco(folder, CLASSES)[0].objects
    assert [o.name for o in objects] == ['person', 'banana']
    assert (objects[1].left, objects[1].width, objects[1].height) == (24, 16, 24)


def test_what_validates_is_not_trained_on(tmp_path: Path) -> None:
    tiny_data.write_coco(tmp_path / 'coco')
    tiny_data.write_rgbd(tmp_path / 'room', frames=4)
    parts = Parts(
        {'coco': {'choose': frozenset({'000'})}, 'room': {'report': frozenset({'001'})}}, {}
    )
    coco = SetSpec('coco', 'coco', 'coco', 1.0)
    room = SetSpec(
        'room', 'rgbd', 'room', 1.0, split='all', focal_px=50.0, without=('003',), by_distance=True
    )
    recipe = replace(RECIPE, parts=parts, sets=(coco, room))
    found = {s.name: s for s in read_sets(recipe, tmp_path, CLASSES, tmp_path)}
    assert [s.name for s in found['coco'].samples] == ['coco_001', 'coco_002', 'coco_003']
    assert [s.name for s in found['room'].samples] == ['room_000', 'room_002']
    assert found['room'].shares == (0.5, 0.5)


@given(st.lists(st.floats(0, 90), min_size=1, max_size=40))
def test_shares_by_distance_add_up_and_favour_rare_distances(distances: list[float]) -> None:
    shares = np.array(distance_shares(distances))
    assert shares.sum() == pytest.approx(1)
    assert (shares > 0).all()
    # Clipped to half and three times the usual.
    assert shares.max() <= 6.0001 * shares.min()


def test_far_images_come_as_often_as_near_ones() -> None:
    shares = distance_shares([1.0, 1.0, 1.1, 0.9, 16.0, 15.0])
    assert sum(shares[:4]) == pytest.approx(sum(shares[4:]), rel=1e-6)
