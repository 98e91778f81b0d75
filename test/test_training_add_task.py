# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from tiny_run import save_run

from mt_perception.errors import ModelError
from mt_perception.network.multitask import Multitask, build
from mt_perception.pipeline import Pipeline
from mt_perception.training.add_task import (
    add_task,
    detector_metrics,
)
from mt_perception.training.export.replace_head import replace_head
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.start import read_start, start_network
from mt_perception.types import Detections, Frame

LABELS = (('cup', 'cat'), ('floor', 'wall'))
CARD = ModelCard('tiny', '1', 'Apache-2.0', 'A test.', *LABELS)
DOORS = ('door', 'handle', 'cabinet door', 'refrigerator door')


def started(path: Path, labels: tuple[tuple[str, ...], tuple[str, ...]]) -> Multitask:
    return start_network(read_start(path), 'cspnano', labels).network.eval()


@pytest.fixture(scope='module')
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A finished run, its model folder, and a run of another task on its trunk."""
    folder = tmp_path_factory.mktemp('runs')
    torch.manual_seed(0)
    network = build('cspnano', 2, 2).eval()
    base = save_run(folder / 'base', network, LABELS)
    export_folder(network, CARD, folder / 'model')
    leaf = started(base, (DOORS, CARD.segmentation_labels))
    return base, folder / 'model', save_run(folder / 'doors', leaf, (DOORS, LABELS[1]))


def test_the_new_head_keeps_what_is_not_about_classes(runs: tuple[Path, Path, Path]) -> None:
    network = started(runs[0], (DOORS, CARD.segmentation_labels))
    before = torch.load(runs[0] / 'checkpoint.pt', weights_only=True)['average']
    after = network.state_dict()
    changed = {n for n, v in after.items() if v.shape != before[n].shape or (v != before[n]).any()}
    assert changed
    assert all('.classes.' in name for name in changed)


def test_a_leaf_is_one_more_task_and_changes_nothing_else(
    runs: tuple[Path, Path, Path],
) -> None:
    _, model, doors = runs
    frame = Frame(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    before = Pipeline.load(model).run(frame)
    assert add_task(doors, model, 'doors') == {}
    pipeline = Pipeline.load(model)
    assert pipeline.manifest.tasks['doors'].labels == DOORS
    after = pipeline.run(frame)
    assert isinstance(after.extra['doors'], Detections)
    assert not after.failures
    assert before.segmentation is not None
    assert after.segmentation is not None
    np.testing.assert_array_equal(before.segmentation.class_ids, after.segmentation.class_ids)
    # A plan for the new task alone runs the trunk and its own head.
    alone = pipeline.run(frame, ('doors',))
    assert alone.execution.blocks == ('trunk', 'doors')
    assert alone.detections is None
    # Adding it again replaces it.
    add_task(doors, model, 'doors')
    assert list(Pipeline.load(model).manifest.tasks) == [
        'detection',
        'segmentation',
        'depth',
        'doors',
    ]


def test_a_leaf_of_another_trunk_is_refused(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = save_run(tmp_path / 'other', build('cspnano', 4, 2), (DOORS, LABELS[1]))
    with pytest.raises(ModelError, match='not the one that the task was trained on'):
        add_task(other, runs[1], 'other_doors')


def test_a_leaf_is_measured_on_images_it_was_not_trained_on(
    runs: tuple[Path, Path, Path], data: Path, tmp_path: Path
) -> None:
    import json

    source = data / 'doors'
    index = json.loads((source / 'instances.json').read_text(encoding='utf-8'))
    images = sorted(index['images'], key=lambda image: str(image['file_name']))[:20]
    ids = {image['id'] for image in images}
    (tmp_path / 'images').mkdir()
    for image in images:
        shutil.copy(source / 'images' / image['file_name'], tmp_path / 'images')
    index['images'] = images
    index['annotations'] = [a for a in index['annotations'] if a['image_id'] in ids]
    (tmp_path / 'instances.json').write_text(json.dumps(index), encoding='utf-8')
    add_task(runs[2], runs[1], 'doors')
    figures = detector_metrics(Pipeline.load(runs[1]), tmp_path, 'doors')
    assert set(figures) == {'ap', 'ap50'}
    assert 0 <= figures['ap'] <= figures['ap50'] < 0.2


def test_training_starts_from_a_model_folder_as_from_its_run(
    runs: tuple[Path, Path, Path],
) -> None:
    base, model, _ = runs
    labels = (CARD.detection_labels, CARD.segmentation_labels)
    from_run, from_model = (
        started(base, labels),
        started(model, labels),
    )
    for (name, one), other in zip(
        from_run.state_dict().items(), from_model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_one_head_is_replaced_and_nothing_else(
    runs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    labels = (CARD.detection_labels, CARD.segmentation_labels)
    model = tmp_path / 'model'
    shutil.copytree(runs[1], model)
    network = started(runs[0], labels)
    with torch.no_grad():
        network.depth.predict.bias.add_(1.0)
    run = save_run(tmp_path / 'run', network, LABELS)
    frame = Frame(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    before = Pipeline.load(model).run(frame)
    files = {path.name: path.read_bytes() for path in model.glob('*.onnx')}
    assert replace_head(run, model, 'depth', '9.9').name == 'depth.onnx'
    changed = [path.name for path in model.glob('*.onnx') if path.read_bytes() != files[path.name]]
    assert changed == ['depth.onnx']
    pipeline = Pipeline.load(model)
    after = pipeline.run(frame)
    assert pipeline.manifest.version == '9.9'
    assert before.depth is not None
    assert after.depth is not None
    known = np.isfinite(before.depth.depth) & np.isfinite(after.depth.depth)
    ratio = after.depth.depth[known] / before.depth.depth[known]
    np.testing.assert_allclose(ratio, np.e, rtol=1e-3)


def test_a_head_of_another_trunk_or_task_is_refused(
    runs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    torch.manual_seed(6)
    other = save_run(tmp_path / 'other', build('cspnano', 2, 2), LABELS)
    with pytest.raises(ModelError, match='trunk'):
        replace_head(other, runs[1], 'depth', '1')
    with pytest.raises(ModelError, match='expected one of'):
        replace_head(runs[0], runs[1], 'flow', '1')
    with pytest.raises(ModelError, match='classes'):
        replace_head(runs[2], runs[1], 'detection', '1')
