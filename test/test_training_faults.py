# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged checkpoints, logs and annotations, runs of other commands, two trainings into one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')

import tiny_data
from test_training_loop import HEADS, LABELS, RECIPE
from tiny_run import save_run

from mt_perception.cli.main import main
from mt_perception.cli.training_options import exclusive
from mt_perception.errors import ModelError, OutputError, SourceError
from mt_perception.network.multitask import build
from mt_perception.network.pretrained import load_yolox
from mt_perception.training.checkpoint import FILE, NETWORK, load_checkpoint, load_weights
from mt_perception.training.data.augment import make_example
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.check_data import check_files
from mt_perception.training.data.label_images import fill_polygons
from mt_perception.training.data.read_datasets import detector_classes, read_coco
from mt_perception.training.data.recipe_sets import read_sets
from mt_perception.training.data.samples import Sample, read_array
from mt_perception.training.distillation.teachers import relative_depth_teacher, voc_teacher
from mt_perception.training.loop import train
from mt_perception.training.losses.objective import check_finite
from mt_perception.training.recipe import SetSpec, Weights
from mt_perception.training.run_record import LOG, RECORD, RunLog, record_run
from mt_perception.training.schedules.optimizer import make_optimizer
from mt_perception.training.start import check_teacher, read_start

CLASSES = tiny_data.classes()


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'no checkpoint', b'\x80\x02}q\x00.'])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ModelError, match=FILE):
        load_checkpoint(tmp_path, NETWORK)


def test_a_cut_off_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({'step': 1, 'network': torch.zeros(1000)}, tmp_path / FILE)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match='is damaged, or no checkpoint'):
        load_checkpoint(tmp_path)


def test_a_run_of_another_command_is_no_start(tmp_path: Path) -> None:
    torch.save({'step': 1, 'remote': {}, 'optimizer': {}}, tmp_path / FILE)
    with pytest.raises(ModelError, match=r'has no name, .*: it is of a run of another command'):
        read_start(tmp_path)
    assert main(['export', str(tmp_path), str(tmp_path / 'model')]) == 1


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    network = build('cspnano', len(LABELS[0]), len(LABELS[1]))
    others = torch.nn.Linear(2, 2).state_dict()
    run = save_run(tmp_path / 'run', network, LABELS, average=others)
    with pytest.raises(ModelError, match='"average" of the checkpoint does not fit'):
        read_start(run)
    with pytest.raises(ModelError, match='"optimizer" of the checkpoint does not fit'):
        load_weights(torch.optim.SGD(network.parameters()), {'optimizer': {}}, 'optimizer')


def test_a_recipe_of_another_run_leaves_the_run_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from test_training_own_data import documented_recipe, own_data

    network = build('cspnano', 1, 1)
    run = save_run(tmp_path / 'run', network, (['cat'], ['wall']))
    (run / 'recipe.yaml').write_text('of this run')
    recipe, data = documented_recipe(tmp_path), own_data(tmp_path / 'data')
    given = ['train', str(recipe), '--data', str(data), '--out', str(run)]
    assert main(given) == 1
    assert 'started with other classes' in ' '.join(capsys.readouterr().err.split())
    assert (run / 'recipe.yaml').read_text() == 'of this run'


def test_rows_that_a_full_disk_cut_off_are_dropped(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b'1,a,loss,2\nx,a\n\xff\n2,a,loss,1\n3,a,loss,1\n1')
    RunLog(tmp_path, 2).add(3, 'a', {'loss': 0.5})
    assert (tmp_path / LOG).read_text() == '1,a,loss,2\n2,a,loss,1\n3,a,loss,0.5\n'


def test_a_damaged_record_says_what_to_do(tmp_path: Path) -> None:
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text('')
    (tmp_path / RECORD).write_text('started: 1\n')
    with pytest.raises(ModelError, match='expected a list of starts; it is damaged, remove it'):
        record_run(tmp_path, recipe, RECIPE, ())


def test_a_second_training_into_a_run_is_refused(tmp_path: Path) -> None:
    run = tmp_path / 'run'
    with (
        exclusive(run),
        pytest.raises(OutputError, match='another command is writing to'),
        exclusive(run),
    ):
        pass
    with exclusive(run):
        pass


def test_losses_that_are_not_finite_end_the_training() -> None:
    good, bad = torch.tensor(1.0), torch.tensor(float('nan'))
    check_finite({'depth': good})
    with pytest.raises(ModelError, match=r'diverged: depth, dice is not finite. Lower'):
        check_finite({'segmentation': good, 'depth': bad, 'dice': torch.tensor(float('inf'))})


def test_outlines_far_outside_are_drawn_at_once() -> None:
    far = 1e12
    ring = np.array([[0, 0], [far, 0], [far, far], [0, far]], np.float32)
    assert (fill_polygons(tiny_data.SIZE, [(3, [ring])]) == 3).all()


@pytest.mark.parametrize(
    ('size', 'said'),
    [((480_000, 640_000), 'in its annotation; too many'), ((64, 48), 'another shape')],
)
def test_sizes_of_annotations_are_compared_with_the_images(
    tmp_path: Path, size: tuple[int, int], said: str
) -> None:
    folder = tiny_data.write_coco(tmp_path / 'coco', images=1)
    index = json.loads((folder / 'instances.json').read_text())
    index['images'][0] |= {'height': size[0], 'width': size[1]}
    (folder / 'instances.json').write_text(json.dumps(index))
    with pytest.raises(SourceError, match=said):
        list(check_files([SampleSet('coco', tuple(read_coco(folder, CLASSES)), 1.0)]))


def test_a_teacher_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pytest.importorskip('ai_edge_litert')
    for content in (None, b'{}'):
        path = tmp_path / 'teacher'
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match='missing or no TensorFlow Lite file'):
            voc_teacher(path)
        with pytest.raises(ModelError, match='missing or no ONNX file'):
            relative_depth_teacher(path)
        with pytest.raises(ModelError, match='missing or no ONNX file'):
            load_yolox(build('cspnano', 3, 3), path)
    path.write_bytes(b'')
    with pytest.raises(ModelError, match='has no convolution'):
        load_yolox(build('cspnano', 3, 3), path)


def test_a_damaged_or_foreign_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'labels.npy'
    path.write_bytes(b'\x93NUMPY')
    with pytest.raises(SourceError, match='missing or damaged; remove it'):
        read_array(path)
    folder = tiny_data.write_coco(tmp_path / 'coco')
    spec = SetSpec('coco', 'coco', 'coco', 1.0, soft_labels=True)
    cached = tmp_path / 'cache' / 'pixels' / 'coco_000.npy'
    cached.parent.mkdir(parents=True)
    np.save(cached, np.zeros((6, 8, 99), np.uint8))
    with pytest.raises(ModelError, match='has soft labels of shape'):
        read_sets(replace(RECIPE, sets=(spec,)), folder.parent, CLASSES, tmp_path / 'cache')


def test_images_that_would_share_their_predictions_are_refused(tmp_path: Path) -> None:
    specs = []
    for name in ('a', 'b'):
        tiny_data.write_coco(tmp_path / name / 'train')
        specs.append(SetSpec(name, 'coco', f'{name}/train', 1.0, voc_labels=True))
    recipe = replace(RECIPE, sets=tuple(specs))
    with pytest.raises(SourceError, match='are both called train_000 in the cache'):
        read_sets(recipe, tmp_path, CLASSES, tmp_path / 'cache')
    plain = replace(recipe, sets=tuple(replace(spec, voc_labels=False) for spec in specs))
    assert len(read_sets(plain, tmp_path, CLASSES, tmp_path / 'cache')) == 2


def test_an_image_of_one_row_is_placed_on_the_canvas(tmp_path: Path) -> None:
    path = tmp_path / 'row.png'
    cv2.imwrite(str(path), np.zeros((1, 3000, 3), np.uint8))
    sample = Sample('row', path, (1, 3000))
    for seed in range(40):
        example = make_example(sample, (64, 96), np.random.default_rng(seed))
        assert example.image.shape == (64, 96, 3)


def test_a_detector_needs_classes(tmp_path: Path) -> None:
    folder = tiny_data.write_coco(tmp_path / 'coco', names=())
    with pytest.raises(SourceError, match='has 0 classes; a detector has 1 to 255'):
        detector_classes(folder / 'instances.json')


def test_a_phase_without_learning_rates_is_named() -> None:
    network = build('cspnano', 3, 3)
    with pytest.raises(ModelError, match='phase heads: no part of the network has a learning'):
        make_optimizer(network, replace(HEADS, learning_rates={'segmentation': 0.0}), 0.0)


def test_detections_are_not_distilled_from_random_weights() -> None:
    with pytest.raises(ModelError, match='needs a network that detects: set initial_weights'):
        check_teacher(RECIPE, None)
    check_teacher(replace(RECIPE, initial_weights='yolox.onnx'), None)
    check_teacher(replace(RECIPE, phases=(HEADS,)), None)


def test_a_batch_without_labels_of_the_only_loss_trains_nothing(tmp_path: Path) -> None:
    phase = replace(HEADS, weights=Weights(relative_depth=1), learning_rates={'depth': 1e-3})
    coco = read_coco(tiny_data.write_coco(tmp_path / 'coco'), CLASSES)
    sets = (SampleSet('coco', tuple(coco), 1.0),)
    recipe = replace(RECIPE, phases=(phase,))
    steps = list(train(recipe, sets, LABELS, None, tmp_path / 'run'))
    assert [now.losses for now in steps] == [{'relative_depth': 0.0}] * 2
