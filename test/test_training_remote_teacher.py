# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labels of the remote networks, and how a network learns from their boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')

import tiny_data

from mt_perception.errors import ModelError
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.model.folder import read_manifest
from mt_perception.network.detection import RawDetections, cells_of
from mt_perception.training.data.augment import make_example
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.samples import Boxes, Sample
from mt_perception.training.distillation.remote_teacher import (
    RemoteTeacher,
    write_remote_labels,
)
from mt_perception.training.losses.detection import detection_loss
from mt_perception.training.recipe import SetSpec, read_recipe
from mt_perception.types import DETECTION, SEGMENTATION

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / 'models' / 'cspnano'


@pytest.fixture(scope='module')
def classes() -> ClassMap:
    tasks = read_manifest(MODEL).tasks
    return ClassMap(tasks[DETECTION].labels, tasks[SEGMENTATION].labels, read_taxonomy())


@pytest.fixture(scope='module')
def photograph() -> np.ndarray:
    image = cv2.imread(str(ROOT / 'docs' / 'picture.jpg'))
    return image[: image.shape[0] // 32 * 32, : image.shape[1] // 2 // 32 * 32]


def test_labels_belong_to_the_image_whatever_its_size(
    classes: ClassMap, photograph: np.ndarray
) -> None:
    teacher = RemoteTeacher(MODEL, (classes.detection, classes.segmentation))
    large = cv2.resize(photograph, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    (boxes, pixels), (larger, _) = teacher.predict(photograph), teacher.predict(large)
    assert boxes.scores is not None
    assert larger.scores is not None
    assert boxes.scores[0] > 0.3, 'there is something to see'
    assert larger.classes[0] == boxes.classes[0]
    np.testing.assert_allclose(larger.corners[0], 2 * boxes.corners[0], rtol=0.1, atol=16)
    height, width = photograph.shape[:2]
    assert boxes.corners[0, 2] <= 1.05 * width
    assert boxes.corners[0, 3] <= 1.05 * height
    assert pixels.shape[2] == len(classes.segmentation)
    np.testing.assert_allclose(pixels.sum(dim=2), 1, atol=1e-3)
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(height / width, rel=0.05)


def test_written_labels_reach_an_example(
    tmp_path: Path, classes: ClassMap, photograph: np.ndarray
) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), photograph)
    sample = Sample('a', tmp_path / 'a.png', photograph.shape[:2])
    sample = replace(
        sample,
        soft_label_path=tmp_path / 'cache' / 'pixels' / 'a.npy',
        teacher_boxes_path=tmp_path / 'cache' / 'boxes' / 'a.npy',
    )
    recipe = read_recipe(ROOT / 'recipes' / 'cspnano_joint.yaml')
    recipe = replace(recipe, sets=(SetSpec('one', 'coco', 'one', 1.0),))
    sets = (SampleSet('one', (sample,), 1.0),)
    assert list(write_remote_labels(recipe, sets, tmp_path, classes, MODEL)) == [(1, 1)]
    assert list(write_remote_labels(recipe, sets, tmp_path, classes, MODEL)) == [], 'kept'
    read = sample.teacher_boxes()
    assert read is not None
    example = make_example(sample, (256, 320), np.random.default_rng(1))
    assert example.teacher_boxes is not None
    assert example.teacher_boxes.scores is not None
    assert set(example.teacher_boxes.scores) <= set(read.scores)
    assert example.boxes is None
    assert example.soft_labels is not None
    assert example.soft_labels.sum(axis=0).max() > 250


def test_other_classes_have_no_remote_teacher() -> None:
    own = tiny_data.classes()
    with pytest.raises(ModelError, match='other classes'):
        RemoteTeacher(MODEL, (own.detection, own.segmentation))


def test_a_box_with_a_low_score_has_a_low_target() -> None:
    """Objectness of assigned cells is trained towards the teacher's score."""
    cells = cells_of(tuple(torch.zeros(1, 1, n, n) for n in (8, 4, 2)))
    count = len(cells[0])

    def gradient(score: float | None) -> torch.Tensor:
        torch.manual_seed(0)
        raw = RawDetections(
            torch.randn(1, count, 4) * 0.3,
            torch.zeros(1, count, requires_grad=True),
            torch.randn(1, count, 3),
        )
        scores = None if score is None else np.array([score], np.float32)
        corners = np.array([[8, 8, 40, 40]], np.float32)
        boxes = Boxes(corners, np.zeros(1, np.int64), True, scores)
        detection_loss(raw, cells, [boxes]).backward()
        assert raw.objectness.grad is not None
        return raw.objectness.grad[0]

    label, sure, unsure = gradient(None), gradient(1.0), gradient(0.2)
    torch.testing.assert_close(label, sure)
    wanted = label < 0
    assert wanted.any()
    # At a logit of 0 the gradient is 0.5 less the target.
    torch.testing.assert_close(
        unsure[wanted] / label[wanted], torch.full_like(label[wanted], -0.6)
    )
    torch.testing.assert_close(unsure[~wanted], label[~wanted])


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'remote_teacher': False}, 'have teacher_boxes; set remote_teacher: true'),
        ({'tilt': True}, 'whose cameras are known'),
    ],
)
def test_options_without_what_they_need_are_refused(
    tmp_path: Path, changes: dict[str, bool], reason: str
) -> None:
    text = (ROOT / 'recipes' / 'cspnano_joint.yaml').read_text()
    text = text.replace('parts: splits/cspnano.yaml\n', '')
    if 'tilt' in changes:
        text = text.replace('weight: 3.4,', 'weight: 3.4, tilt_deg: 5,')
    else:
        text = text.replace('remote_teacher: true', 'remote_teacher: false')
    (tmp_path / 'recipe.yaml').write_text(text)
    with pytest.raises(ModelError, match=reason):
        read_recipe(tmp_path / 'recipe.yaml')
