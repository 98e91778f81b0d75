# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an import writes: sizes, names, costs, constants; and how networks are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_import import LABELS, detector, save, two_heads

from mt_perception.errors import ModelError
from mt_perception.model.folder import read_manifest_data
from mt_perception.model.importers import foreign_network
from mt_perception.model.importers.backbone import split_backbone
from mt_perception.model.importers.choice import Card, Choice
from mt_perception.model.importers.folder_writer import write_model_folder
from mt_perception.model.importers.foreign_network import Tensor, read_network
from mt_perception.model.importers.import_plan import plan_import
from mt_perception.model.importers.label_files import metadata_labels, read_labels
from mt_perception.model.importers.onnx_macs import count_macs, node_macs
from mt_perception.model.sessions import open_session

FLOAT = TensorProto.FLOAT


def written(folder: Path, *choices: Choice, card: Card | None = None) -> dict[str, Any]:
    """The manifest of an import, as plain data."""
    folder.mkdir()
    assert write_model_folder(folder, plan_import(choices, LABELS), card or Card('net')) == []
    return dict(read_manifest_data(folder))


@pytest.fixture
def choices(tmp_path: Path) -> dict[str, Choice]:
    """A detector of 64x64, a segmentation of 70x50, and a depth of any size."""
    maps = {'d': np.ones((1, 5, 7), np.float32)}
    ids = {'ids': np.zeros((1, 5, 7), np.int64)}
    found = save(tmp_path / 'boxes.onnx', detector('yolov8'))
    masks = save(tmp_path / 'masks.onnx', ids, shape=(1, 3, 50, 70))
    free = save(tmp_path / 'free.onnx', maps, shape=('N', 3, 'h', 'w'))
    return {
        'd': Choice('detection', found, LABELS),
        's': Choice('segmentation', masks, LABELS, fit='letterbox'),
        'f': Choice('depth', free, depth_kind='metric', fit='keep'),
        'p': Choice('depth', free, depth_kind='metric'),
    }


def sizes(side: int, **more: Any) -> dict[str, Any]:
    same = {'size': side, 'min_size': side, 'max_size': side, 'constant_cost': True}
    return {**same, 'pad_value': 114, **more}


@pytest.mark.parametrize(
    ('tasks', 'expected', 'reference'),
    [
        ('f', {'size': 640, 'min_size': 320, 'max_size': 1280, 'multiple': 32, 'pad_value': 114},
         [640, 640]),
        ('s', {'fixed': [50, 70], 'pad_value': 114, 'fit': 'letterbox'}, [50, 70]),
        ('d', {'fixed': [64, 64], 'pad_value': 114, 'fit': 'letterbox'}, [64, 64]),
        ('p', {'fixed': [518, 518], 'pad_value': 114, 'fit': 'stretch'}, [518, 518]),
        ('ds', sizes(70, multiple=1), [64, 64]),
        ('sf', sizes(96, multiple=32), [50, 70]),
        ('df', sizes(64, multiple=32), [64, 64]),
    ],
)  # fmt: skip
def test_the_input_of_several_networks(
    tmp_path: Path, choices: dict[str, Choice], tasks: str, expected: Any, reference: list[int]
) -> None:
    """The largest side of those with a fixed size, in whole rows where another has none."""
    data = written(tmp_path / 'model', *(choices[task] for task in tasks))
    assert data['input'] == expected
    assert data['reference_size'] == reference
    files = {'d': 'detection from boxes', 's': 'segmentation from masks', 'f': 'depth from free'}
    names = ', '.join(f'{files.get(task, files["f"])}.onnx' for task in tasks)
    assert data['description'] == f'Imported: {names}.'


def test_what_a_decoder_reads(tmp_path: Path, choices: dict[str, Choice]) -> None:
    """The scale for boxes, the covered part for maps in a letterbox, where sizes differ."""
    data = written(tmp_path / 'model', *(choices[task] for task in 'dsf'))
    blocks = data['blocks']
    reads = {
        task: {tensor.split('/')[1] for tensor in blocks[task]['inputs'].values()}
        for task in ('detection', 'segmentation', 'depth')
    }
    assert reads == {
        'detection': {'output0', 'scale'}, 'segmentation': {'ids', 'content'}, 'depth': {'d'},
    }  # fmt: skip
    assert list(blocks) == [
        'prepare', 'boxes', 'detection', 'prepare_segmentation', 'masks', 'segmentation',
        'prepare_depth', 'free', 'depth',
    ]  # fmt: skip
    assert blocks['prepare']['outputs'] == ['network_image', 'scale', 'content']
    assert blocks['prepare_depth']['outputs'] == ['network_image']
    assert blocks['boxes']['inputs'] == {'image': 'prepare/network_image'}
    assert [blocks[name]['skippable'] for name in blocks] == [False] * 9
    assert data['tasks']['depth'] == {
        'kind': 'depth', 'outputs': {'depth': 'depth/depth'}, 'labels': [],
    }  # fmt: skip
    assert data['tasks']['segmentation']['labels'] == list(LABELS)
    assert (data['name'], data['version'], data['licence']) == ('net', '1', 'LicenseRef-unknown')
    card = Card('n', '2', 'MIT', 'Words.')
    data = written(tmp_path / 'other', choices['d'], card=card)
    assert [data[k] for k in ('name', 'version', 'licence', 'description')] == [
        'n', '2', 'MIT', 'Words.',
    ]  # fmt: skip
    assert data['blocks']['detection']['inputs'] == {'output_0': 'boxes/output0'}


@pytest.mark.parametrize(
    ('stem', 'name'),
    [
        ('depth', 'network_depth'),
        ('image', 'network_image'),
        ('prepare-it', 'network_prepare-it'),
        ('_.-a b', 'a_b'),
        ('__', 'network'),
        ('x' * 41, 'x' * 40),
    ],
)
def test_names_of_blocks(tmp_path: Path, stem: str, name: str) -> None:
    net = save(tmp_path / f'{stem}.onnx', {'d': np.ones((1, 5, 7), np.float32)})
    data = written(tmp_path / 'model', Choice('depth', net, depth_kind='metric'))
    assert list(data['blocks']) == ['prepare', name, 'depth']


def test_inputs_beside_the_image(tmp_path: Path) -> None:
    extra = {
        'orig_target_sizes': (TensorProto.INT64, (1, 2)),
        'im_shape': (FLOAT, (1, 2)),
        'scale_factor': (FLOAT, (1, 2)),
    }
    net = save(tmp_path / 'net.onnx', {'d': np.ones((1, 5, 7), np.float32)}, shape=(1, 3, 32, 48),
               extra=extra)  # fmt: skip
    data = written(tmp_path / 'model', Choice('depth', net, depth_kind='metric'))
    names = data['blocks']['prepare']['outputs'][1:]
    session = open_session('prepare', (tmp_path / 'model' / 'prepare.onnx').read_bytes())
    found = session.run(names, {'image': np.zeros((1, 32, 48, 3), np.uint8)})
    assert {name: value.tolist() for name, value in zip(names, found, strict=True)} == {
        'orig_target_sizes': [[48, 32]], 'im_shape': [[32, 48]], 'scale_factor': [[1, 1]],
    }  # fmt: skip
    assert [value.dtype for value in found] == [np.int64, np.float32, np.float32]
    net = save(tmp_path / 'any.onnx', {'d': np.ones((1, 5, 7), np.float32)},
               shape=('N', 3, 'h', 'w'), extra={'im_shape': extra['im_shape']})  # fmt: skip
    with pytest.raises(
        ModelError, match=r'needs the input im_shape \(1, 2\).*, with a fixed size'
    ):
        written(tmp_path / 'm', Choice('depth', net, depth_kind='metric', fit='keep'))


def test_the_output_of_a_map(tmp_path: Path) -> None:
    """The named one, else one called "out" or "logits", else the first."""
    ids = np.zeros((1, 5, 7), np.int64)
    for names, wanted, found in (
        (('a', 'logits', 'b'), '', 'logits'),
        (('a', 'out'), '', 'out'),
        (('a', 'b'), '', 'a'),
        (('a', 'out', 'b'), 'b', 'b'),
    ):
        net = save(tmp_path / 'net.onnx', dict.fromkeys(names, ids))
        choice = Choice('segmentation', net, LABELS, output=wanted)
        data = written(tmp_path / f'{"_".join(names)}_{wanted}', choice)
        assert data['blocks']['segmentation']['inputs'] == {'output_0': f'net/{found}'}
    with pytest.raises(ModelError, match="has no output 'c': a, out, b"):
        written(tmp_path / 'm', Choice('segmentation', net, LABELS, output='c'))


def test_a_plan_in_words(tmp_path: Path, choices: dict[str, Choice]) -> None:
    (task,) = plan_import([choices['s']], LABELS)
    assert str(task) == (
        'segmentation: segmentation (logits or class ids, ImageNet normalisation), 70x50 '
        'letterbox, RGB, NCHW, mean 123.675, 116.28, 103.53, std 58.395, 57.12, 57.375'
    )
    net = save(tmp_path / 'tcmonodepth.onnx', {'d': np.ones((1, 5, 7), np.float32)},
               shape=('N', 'h', 'w', 3))  # fmt: skip
    choice = Choice('depth', net, depth_kind='metric', fit='keep', rgb=False)
    (task,) = plan_import([choice], LABELS)
    assert str(task).endswith('any size keep, BGR, NHWC, mean 0, 0, 0, std 1, 1, 1')
    assert task.preset == 'tcmonodepth'
    assert task.choice.labels == ()
    choice = Choice('segmentation', net, channels_last=False, size=(32, 64))
    (task,) = plan_import([choice], ('a', 'b'))
    assert (task.preset, task.choice.labels) == ('deeplab-tensorflow', ('a', 'b'))
    assert (task.preprocess.size, task.preprocess.channels_last) == ((32, 64), False)


def graph_of(
    nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]], weights: Mapping[str, Sequence[int]],
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(
        list(nodes),
        'net',
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.ones(s, np.float32), name) for name, s in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def test_macs_of_images_of_any_size() -> None:
    def model(shape: Sequence[int | str], kernel: Sequence[int]) -> onnx.ModelProto:
        node = helper.make_node('Conv', ['x', 'w'], ['y'])
        return graph_of([node], {'x': shape}, {'y': ('n', 'c', 'h', 'w')}, {'w': kernel})

    free = model(('n', 3, 'h', 'w'), (5, 3, 2, 2))
    assert node_macs(free, (7, 9)) == [5 * 6 * 8 * 12]
    assert count_macs(free.SerializeToString(), (7, 9)) == 5 * 6 * 8 * 12
    assert node_macs(free) is None
    assert count_macs(free.SerializeToString()) is None
    assert [d.dim_value for d in free.graph.input[0].type.tensor_type.shape.dim] == [0, 3, 0, 0]
    # A side that is fixed stays, and only a network whose last side is 3 has its colours there.
    assert node_macs(model((2, 3, 'h', 9), (5, 3, 2, 2)), (7, 99)) == [2 * 5 * 6 * 8 * 12]
    assert node_macs(model((1, 3, 'h', 3), (5, 3, 2, 2)), (7, 99)) == [5 * 6 * 2 * 12]
    last = model(('n', 'h', 'w', 3), (5, 8, 1, 1))
    assert node_macs(last, (8, 9)) == [5 * 9 * 3 * 8]
    rows = graph_of([helper.make_node('MatMul', ['x', 'w'], ['y'])], {'x': ('n', 4)},
                    {'y': ('n', 5)}, {'w': (4, 5)})  # fmt: skip
    assert node_macs(rows, (7, 9)) is None


def test_a_network_as_it_is_read(tmp_path: Path) -> None:
    outputs = {'rows': np.ones((1, 5), np.float32), 'maps': np.ones((1, 2, 3, 4), np.float32)}
    net = save(tmp_path / 'net.onnx', outputs, shape=('n', 3, 32, 'w'))
    network = read_network(net)
    assert network.inputs == (Tensor('image', FLOAT, (-1, 3, 32, -1)),)
    assert str(network.image) == 'image (?, 3, 32, ?)'
    assert (network.size, network.channels_last) == (None, False)
    assert [output.name for output in network.detector_outputs] == ['rows']
    shapes: dict[tuple[int | str, ...], tuple[object, bool]] = {
        (1, 3, 32, 48): ((32, 48), False), (1, 32, 48, 3): ((32, 48), True),
        (1, 3, 32, 3): ((32, 3), False), (1, 3, 'h', 48): (None, False),
        (1, 0, 8, 3): (None, True),
    }  # fmt: skip
    for shape, expected in shapes.items():
        network = read_network(save(tmp_path / 'net.onnx', {'y': outputs['maps']}, shape=shape))
        assert (network.size, network.channels_last) == expected
        assert [output.name for output in network.detector_outputs] == ['y']
    flat = save(tmp_path / 'flat.onnx', outputs, shape=(1, 9))
    with pytest.raises(ModelError, match=r'has the inputs image \(1, 9\); expected an image'):
        read_network(flat).image  # noqa: B018
    assert foreign_network.PROBE_TIMEOUT_S == 60
    with pytest.raises(ModelError, match='fails on an image'):
        network.run({'image': np.zeros((1, 2), np.float32)})


def test_class_names_have_limits(tmp_path: Path) -> None:
    file = tmp_path / 'names.yaml'
    file.write_text('names: {65536: a}')
    with pytest.raises(ModelError, match='class ids must be from 0 to 65535'):
        read_labels(file)
    file.write_text('names: {65535: a}')
    with pytest.raises(ModelError, match='65536 classes; at most 255'):
        read_labels(file)
    file.write_text('names: {254: a}')
    assert len(read_labels(file)) == 255
    for empty in ('[]', '{}'):
        file.write_text(empty)
        with pytest.raises(ModelError, match='class names'):
            read_labels(file)
    model = onnx.ModelProto()
    assert metadata_labels(model) == ()
    for text, labels in (("{0: 'a', 1: 'b'}", ('a', 'b')), ('[a, a]', ()), ('3', ())):
        helper.set_model_props(model, {'other': 'x', 'names': text})
        assert metadata_labels(model) == labels


def test_a_backbone_is_what_tasks_share(tmp_path: Path) -> None:
    """Also through the branches of an If; nodes of one task alone are its head."""
    branch = helper.make_graph([helper.make_node('Identity', ['b'], ['i'])], 'then', [],
                               [helper.make_tensor_value_info('i', FLOAT, (1, 4))])  # fmt: skip
    nodes = [
        helper.make_node('Relu', ['x'], ['a']),
        helper.make_node('Add', ['a', 'w'], ['b']),
        helper.make_node('Neg', ['a'], ['unused']),
        helper.make_node('ReduceMax', ['a'], ['m'], keepdims=0),
        helper.make_node('Cast', ['m'], ['c'], to=TensorProto.BOOL),
        helper.make_node('If', ['c'], ['y'], then_branch=branch, else_branch=branch),
        helper.make_node('Mul', ['b', 'v'], ['z']),
    ]
    shape = (1, 4)
    model = graph_of(nodes, {'x': shape, 'other': shape}, {'y': shape, 'z': shape, 'b': shape},
                     {'w': shape, 'v': shape})  # fmt: skip
    split = split_backbone(model, {'depth': ['y'], 'segmentation': ['z']})
    assert split is not None
    backbone, heads = split.backbone, split.heads
    assert (backbone.nodes, backbone.inputs, backbone.outputs) == ((0, 1), ('x',), ('a', 'b'))
    depth, masks = heads['depth'], heads['segmentation']
    assert (depth.nodes, depth.inputs, depth.outputs) == ((3, 4, 5), ('a', 'b'), ('y',))
    assert (masks.nodes, masks.inputs, masks.outputs) == ((6,), ('b',), ('z',))
    for part, weights in ((backbone, ['w']), (depth, []), (masks, ['v'])):
        assert [one.name for one in part.model.graph.initializer] == weights
        onnx.checker.check_model(part.model)
    # An output of the backbone itself needs no head.
    split = split_backbone(model, {'depth': ['b'], 'segmentation': ['z']})
    assert split is not None
    assert list(split.heads) == ['segmentation']
    assert split.backbone.outputs == ('b',)
    alone = graph_of([*nodes[:1], helper.make_node('Neg', ['other'], ['z'])],
                     {'x': shape, 'other': shape}, {'a': shape, 'z': shape}, {})  # fmt: skip
    assert split_backbone(alone, {'depth': ['a'], 'segmentation': ['z']}) is None
    assert two_heads(tmp_path / 'net.onnx').is_file()
