# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('torch')

import tiny_data

from mt_perception.image.read import read_image
from mt_perception.training.data.read_datasets import read_coco
from mt_perception.training.distillation.teachers import (
    VOC_NAMES,
    cache_predictions,
    relative_depth_teacher,
    with_relative_depth,
    with_voc_labels,
)
from mt_perception.types import UNLABELLED

CLASSES = tiny_data.classes()
PERSON, CHAIR, CAR = (VOC_NAMES.index(name) for name in ('person', 'chair', 'car'))


def index(name: str) -> int:
    return CLASSES.segmentation.index(name)


def test_a_teacher_is_asked_once_about_each_image(tmp_path: Path) -> None:
    samples = read_coco(tiny_data.write_coco(tmp_path / 'coco'), CLASSES)
    asked = []

    def predict(image: np.ndarray) -> np.ndarray:
        asked.append(image.shape)
        return np.full(image.shape[:2], 7, np.uint8)

    cache = tmp_path / 'cache'
    assert list(cache_predictions(samples[:2], predict, cache)) == ['coco_000', 'coco_001']
    assert list(cache_predictions(samples, predict, cache)) == [s.name for s in samples]
    assert len(asked) == len(samples)
    assert sorted(p.name for p in cache.iterdir()) == [f'coco_{n:03}.png' for n in range(4)]


def test_opinions_fill_what_is_unlabelled_and_nothing_else(tmp_path: Path) -> None:
    sample = read_coco(tiny_data.write_coco(tmp_path / 'coco'), CLASSES)[1]
    predicted = np.zeros((24, 32), np.uint8)  # background, at half the image's size
    predicted[18:] = CAR
    predicted[:, :5] = CHAIR
    predicted[0, 31] = UNLABELLED
    cache = tmp_path / 'cache'
    cache.mkdir()
    cv2.imwrite(str(cache / 'coco_001.png'), predicted)
    label = with_voc_labels(sample, cache, CLASSES).semantic()
    assert label.shape == tiny_data.SIZE
    assert label[20, 6] == index('person'), 'a label of the set stands'
    assert label[40, 2] == index('seat')
    assert label[40, 40] == index('vehicle')
    assert label[4, 40] == UNLABELLED, 'background is no class of ours'
    assert label[0, 63] == UNLABELLED, 'the teacher was not sure'


def test_a_person_outside_all_boxes_is_a_mistake(tmp_path: Path) -> None:
    folder = tiny_data.write_coco(tmp_path / 'people', names=('person',))
    sample = read_coco(folder, CLASSES)[1]
    cache = tmp_path / 'cache'
    cache.mkdir()
    predicted = np.full(tiny_data.SIZE, PERSON, np.uint8)
    cv2.imwrite(str(cache / f'{sample.name}.png'), predicted)
    without = type(sample)(sample.name, sample.image_path, sample.size, sample.boxes)
    label = with_voc_labels(without, cache, CLASSES).semantic()
    x1, y1, x2, y2 = sample.boxes.corners[0].astype(int)
    assert (label[y1:y2, x1:x2] == index('person')).all()
    outside = np.ones(label.shape, bool)
    outside[y1 : y2 + 1, x1 : x2 + 1] = False
    assert (label[outside] == UNLABELLED).all()


def test_relative_depth_of_the_real_teacher_is_nearer_below(data: Path, tmp_path: Path) -> None:
    """A robot's floor: what lies at the lower edge is nearer than what lies in the middle."""
    path = data / 'rgbd' / 'robot_lab' / 'rgb' / '000060.jpg'
    predict = relative_depth_teacher(data / 'teachers' / 'tcmonodepth_tcsmallnet_192x320.onnx')
    inverse = predict(read_image(path)).astype(np.float64)
    assert inverse.min() == 0
    assert inverse.max() >= 65534
    assert np.median(inverse[-20:]) > np.median(inverse[60:100])


def test_samples_know_where_the_opinion_lies(tmp_path: Path) -> None:
    sample = read_coco(tiny_data.write_coco(tmp_path / 'coco'), CLASSES)[0]
    assert with_relative_depth(sample, tmp_path).relative_depth_path == tmp_path / 'coco_000.png'
