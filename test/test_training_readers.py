# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation read the same files alike: COCO, YOLO, TUM, maps, EXIF."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('torch')

import tiny_data
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.datasets.truth_files import TruthFiles
from mt_perception.training.data.augment import make_example
from mt_perception.training.data.read_datasets import (
    ReadOptions,
    detector_classes,
    read_coco,
    read_maps,
    read_rgbd,
    read_segmentation,
)

CLASSES = tiny_data.classes()
SIZE = (48, 64)

Change = Callable[[dict[str, Any]], Any]


def annotation(**fields: Any) -> dict[str, Any]:
    return {'id': 2, 'image_id': 7, 'category_id': 1, 'bbox': [1, 1, 9, 9], 'area': 81} | fields


def append(**fields: Any) -> Change:
    return lambda data: data['annotations'].append(annotation(**fields))


def write_coco(folder: Path, change: Change, encoding: str = 'utf-8') -> Path:
    data = {
        'images': [{'id': 7, 'file_name': 'a.png', 'width': 64, 'height': 48}],
        'categories': [{'id': 1, 'name': 'person'}],
        'annotations': [annotation(id=1, bbox=[5, 5, 20, 30], area=600)],
    }
    change(data)
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / 'images' / 'a.png'), np.full((*SIZE, 3), 99, np.uint8))
    (folder / 'instances.json').write_text(json.dumps(data), encoding=encoding)
    return folder


@pytest.mark.parametrize(
    ('change', 'boxes'),
    [
        (append(bbox=[]), 1),
        (append(bbox=[5, 5, 0, 0]), 1),
        (append(bbox=[20, 20, -5, -5]), 1),
        (append(bbox=[1, 1, float('nan'), 9]), 1),
        (append(image_id=99), 1),
        (append(category_id=99), 1),
        (append(area=None, segmentation=[[1, 1, 9, 1, 9, 9]]), 2),
        (append(segmentation=[[1, 1]]), 2),
        (append(segmentation=[[]]), 2),
        (append(segmentation=[[1, 1, 5, 5, 9]]), 2),
        (append(segmentation={'counts': 'abc', 'size': [48, 64]}), 2),
        (append(iscrowd=1), 1),
        (lambda data: data['images'][0].pop('width'), 1),
        (lambda data: data['images'][0].update(id='7'), 1),
    ],
)
def test_a_bad_entry_costs_itself(tmp_path: Path, change: Change, boxes: int) -> None:
    folder = write_coco(tmp_path / 'coco', change)
    (sample,) = read_coco(folder, CLASSES)
    assert sample.boxes is not None
    assert len(sample.boxes.corners) == boxes
    assert sample.size == SIZE
    make_example(sample, (64, 64), np.random.default_rng(0))
    truth = TruthFiles(folder, CLASSES).find('a', SIZE)
    assert truth is not None
    assert truth.objects is not None
    plain = truth.objects.boxes[~truth.objects.crowd]
    np.testing.assert_allclose(sample.boxes.corners, plain, atol=1e-3)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / 'coco', lambda data: None, 'utf-8-sig')
    assert len(read_coco(folder, CLASSES)) == 1


def test_masks_of_images_in_sub_folders_are_found(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        first = data['images'][0]
        data['images'] = [
            copy.copy(first) | {'id': i, 'file_name': f'{name}/a.png'}
            for i, name in enumerate('xy')
        ]

    folder = write_coco(tmp_path / 'coco', change)
    for name, value in (('x', 1), ('y', 2)):
        for kind in ('images', 'semantic'):
            (folder / kind / name).mkdir(parents=True)
        cv2.imwrite(str(folder / 'images' / name / 'a.png'), np.zeros((*SIZE, 3), np.uint8))
        cv2.imwrite(str(folder / 'semantic' / name / 'a.png'), np.full(SIZE, value, np.uint8))
    (folder / 'panoptic_classes.yaml').write_text('classes: {1: wall-brick, 2: floor-wood}\n')
    samples = read_coco(folder, CLASSES)
    assert len({sample.name for sample in samples}) == 2
    found = [int(s.semantic()[0, 0]) for s in samples if s.semantic is not None]
    assert found == [CLASSES.segmentation_id(n) for n in ('wall-brick', 'floor-wood')]


def test_label_ids_beyond_a_byte_do_not_wrap(tmp_path: Path) -> None:
    folder = tmp_path / 'd'
    for kind in ('images', 'semantic'):
        (folder / kind).mkdir(parents=True)
    label = np.zeros(SIZE, np.uint16)
    label[:, :20], label[:, 20:40], label[:, 40:] = 1, 300, 257
    cv2.imwrite(str(folder / 'semantic' / 'a.png'), label)
    cv2.imwrite(str(folder / 'images' / 'a.png'), np.zeros((*SIZE, 3), np.uint8))
    (folder / 'names.yaml').write_text(
        'classes: {1: wall-brick, 257: person, 300: floor-wood, 44: chair}\n'
    )
    (sample,) = read_segmentation(folder, CLASSES)
    truth = TruthFiles(folder, CLASSES).find('a', SIZE)
    assert truth is not None
    assert sample.semantic is not None
    np.testing.assert_array_equal(sample.semantic(), truth.segmentation)
    assert sample.semantic()[0, 50] == CLASSES.segmentation_id('person')


def test_photographs_are_read_upright(tmp_path: Path) -> None:
    """EXIF orientation 6: the stored 240x320 is shown as 320x240."""
    stored = np.full((240, 320, 3), 90, np.uint8)
    stored[:60, :80] = (0, 0, 250)
    jpeg = cv2.imencode('.jpg', stored)[1].tobytes()
    tiff = b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 0x112, 3, 1, 6, 0, 0)
    exif = b'Exif\0\0' + tiff
    content = jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:]
    folder = tmp_path / 'd'
    for kind in ('images', 'semantic'):
        (folder / kind).mkdir(parents=True)
    (folder / 'images' / 'a.jpg').write_bytes(content)
    cv2.imwrite(str(folder / 'semantic' / 'a.png'), np.ones((320, 240), np.uint8))
    (folder / 'names.yaml').write_text('classes: {1: wall-brick}\n')
    (sample,) = read_segmentation(folder, CLASSES)
    assert sample.size == (320, 240)
    image = sample.image()
    assert image.shape == (320, 240, 3)
    assert image[30, 210, 2] > 200
    # Annotations of the stored grid decide in doubt.
    (folder / 'instances.json').write_text(
        json.dumps(
            {
                'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 240, 'width': 320}],
                'annotations': [],
                'categories': [{'id': 1, 'name': 'person'}],
            }
        )
    )
    import shutil

    shutil.rmtree(folder / 'semantic')
    (sample,) = read_coco(folder, CLASSES)
    assert sample.image().shape == (240, 320, 3)


def test_yolo_folders_train(tmp_path: Path) -> None:
    folder = tmp_path / 'yolo'
    for split in ('train', 'valid'):
        (folder / split / 'images').mkdir(parents=True)
        (folder / split / 'labels').mkdir()
        cv2.imwrite(str(folder / split / 'images' / 'a.png'), np.zeros((*SIZE, 3), np.uint8))
        (folder / split / 'labels' / 'a.txt').write_text('1 0.5 0.5 0.25 0.5\nbroken line\n')
    (folder / 'data.yaml').write_text('names: [person, chair]\n')
    (sample,) = read_coco(folder, CLASSES, 'train')
    assert sample.boxes is not None
    np.testing.assert_allclose(sample.boxes.corners, [[24, 12, 40, 36]])
    assert sample.boxes.classes.tolist() == [1]
    assert detector_classes(folder / 'data.yaml') == ('person', 'chair')


def test_tum_sequences_have_depth(tmp_path: Path) -> None:
    for kind in ('rgb', 'depth'):
        (tmp_path / kind).mkdir()
    cv2.imwrite(str(tmp_path / 'rgb' / '1305031102.175304.png'), np.zeros((*SIZE, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'depth' / '1305031102.160407.png'), np.full(SIZE, 10000, np.uint16))
    (sample,) = read_rgbd(tmp_path, CLASSES, 50.0, 'all')
    depth = sample.depth()
    assert depth is not None
    assert float(depth[0, 0]) == pytest.approx(2.0)


def test_a_label_image_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / 'd'
    for kind in ('images', 'semantic'):
        (folder / kind).mkdir(parents=True)
    cv2.imwrite(str(folder / 'images' / 'a.png'), np.zeros((*SIZE, 3), np.uint8))
    cv2.imwrite(str(folder / 'semantic' / 'a.png'), np.zeros((48, 48), np.uint8))
    (folder / 'names.yaml').write_text('classes: {1: wall-brick}\n')
    (sample,) = read_maps(folder, CLASSES, ReadOptions())
    assert sample.semantic is not None
    with pytest.raises(PerceptionError, match='another shape'):
        sample.semantic()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(JSON, max_size=4), JSON, JSON)
def test_any_annotation_is_read_or_refused_in_our_words(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[Any], area: Any, outline: Any
) -> None:
    folder = tmp_path_factory.mktemp('fuzz')
    change = append(bbox=boxes, area=area, segmentation=outline)
    try:
        samples = read_coco(write_coco(folder, change), CLASSES)
    except PerceptionError:
        return
    for sample in samples:
        make_example(sample, (64, 64), np.random.default_rng(0))
