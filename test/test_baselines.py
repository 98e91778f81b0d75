# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plain ONNX networks as baselines: real ones on real images, and sentences for what is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mt_perception.errors import ModelError
from mt_perception.evaluation.baselines import Baseline, open_baseline
from mt_perception.evaluation.baselines.labels import COCO, VOC, VOC_SHARED
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.execution.options import Options
from mt_perception.model.importers.onnx_macs import count_macs
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Frame

onnx = pytest.importorskip('onnx')

EVERYTHING = Options(score_threshold=0.0)
DETECTORS = {
    'yolox_nano_416.onnx': 0.28,
    'picodet_s_416_coco.onnx': 0.30,
    'FastestDet.onnx': 0.14,
}


def save(path: Path, shape: list[int], weights: tuple[int, ...]) -> Path:
    """A convolution as an ONNX file."""
    helper = onnx.helper
    size = [shape[0], weights[0], *shape[2:]]
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w'], ['y'], pads=[weights[-1] // 2] * 4)],
        'net',
        [helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, size)],
        [onnx.numpy_helper.from_array(np.full(weights, 0.01, np.float32), 'w')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def teachers(data: Path) -> Path:
    return data / 'teachers'


def photograph(data: Path) -> Frame:
    """A photograph with people in it."""
    return Frame(cv2.imread(str(sorted((data / 'people' / 'images').iterdir())[0])))


@pytest.mark.parametrize('name', DETECTORS)
def test_detectors_reach_what_they_are_known_for(data: Path, teachers: Path, name: str) -> None:
    baseline = open_baseline(f'onnx:{teachers / name}', EVERYTHING)
    classes = ClassMap(baseline.labels[DETECTION], (), read_taxonomy())
    metric = DetectionMetric()
    with open_samples(str(data / 'coco'), SourceOptions(split='val2017'), classes) as samples:
        for sample, _ in zip(samples, range(40), strict=False):
            result = baseline.run(sample.frame)
            assert not result.failures
            metric.process(sample, result)
    assert metric.evaluate()['ap'] > DETECTORS[name]


def test_boxes_lie_inside_images_of_any_shape(teachers: Path) -> None:
    rng = np.random.default_rng(0)
    for name in DETECTORS:
        baseline = open_baseline(f'onnx:{teachers / name}', EVERYTHING)
        for height, width in ((37, 301), (301, 37), (1, 2)):
            image = rng.integers(0, 255, (height, width, 3), np.uint8)
            found = baseline.run(Frame(image)).detections
            assert (found.boxes >= 0).all()
            assert (found.boxes <= [width, height] * 2).all()


def test_three_networks_in_one(data: Path, teachers: Path) -> None:
    names = ('yolox_nano_416', 'deeplabv3_257_pascal_float', 'tcmonodepth_tcsmallnet_192x320')
    baseline = open_baseline('onnx:' + '+'.join(str(teachers / f'{name}.onnx') for name in names))
    assert set(baseline.labels) == {DETECTION, SEGMENTATION, DEPTH}
    assert baseline.name == '+'.join(names)
    frame = photograph(data)
    result = baseline.run(frame)
    size = frame.image.shape[:2]
    assert 'person' in {COCO[i] for i in result.detections.class_ids}
    assert result.segmentation.class_ids.shape == size
    assert result.segmentation.labels[0] == 'person'
    assert (result.segmentation.class_ids == 0).mean() > 0.02
    assert result.depth.relative
    assert result.depth.depth.shape == size
    assert (result.depth.depth > 0).all()
    run = result.execution
    assert run.blocks == names
    assert set(run.stage_ms) == {'preprocess', 'inference', 'postprocess', 'total'}
    assert tuple(run.block_ms) == names
    assert run.macs == pytest.approx(522.6e6 + 725.8e6 + 213.6e6, rel=0.01)
    # Only what is wanted runs.
    alone = baseline.run(frame, {DEPTH})
    assert alone.execution.blocks == names[2:]
    assert alone.detections is None


def test_two_runs_are_equal(data: Path, teachers: Path) -> None:
    frame = photograph(data)
    baseline = open_baseline(f'onnx:{teachers / "picodet_s_416_coco.onnx"}')
    one, two = baseline.run(frame).detections, baseline.run(frame).detections
    assert (one.boxes == two.boxes).all()
    assert (one.scores == two.scores).all()


def test_relative_depth_beats_a_constant_after_the_fit(data: Path, teachers: Path) -> None:
    baseline = open_baseline(f'onnx:{teachers / "tcmonodepth_tcsmallnet_192x320.onnx"}')
    metric = DepthMetric()
    folder = str(data / 'rgbd' / 'tabletop_mosd')
    with open_samples(folder, SourceOptions(), ClassMap((), (), read_taxonomy())) as samples:
        for sample, _ in zip(samples, range(10), strict=False):
            metric.process(sample, baseline.run(sample.frame))
    figures = metric.evaluate()
    assert figures['affine']['abs_rel'] < 0.7 * figures['constant']['abs_rel']
    assert 'metric' not in figures


@pytest.mark.parametrize(
    ('spec', 'sentence'),
    [
        ('yolox.onnx', 'given as onnx:FILE'),
        ('onnx:', 'given as onnx:FILE'),
        ('onnx:no_such_file.onnx', 'cannot be read'),
    ],
)
def test_what_is_no_baseline_is_refused(spec: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        open_baseline(spec)


def test_files_that_are_no_network_or_of_no_known_kind(tmp_path: Path) -> None:
    text = tmp_path / 'text.onnx'
    text.write_text('not a network')
    with pytest.raises(ModelError, match='cannot be read as ONNX'):
        open_baseline(f'onnx:{text}')
    unknown = save(tmp_path / 'unknown.onnx', [1, 3, 8, 8], (4, 3, 1, 1))
    with pytest.raises(ModelError, match='no known decoder fits'):
        open_baseline(f'onnx:{unknown}')
    depth = save(tmp_path / 'depth.onnx', [1, 3, 8, 8], (1, 3, 1, 1))
    with pytest.raises(ModelError, match='two networks of a baseline serve one task'):
        open_baseline(f'onnx:{depth}+{depth}')


def test_names_of_another_detector_lie_beside_it(tmp_path: Path) -> None:
    net = save(tmp_path / 'mine.onnx', [1, 3, 32, 32], (7, 3, 1, 1))
    with pytest.raises(ModelError, match='2 classes and there are 80 labels'):
        open_baseline(f'onnx:{net}:fastestdet')
    (tmp_path / 'mine.txt').write_text('cup\ndoor\n')
    assert open_baseline(f'onnx:{net}:fastestdet').labels == {DETECTION: ('cup', 'door')}


def test_a_network_that_makes_no_sense_fails_alone(tmp_path: Path) -> None:
    net = save(tmp_path / 'depth.onnx', [1, 3, 8, 8], (1, 3, 1, 1))
    baseline = open_baseline(f'onnx:{net}')
    assert isinstance(baseline, Baseline)
    black = baseline.run(Frame(np.zeros((9, 9, 3), np.uint8)))
    assert black.depth is None
    assert 'no positive inverse depth' in black.failures[DEPTH]
    assert baseline.run(Frame(np.full((9, 9, 3), 200, np.uint8))).depth is not None


def test_macs_of_a_convolution(tmp_path: Path) -> None:
    net = save(tmp_path / 'net.onnx', [1, 3, 10, 12], (5, 3, 3, 3))
    assert count_macs(net.read_bytes()) == 5 * 10 * 12 * 3 * 3 * 3


def test_shared_classes_are_known_to_both_sides() -> None:
    taxonomy = read_taxonomy()
    for ours, theirs in VOC_SHARED.items():
        assert ours in taxonomy.labels
        assert set(theirs) <= set(VOC)
        assert {taxonomy.gather(name) for name in theirs} == {ours}
