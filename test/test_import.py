# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of other projects become model folders: every family, size, type and opset."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mt_perception.cli.main import main
from mt_perception.errors import ModelError
from mt_perception.image.letterbox import fit_inside
from mt_perception.model.importers import foreign_network
from mt_perception.model.importers.choice import Card, Choice
from mt_perception.model.importers.find_preset import _detection
from mt_perception.model.importers.folder_writer import write_model_folder
from mt_perception.model.importers.import_plan import plan_import
from mt_perception.model.importers.label_files import read_labels
from mt_perception.model.importers.onnx_macs import node_macs
from mt_perception.model.importers.preprocess import Preprocess, prepare_graph
from mt_perception.model.importers.presets import PRESETS
from mt_perception.model.sessions import open_session
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame, Result

SIDE = 64
LABELS = ('cup', 'door', 'cat')
BOX = (16, 8, 48, 40)
"""Of every synthetic detector, in network pixels: class 1, score 0.9."""


def save(
    path: Path,
    outputs: Mapping[str, np.ndarray],
    *,
    shape: Sequence[int | str] = (1, 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
    extra: Mapping[str, tuple[int, Sequence[int]]] | None = None,
) -> Path:
    """A network that returns constants, and reads its image all the same."""
    nodes, weights, made = [], [], []
    for index, (name, value) in enumerate(outputs.items()):
        weights.append(numpy_helper.from_array(value, f'w{index}'))
        to = helper.np_dtype_to_tensor_dtype(value.dtype)
        nodes += [
            helper.make_node('ReduceMax', ['image'], [f'm{index}'], keepdims=0),
            helper.make_node('Cast', [f'm{index}'], [f'f{index}'], to=TensorProto.FLOAT),
            helper.make_node('Clip', [f'f{index}', 'zero', 'zero'], [f'z{index}']),
            helper.make_node('Cast', [f'z{index}'], [f'c{index}'], to=to),
            helper.make_node('Add', [f'w{index}', f'c{index}'], [name]),
        ]
        made.append(helper.make_tensor_value_info(name, to, value.shape))
    weights.append(numpy_helper.from_array(np.array(0, np.float32), 'zero'))
    inputs = [helper.make_tensor_value_info('image', kind, shape)]
    inputs += [helper.make_tensor_value_info(n, *row) for n, row in (extra or {}).items()]
    graph = helper.make_graph(nodes, 'net', inputs, made, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)])
    model.ir_version = 8 if opset <= 17 else 10
    onnx.save(model, str(path))
    return path


def detector(family: str) -> dict[str, np.ndarray]:
    """Outputs of a detector at 64x64 with one box."""
    x0, y0, x1, y1 = BOX
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], np.float32)
    corners, one = np.array(BOX, np.float32), np.array([0, 0.9, 0], np.float32)
    logit = np.log(0.9 / 0.1)
    if family in ('yolox', 'yolox-decoded'):
        rows = np.zeros((1, 84, 8), np.float32)
        rows[0, 64 + 4 + 2] = [0, 0.5, np.log(2), np.log(2), 1, *one]  # cell (2, 1) of stride 16
        if family == 'yolox-decoded':
            rows[0, :, :2] = 32
            rows[0, 70] = [*centre, 1, *one]
        return {'output': rows}
    if family == 'yolov5':
        rows = np.zeros((1, 252, 8), np.float32)
        rows[0, 7] = [*centre, 1, *one]
        return {'output0': rows}
    if family == 'yolov8':
        rows = np.zeros((1, 84, 7), np.float32)
        rows[0, 5] = [*centre, *one]
        return {'output0': rows.transpose(0, 2, 1)}
    if family == 'yolo-nms':
        rows = np.zeros((1, 300, 6), np.float32)
        rows[0, 0] = [*corners, 0.9, 1]
        return {'output0': rows}
    if family == 'yolov7-nms':
        return {'output': np.array([[0, *corners, 1, 0.9]], np.float32)}
    if family == 'paddle-nms':
        return {'boxes': np.array([[1, 0.9, *corners]], np.float32)}
    if family in ('rt-detr', 'detr'):
        boxes = np.zeros((1, 50, 4), np.float32)
        boxes[0, 3] = centre / SIDE
        logits = np.full((1, 50, 3 if family == 'rt-detr' else 4), -9, np.float32)
        logits[0, 3, 1] = logit
        if family == 'detr':
            logits[0, :, 3] = 20
            logits[0, 3] = np.log([1e-9, 0.9, 1e-9, 0.1])
        return {'pred_logits': logits, 'pred_boxes': boxes}
    if family in ('d-fine', 'torchvision'):
        batch = (1,) if family == 'd-fine' else ()
        ids = np.array([1 if batch else 2], np.int64)
        return {
            'labels': ids.reshape(*batch, 1),
            'boxes': corners.reshape(*batch, 1, 4),
            'scores': np.array([0.9], np.float32).reshape(*batch, 1),
        }
    if family == 'ssd-tensorflow':
        return {
            'detection_boxes': (np.array([[[y0, x0, y1, x1]]], np.float32) / SIDE),
            'detection_classes': np.array([[2]], np.float32),
            'detection_scores': np.array([[0.9]], np.float32),
            'num_detections': np.array([1], np.float32),
        }
    if family == 'ssd':
        boxes, chances = np.zeros((1, 3000, 4), np.float32), np.zeros((1, 3000, 4), np.float32)
        boxes[0, 9], chances[0, 9, 2] = corners / SIDE, 0.9
        return {'scores': chances, 'boxes': boxes}
    if family == 'picodet':
        scores = [np.zeros((1, n, 3), np.float32) for n in (64, 16, 4, 1)]
        sides = [np.zeros((1, n, 32), np.float32) for n in (64, 16, 4, 1)]
        scores[1][0, 5, 1] = 0.9  # cell (1, 1) of stride 16: centre 24, 24
        for side, bin_ in enumerate((0.5, 1, 1.5, 1)):
            values = sides[1][0, 5].reshape(4, 8)[side]
            values[int(bin_)] = values[int(np.ceil(bin_))] = 99
        return {f'o{i}': value for i, value in enumerate((*scores, *sides))}
    if family == 'nanodet':
        rows = np.zeros((1, 85, 3 + 32), np.float32)
        rows[0, 64 + 6, 1] = 0.9  # cell (2, 1) of stride 16: centre 32, 16
        for side, bin_ in enumerate((1, 0.5, 1, 1.5)):
            values = rows[0, 70, 3:].reshape(4, 8)[side]
            values[int(bin_)] = values[int(np.ceil(bin_))] = 99
        return {'output': rows}
    assert family == 'fastestdet'
    cells = np.zeros((1, 8, 4, 4), np.float32)
    cells[0, :, 2, 2] = [0.9, 0, np.arctanh(-0.5), 0, 0, 0, 0.9, 0]
    return {'758': cells}


def test_relatives_of_a_family(tmp_path: Path) -> None:
    """YOLOv6, Ultralytics with masks, and RF-DETR differ in values, columns and names."""
    v6 = detector('yolox-decoded')
    v6['output'][0, :, 4] = 1
    masks = {
        'output0': np.pad(detector('yolov8')['output0'], ((0, 0), (0, 32), (0, 0))) + 0,
        'output1': np.zeros((1, 32, 16, 16), np.float32),
    }
    masks['output0'][0, 7:] = 5
    logits, boxes = detector('rt-detr').values()
    for preset, outputs in (
        ('yolov5', v6),
        ('yolov8', masks),
        ('rf-detr', {'dets': boxes, 'labels': logits}),
    ):
        net = save(tmp_path / f'{preset}.onnx', outputs)
        choice = Choice('detection', net, LABELS)
        (task,) = plan_import([choice], ())
        assert task.preset == preset
        found = run(imported(tmp_path / preset, choice)).detections
        assert [one.label for one in found] == ['door']
        assert found.boxes[0] == pytest.approx(BOX, abs=0.01)


def test_logits_of_free_sides(tmp_path: Path) -> None:
    net = two_heads(tmp_path / 'net.onnx')
    model = onnx.load(str(net))
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim:
            side.Clear()
    onnx.save(model, str(net))
    choice = Choice('segmentation', net, LABELS, size=(32, 48), mean=(0,) * 3, std=(1,) * 3)
    frame = Frame(np.full((32, 48, 3), (10, 30, 20), np.uint8))
    result = imported(tmp_path / 'model', choice).run(frame)
    assert (result.segmentation.class_ids == 1).all()


FAMILIES = [
    *('yolox', 'yolox-decoded', 'yolov5', 'yolov8', 'yolo-nms', 'yolov7-nms', 'paddle-nms'),
    *('rt-detr', 'detr', 'd-fine', 'torchvision', 'ssd-tensorflow', 'ssd', 'picodet', 'nanodet'),
    'fastestdet',
]
EXTRA = {
    'd-fine': {'orig_target_sizes': (TensorProto.INT64, (1, 2))},
    'paddle-nms': {'scale_factor': (TensorProto.FLOAT, (1, 2))},
}


def imported(folder: Path, *choices: Choice) -> Pipeline:
    folder.mkdir()
    write_model_folder(folder, plan_import(choices, LABELS), Card('net'))
    return Pipeline.load(folder)


def run(pipeline: Pipeline, height: int = SIDE, width: int = SIDE) -> Result:
    result = pipeline.run(Frame(np.full((height, width, 3), 90, np.uint8)))
    assert not result.failures
    return result


@pytest.mark.parametrize('family', FAMILIES)
def test_every_family_is_recognised_and_decoded(tmp_path: Path, family: str) -> None:
    net = save(tmp_path / 'net.onnx', detector(family), extra=EXTRA.get(family))
    choice = Choice('detection', net, LABELS)
    (task,) = plan_import([choice], ())
    assert task.preset == family
    pipeline = imported(tmp_path / 'model', choice)
    assert pipeline.manifest.input.fixed == (SIDE, SIDE)
    found = run(pipeline).detections
    assert [one.label for one in found] == ['door']
    assert found.scores[0] == pytest.approx(0.9, abs=1e-4)
    assert found.boxes[0] == pytest.approx(BOX, abs=0.01)
    # A wide image: letterboxed, or stretched to the whole input.
    wide = run(pipeline, SIDE, 2 * SIDE).detections.boxes[0]
    tall = 1 if pipeline.manifest.input.fit == 'stretch' else 2
    expected = np.minimum(np.array(BOX) * [2, tall, 2, tall], [2 * SIDE, SIDE] * 2)
    assert wide == pytest.approx(expected, abs=0.02)


def test_networks_of_different_sizes_each_get_their_image(tmp_path: Path) -> None:
    """A letterboxed detector, a stretched segmentation and a letterboxed depth."""
    ids = np.zeros((1, 16, 32), np.int64)
    ids[:, :, 16:] = 2
    depth = np.tile(np.linspace(4, 1, 32, dtype=np.float32)[:, None], (1, 1, 32))
    pipeline = imported(
        tmp_path / 'model',
        Choice('detection', save(tmp_path / 'a.onnx', detector('yolov8')), LABELS),
        Choice(
            'segmentation',
            save(tmp_path / 'b.onnx', {'ids': ids}, shape=(1, 3, 32, 48)),
            LABELS,
        ),
        Choice(
            'depth',
            save(tmp_path / 'c.onnx', {'d': depth}, shape=(1, 3, 128, 128)),
            depth_kind='metric',
            fit='letterbox',
        ),
    )
    # The folder's image has the largest side; the others are resized from it.
    assert pipeline.network_long_side == 128
    result = run(pipeline, 100, 200)
    scale = 200 / 64
    expected = np.minimum(np.array(BOX) * scale, [200, 100] * 2)
    assert result.detections.boxes[0] == pytest.approx(expected, abs=0.05)
    classes = result.segmentation.class_ids
    assert (classes[:, :100] == 0).all()
    assert (classes[:, 100:] == 2).all()
    # The image covers the upper half of the letterbox: depth 4 to 2.5.
    column = result.depth.depth[:, 100]
    assert column[0] == pytest.approx(4, abs=0.1)
    assert column[-1] == pytest.approx(2.5, abs=0.1)
    assert result.execution.macs == 0
    assert not result.depth.relative


@pytest.mark.parametrize('form', ['nchw', 'nhwc', 'ids', 'planes', 'int32', 'float', 'binary'])
def test_forms_of_segmentation(tmp_path: Path, form: str) -> None:
    ids = np.zeros((1, 8, 8), np.int64)
    ids[:, :, 4:] = 1
    logits = np.eye(3, dtype=np.float32)[ids]
    value = {
        'nchw': logits.transpose(0, 3, 1, 2),
        'nhwc': logits,
        'ids': ids,
        'planes': ids[:, None],
        'int32': ids[..., None].astype(np.int32),
        'float': ids.astype(np.float32),
        'binary': (ids[:, None] * 2 - 1).astype(np.float32),
    }[form]
    labels = LABELS[:2] if form == 'binary' else LABELS
    net = save(tmp_path / 'net.onnx', {'aux': value, 'out': value})
    classes = run(imported(tmp_path / 'model', Choice('segmentation', net, labels)))
    assert (classes.segmentation.class_ids == np.repeat([[0, 1]], 32, 1)).all()


def test_a_background_is_no_class(tmp_path: Path) -> None:
    ids = np.zeros((1, 8, 8), np.int64)
    ids[:, :, 4:] = 1
    net = save(tmp_path / 'net.onnx', {'ids': ids})
    pipeline = imported(tmp_path / 'model', Choice('segmentation', net, ('background', 'cup')))
    assert set(np.unique(run(pipeline).segmentation.class_ids)) == {1, 255}


@pytest.mark.parametrize('kind', ['metric', 'metric-over-focal', 'inverse-relative'])
def test_kinds_of_depth(tmp_path: Path, kind: str) -> None:
    values = np.full((1, 1, 8, 8), 0.02, np.float32)
    values[..., 4:] = 0.01
    net = save(tmp_path / 'net.onnx', {'depth': values})
    depth = run(imported(tmp_path / 'model', Choice('depth', net, depth_kind=kind))).depth
    left, right = depth.depth[32, 4], depth.depth[32, 60]
    if kind == 'metric':
        assert (left, right) == pytest.approx((0.02, 0.01))
    elif kind == 'metric-over-focal':
        assert (left, right) == pytest.approx(np.array([0.02, 0.01]) * depth.intrinsics.fx)
    else:
        assert right / left == pytest.approx(2)
    assert depth.relative == (kind == 'inverse-relative')


def channel_means(path: Path, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> Path:
    """A "depth network" (1, 1, 3) that returns the mean of each channel."""
    axes = [1, 2] if shape[3] == 3 else [2, 3]
    graph = helper.make_graph(
        [
            helper.make_node('Cast', ['x'], ['f'], to=TensorProto.FLOAT),
            helper.make_node('ReduceMean', ['f'], ['m'], axes=axes, keepdims=0),
            helper.make_node('Unsqueeze', ['m', 'one'], ['y']),
        ],
        'net',
        [helper.make_tensor_value_info('x', kind, shape)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, (1, 1, 3))],
        [numpy_helper.from_array(np.array([1], np.int64), 'one')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize('resize', [False, True])
@pytest.mark.parametrize(
    ('shape', 'kind', 'options', 'expected'),
    [
        ((1, 3, 8, 8), TensorProto.FLOAT, {'mean': (0,) * 3, 'std': (10,) * 3}, (3, 2, 1)),
        ((1, 3, 8, 8), TensorProto.FLOAT16, {'mean': (9,) * 3, 'std': (1,) * 3}, (21, 11, 1)),
        ((1, 3, 8, 8), TensorProto.FLOAT, {'mean': (0,) * 3, 'std': (1, 2, 3), 'rgb': False},
         (10, 10, 10)),
        ((1, 8, 8, 3), TensorProto.FLOAT, {'mean': (0,) * 3, 'std': (1,) * 3}, (30, 20, 10)),
        ((1, 8, 8, 3), TensorProto.UINT8, {'mean': (0,) * 3, 'std': (1,) * 3}, (30, 20, 10)),
        (('N', 3, 'h', 'w'), TensorProto.FLOAT, {'mean': (0,) * 3, 'std': (1,) * 3,
         'size': (16, 8)}, (30, 20, 10)),
        (('N', 3, 'h', 'w'), TensorProto.FLOAT, {'mean': (0,) * 3, 'std': (1,) * 3,
         'fit': 'keep'}, (30, 20, 10)),
    ],
)  # fmt: skip
def test_what_the_network_sees(
    tmp_path: Path,
    shape: Sequence[int | str],
    kind: int,
    options: dict[str, Any],
    expected: tuple[float, ...],
    resize: bool,
) -> None:
    choices = [
        Choice(
            'depth', channel_means(tmp_path / 'net.onnx', shape, kind), depth_kind='metric',
            **options,
        )
    ]  # fmt: skip
    if resize:
        ids = {'ids': np.zeros((1, 4, 4), np.int64)}
        other = save(tmp_path / 'other.onnx', ids, shape=(1, 3, 40, 24))
        choices.append(Choice('segmentation', other, LABELS))
    pipeline = imported(tmp_path / 'model', *choices)
    side = pipeline.network_long_side
    size = pipeline.manifest.input.fixed or (side, side)
    image = np.full((1, *size, 3), (10, 20, 30), np.uint8)
    made = pipeline.runner._sessions['prepare'].run(['network_image'], {'image': image})[0]
    channels = made.astype(np.float32).mean(axis=(1, 2) if made.shape[3] == 3 else (2, 3))[0]
    assert channels == pytest.approx(expected, rel=1e-2)


@given(st.integers(2, 400), st.integers(2, 400), st.sampled_from([(64, 64), (48, 96)]))
@settings(max_examples=40)
def test_the_letterbox_in_the_graph_is_that_of_the_pipeline(
    height: int, width: int, size: tuple[int, int]
) -> None:
    settings_ = Preprocess(
        (0, 0, 0), (1, 1, 1), False, False, TensorProto.FLOAT, size, 'letterbox', 114
    )  # fmt: skip
    session = open_session('prepare', prepare_graph(settings_, True, {}).SerializeToString())
    image = np.full((1, height, width, 3), 30, np.uint8)
    made, scale, content = session.run(['network_image', 'scale', 'content'], {'image': image})
    box = fit_inside((height, width), size)
    covered = np.rint(content * size).astype(int)
    # Halves of a pixel may be rounded either way.
    assert np.abs(covered - box.content_size).max() <= 1
    assert scale[:2] * [width, height] == pytest.approx(covered[::-1], rel=1e-4)
    rows, columns = np.nonzero(np.abs(made[0, 0] - 30) < 1)
    assert (rows.max() + 1, columns.max() + 1) == tuple(covered)
    assert (made[0, :, covered[0] :] == 114).all()
    assert (made[0, :, :, covered[1] :] == 114).all()


@pytest.mark.parametrize('opset', [11, 13, 17, 21])
def test_opsets(tmp_path: Path, opset: int) -> None:
    net = save(tmp_path / 'net.onnx', detector('yolov8'), opset=opset)
    pipeline = imported(tmp_path / 'model', Choice('detection', net, LABELS))
    assert len(run(pipeline).detections) == 1


def test_half_precision_and_a_free_batch(tmp_path: Path) -> None:
    outputs = {name: value.astype(np.float16) for name, value in detector('yolov8').items()}
    net = save(
        tmp_path / 'net.onnx', outputs, shape=('N', 3, SIDE, SIDE), kind=TensorProto.FLOAT16
    )
    found = run(imported(tmp_path / 'model', Choice('detection', net, LABELS))).detections
    assert found.boxes[0] == pytest.approx(BOX, abs=0.01)


def test_external_data_is_packed(tmp_path: Path) -> None:
    net = save(tmp_path / 'net.onnx', detector('yolov8'))
    model = onnx.load(str(net))
    outside = tmp_path / 'outside'
    outside.mkdir()
    onnx.save(
        model, str(outside / 'net.onnx'), save_as_external_data=True, location='net.data',
        size_threshold=0,
    )  # fmt: skip
    assert (outside / 'net.data').stat().st_size > 1000
    choice = Choice('detection', outside / 'net.onnx', LABELS)
    assert len(run(imported(tmp_path / 'model', choice)).detections) == 1
    (outside / 'net.data').unlink()
    with pytest.raises(ModelError, match='cannot be read as ONNX'):
        plan_import([choice], ())


def two_heads(path: Path) -> Path:
    """A backbone of one convolution with a head for depth and one for segmentation."""
    weights = {
        'w': np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
        'depth_w': np.full((1, 3, 1, 1), 0.01, np.float32),
        'class_w': np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
    }
    graph = helper.make_graph(
        [
            helper.make_node('Conv', ['x', 'w'], ['features/out:0']),
            helper.make_node('Conv', ['features/out:0', 'depth_w'], ['depth_map']),
            helper.make_node('Conv', ['features/out:0', 'class_w'], ['logits']),
        ],
        'net',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [
            helper.make_tensor_value_info('depth_map', TensorProto.FLOAT, (1, 1, SIDE, SIDE)),
            helper.make_tensor_value_info('logits', TensorProto.FLOAT, (1, 3, SIDE, SIDE)),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_two_heads_in_one_file_share_their_backbone(tmp_path: Path) -> None:
    net = two_heads(tmp_path / 'net.onnx')
    same = {'mean': (0.0,) * 3, 'std': (1.0,) * 3}
    pipeline = imported(
        tmp_path / 'model',
        Choice('segmentation', net, LABELS, **same),
        Choice('depth', net, depth_kind='metric', output='depth_map', **same),
    )
    blocks = pipeline.manifest.graph.blocks
    assert set(blocks) == {
        'prepare', 'net', 'net_segmentation', 'net_depth', 'segmentation', 'depth',
    }  # fmt: skip
    area = SIDE * SIDE
    assert [blocks[f'net{s}'].macs for s in ('', '_segmentation', '_depth')] == [
        9 * area, 9 * area, 3 * area,
    ]  # fmt: skip
    assert [blocks[f'net{s}'].parameters for s in ('', '_segmentation', '_depth')] == [9, 9, 3]
    frame = Frame(np.full((SIDE, SIDE, 3), (10, 30, 20), np.uint8))
    result = pipeline.run(frame)
    assert (result.segmentation.class_ids == 1).all()  # green, of RGB
    assert result.depth.depth == pytest.approx(0.6)
    alone = pipeline.run(frame, ['depth']).execution.blocks
    assert alone == ('prepare', 'net', 'net_depth', 'depth')


def test_two_tasks_of_one_file_without_common_nodes(tmp_path: Path) -> None:
    outputs = {**detector('yolov8'), 'logits': np.zeros((1, 3, 8, 8), np.float32)}
    net = save(tmp_path / 'net.onnx', outputs)
    pipeline = imported(
        tmp_path / 'model',
        Choice('detection', net, LABELS, decode='yolov8'),
        Choice('segmentation', net, LABELS, fit='letterbox', mean=(0,) * 3, std=(255,) * 3),
    )
    assert list(pipeline.manifest.graph.blocks) == ['prepare', 'net', 'detection', 'segmentation']
    assert len(run(pipeline).detections) == 1


@pytest.mark.parametrize(
    ('choice', 'says'),
    [
        ({'decode': 'yolov99'}, "'yolov99' is not a decoder of detection"),
        ({'decode': 'segmentation'}, 'is not a decoder of detection'),
        ({'size': (32, 32)}, 'has the fixed size 64x64'),
        ({'fit': 'keep'}, 'has a fixed size'),
        ({'task': 'depth'}, '--depth-kind must be one of'),
        ({'decode': 'ssd'}, r'expected boxes \(1, N, 4\)'),
    ],
)
def test_choices_that_do_not_fit(tmp_path: Path, choice: dict[str, Any], says: str) -> None:
    net = save(tmp_path / 'net.onnx', detector('yolov8'))
    with pytest.raises(ModelError, match=says):
        imported(tmp_path / 'model', Choice(**{'task': 'detection', 'path': net,
                                               'labels': LABELS, **choice}))  # fmt: skip


def test_networks_that_are_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / 'text.onnx').write_text('no network')
    with pytest.raises(ModelError, match='cannot be read as ONNX'):
        plan_import([Choice('detection', tmp_path / 'text.onnx')], LABELS)
    net = save(tmp_path / 'net.onnx', {'features': np.zeros((1, 3), np.float32)})
    with pytest.raises(ModelError, match='no known decoder fits'):
        plan_import([Choice('detection', net)], LABELS)
    net = save(
        tmp_path / 'more.onnx', detector('yolov8'), extra={'depth': (TensorProto.FLOAT, (1, 1))}
    )
    with pytest.raises(ModelError, match='needs the input depth'):
        imported(tmp_path / 'model', Choice('detection', net, LABELS))
    with pytest.raises(ModelError, match='at least one network'):
        plan_import([], LABELS)


@pytest.mark.parametrize(
    ('name', 'text', 'expected'),
    [
        ('a.txt', 'cup\n\ndoor\n', ('cup', 'door')),
        ('a.yaml', '[cup, door]', ('cup', 'door')),
        ('a.yaml', 'names: {0: cup, 2: door}', ('cup', 'unused 1', 'door')),
        ('a.yml', 'classes: [cup]', ('cup',)),
        ('a.json', '{"id2label": {"1": "door", "0": "cup"}, "x": 1}', ('cup', 'door')),
        ('a.txt', '', 'no class names'),
        ('a.txt', 'cup\ncup', "'cup' occurs twice"),
        ('a.yaml', '{a: b}', 'not a number'),
        ('a.yaml', '{-1: b}', 'from 0'),
        ('a.yaml', '3', 'list or as a mapping'),
        ('a.txt', '\n'.join(map(str, range(256))), '256 classes'),
    ],
)
def test_label_files(
    tmp_path: Path, name: str, text: str, expected: tuple[str, ...] | str
) -> None:
    (tmp_path / name).write_text(text)
    if isinstance(expected, tuple):
        assert read_labels(tmp_path / name) == expected
    else:
        with pytest.raises(ModelError, match=expected):
            read_labels(tmp_path / name)


def test_weights_that_are_inputs_too(tmp_path: Path) -> None:
    """As exporters of IR version 3 wrote them."""
    net = two_heads(tmp_path / 'net.onnx')
    model = onnx.load(str(net))
    for tensor in model.graph.initializer:
        shape = list(tensor.dims)
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, shape)
        model.graph.input.insert(0, value)
    onnx.save(model, str(net))
    pipeline = imported(tmp_path / 'model', Choice('segmentation', net, LABELS))
    assert list(pipeline.manifest.graph.blocks['net'].inputs) == ['x']


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'street.png'), image)
    return tmp_path / 'street.png'


def test_the_command(tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = save(tmp_path / 'net.onnx', detector('yolov8'))
    model = onnx.load(str(net))
    helper.set_model_props(model, {'names': str(dict(enumerate(LABELS)))})
    onnx.save(model, str(net))
    depth = save(tmp_path / 'depth.onnx', {'d': np.full((1, 8, 8), 1, np.float32)})
    folder = tmp_path / 'models' / 'mine'
    command = ['import', str(folder), '--detection', str(net), '--depth', str(depth)]
    command += ['--depth-kind', 'inverse-relative', '--test', str(photo), '--licence', 'MIT']
    assert main(command) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert 'detection: yolov8' in said
    assert 'warning: depth: the same value at all pixels' in said
    assert 'licence' not in said
    assert cv2.imread(str(folder / 'import.png')) is not None
    assert [path.name for path in folder.parent.iterdir()] == ['mine']
    assert Pipeline.load(folder).manifest.licence == 'MIT'
    assert main(command) == 1
    assert 'not empty' in capsys.readouterr().err
    assert main([*command, '--force', '--std', 'detection=1']) == 0
    assert 'mean 0, 0, 0, std 1, 1, 1' in capsys.readouterr().out
    assert main(['inspect', str(folder)]) == 0
    assert 'always 64x64' not in capsys.readouterr().out


def test_suspicious_results_are_warned_about(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {'output0': detector('yolo-nms')['output0'] / [64, 64, 64, 64, 1, 1]}
    net = save(tmp_path / 'net.onnx', {'output0': tiny['output0'].astype(np.float32)})
    labels = tmp_path / 'labels.txt'
    labels.write_text('\n'.join(LABELS))
    command = ['import', str(tmp_path / 'a'), '--detection', str(net), '--labels', str(labels)]
    assert main([*command, '--test', str(photo)]) == 0
    assert '1 of 1 boxes are smaller than 2 pixels' in ' '.join(capsys.readouterr().out.split())
    labels.write_text('cup')
    command[1] = str(tmp_path / 'b')
    assert main([*command, '--decode', 'yolo-nms']) == 1
    said = ' '.join(capsys.readouterr().err.split())
    assert 'the manifest has 1 labels' in said
    assert not (tmp_path / 'b').exists()


def import_again(folder: Path, net: Path, *options: str) -> tuple[int, dict[str, bytes]]:
    """Status of an import with --force, and the files of the folder after it."""
    command = ['import', str(folder), '--detection', str(net), '--decode', 'yolov8', *options]
    status = main([*command, '--labels', str(net.with_name('labels.txt')), '--force'])
    files = [path for path in folder.rglob('*') if path.is_file()]
    return status, {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / 'labels.txt').write_text('\n'.join(LABELS))
    return save(tmp_path / 'net.onnx', detector('yolov8'))


@pytest.mark.parametrize('name', ['notes.txt', '.git/HEAD', 'street.png'])
def test_a_folder_with_files_of_others_is_not_replaced(
    tmp_path: Path, net: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'mine'
    assert import_again(folder, net)[0] == 0
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text('mine')
    status, after = import_again(folder, net, '--version', '2')
    assert status == 1
    assert after[name] == b'mine'
    assert f'does not name: {name};' in ' '.join(capsys.readouterr().err.split())
    (folder / name).unlink()
    status, after = import_again(folder, net, '--version', '2')
    assert status == 0
    assert b"version: '2'" in after['manifest.yaml']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['labels.txt', 'mine', 'net.onnx']


def test_an_input_inside_the_folder_is_not_deleted(tmp_path: Path, net: Path) -> None:
    folder = tmp_path / 'mine'
    assert import_again(folder, net)[0] == 0
    (folder / 'labels.txt').write_bytes((tmp_path / 'labels.txt').read_bytes())
    status, after = import_again(folder, folder / 'net.onnx')
    assert status == 1
    assert 'net.onnx' in after


def test_a_link_is_not_replaced(
    tmp_path: Path, net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    assert import_again(tmp_path / 'link', net)[0] == 1
    shown = capsys.readouterr()
    assert 'is a symbolic link' in shown.err
    assert 'yolov8' not in shown.out


def test_a_swap_that_fails_keeps_the_old_folder(
    tmp_path: Path, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'mine'
    before = import_again(folder, net)[1]
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.parent.name.startswith('.import-'):
            raise OSError(5, 'Input/output error')
        return rename(path, target)

    monkeypatch.setattr(Path, 'rename', failing)
    assert import_again(folder, net, '--version', '2') == (1, before)


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (['--mean', '1,2'], '--mean must be'),
        (['--mean', 'nan'], "one finite number or three, such as 123.7,116.3,103.5; found 'nan'"),
        (['--std', '0'], '--std must be one finite number or three above 0'),
        (['--fit', 'crop'], '--fit must be'),
        (['--size', '0x64'], '--size must be'),
        (['--labels', 'LABELS', '--labels', 'LABELS'], '2 --labels for 1 networks'),
        (['--depth', 'NET', '--mean', '0'], '--mean detection=0'),
        (['--segmentation', 'NET', '--labels', 'LABELS'], '--segmentation needs --labels'),
    ],
)
def test_wrong_usage(
    tmp_path: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    net = save(tmp_path / 'net.onnx', detector('yolov8'))
    labels = tmp_path / 'labels.txt'
    labels.write_text('\n'.join(LABELS))
    given = {'LABELS': str(labels), 'NET': str(net)}
    command = ['import', str(tmp_path / 'a'), '--detection', str(net)]
    assert main([*command, *(given.get(option, option) for option in options)]) == 2
    assert says in ' '.join(capsys.readouterr().err.split())


def test_macs_by_hand() -> None:
    def macs(
        kind: str, x: Sequence[int], w: Sequence[int], y: Sequence[int], **attributes: Any
    ) -> int:
        graph = helper.make_graph(
            [
                helper.make_node(kind, ['x', 'w'], ['y'], **attributes),
                helper.make_node('Relu', ['y'], ['z']),
            ],
            'net',
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
                for n, s in (('x', x), ('w', w))
            ],
            [helper.make_tensor_value_info('z', TensorProto.FLOAT, y)],
        )
        (counted, relu) = node_macs(helper.make_model(graph)) or (-1, -1)
        assert relu == 0
        return counted

    assert macs('Conv', (1, 6, 8, 8), (4, 3, 3, 3), (1, 4, 6, 6), group=2) == 4 * 36 * 27
    assert macs('ConvTranspose', (1, 2, 4, 4), (2, 5, 3, 3), (1, 5, 6, 6)) == 2 * 16 * 45
    assert macs('MatMul', (2, 3, 4), (4, 5), (2, 3, 5)) == 2 * 3 * 4 * 5
    assert macs('Gemm', (3, 4), (4, 5), (3, 5)) == 60
    assert macs('Gemm', (4, 3), (4, 5), (3, 5), transA=1) == 60
    assert macs('Gemm', (3, 4), (5, 4), (3, 5), alpha=0.5, transB=1) == 60


def test_presets_are_those_of_every_release() -> None:
    """A checksum of sizes, means and decoders: with others, a network silently finds less."""
    assert len(PRESETS) == 21
    assert PRESETS['nanodet'].mean == (103.53, 116.28, 123.675), 'in the order of BGR'
    assert zlib.crc32(repr(sorted(PRESETS.items())).encode()) == 1339032179


def test_shapes_are_recognised_as_recorded() -> None:
    """A checksum of the family of outputs of many shapes and names."""
    found = []
    sides, classes = (1, 4, 5, 6, 7, 9, 84, 85, 300, 1000, 1001, 8400), (3, 4, 5, 6, 7, 8, 9, 36)
    single = [(n, c) for n in sides for c in (5, 6, 7, 8)]
    single += [(1, n, c) for n in sides for c in (*classes, *sides, 23, 24, 39, 100, 116)]
    single += [(1, c, 8, 8) for c in (4, 5, 6)]
    pairs = [((1, n, 4), (1, n, c)) for n in sides for c in classes]
    many = [tuple((1, 9, 4) for _ in range(n)) for n in (3, 4, 5, 6, 7, 8)]
    named = [
        ('labels', 'boxes', 'scores'),
        ('detection_boxes', 'x', 'y'),
        ('boxes', 'x', 'scores'),
    ]
    kinds: list[tuple[Sequence[str], Sequence[tuple[int, ...]]]] = [
        *((('o',), (shape,)) for shape in single),
        *((names, shapes) for shapes in pairs for names in (('dets', 'l'), ('boxes', 'logits'))),
        *(([f'o{i}' for i in range(len(shapes))], shapes) for shapes in many),
        *((names, ((1, 9, 4), (1, 9), (1, 9))) for names in named),
    ]
    for names, shapes in kinds:
        outputs = [SimpleNamespace(name=n, shape=s) for n, s in zip(names, shapes, strict=True)]
        for labels, inputs in ((0, 1), (3, 1), (4, 2), (80, 1)):
            network: Any = SimpleNamespace(
                detector_outputs=outputs, inputs=[None] * inputs, size=None
            )
            found.append(_detection(network, labels))
    assert {'', 'ssd', 'rf-detr', 'detr', 'rt-detr', 'yolov8', 'nanodet', 'yolo-nms'} < set(found)
    assert zlib.crc32(repr(found).encode()) == 1775318754


def test_a_network_beyond_the_limit_of_protobuf_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert foreign_network._MAX_BYTES == 2**31 - 1
    choice = Choice('detection', save(tmp_path / 'net.onnx', detector('yolov8')), LABELS)
    monkeypatch.setattr(foreign_network, '_MAX_BYTES', 10)
    with pytest.raises(ModelError, match='bytes with its weights; at most 2 GB'):
        plan_import([choice], ())
