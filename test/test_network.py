# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mt_perception.errors import ModelError
from mt_perception.network.detection import cell_grid, cells_of, decode_boxes
from mt_perception.network.macs import count_macs, count_parameters
from mt_perception.network.multitask import NETWORKS, TASKS, Multitask, build
from mt_perception.network.pretrained import load_yolox, unfold_focus

CHECKPOINT = 'teachers/yolox_nano_416.onnx'


@pytest.fixture(scope='module', params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> Multitask:
    torch.manual_seed(0)
    return build(request.param).eval()


@settings(max_examples=6, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5))
def test_any_multiple_of_32_goes_through(network: Multitask, height: int, width: int) -> None:
    image = torch.zeros(2, 3, 32 * height, 32 * width)
    with torch.no_grad():
        features = network.trunk(image)
        outputs = network.heads(features)
    for stride, feature in zip((4, 8, 16, 32), features, strict=True):
        assert feature.shape[2:] == (32 * height // stride, 32 * width // stride)
    cells = height * width * (16 + 4 + 1)
    assert outputs.detection.boxes.shape == (2, cells, 4)
    assert outputs.detection.classes.shape == (2, cells, 80)
    assert outputs.segmentation.shape == (2, 15, 8 * height, 8 * width)
    assert outputs.depth.shape == (2, 8 * height, 8 * width)


def test_a_head_that_nobody_wants_does_not_run(network: Multitask) -> None:
    ran = []
    hooks = [
        getattr(network, task).register_forward_hook(lambda *_, task=task: ran.append(task))
        for task in TASKS
    ]
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, 32, 32), ('depth',))
    for hook in hooks:
        hook.remove()
    assert ran == ['depth']
    assert outputs.detection is None
    assert outputs.segmentation is None


def test_an_image_does_not_depend_on_the_others_of_its_batch(network: Multitask) -> None:
    images = torch.rand(3, 3, 64, 64) * 255
    with torch.no_grad():
        together = network(images).depth[1]
        alone = network(images[1:2]).depth[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_heads_are_small(network: Multitask) -> None:
    image = torch.zeros(1, 3, 320, 416)
    with torch.no_grad():
        features = network.trunk(image)
    trunk = count_macs(network.trunk, [image])
    for head in (network.segmentation, network.depth):
        assert count_macs(head, [features]) <= 0.25 * trunk
        assert count_parameters(head) <= 150_000


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ModelError, match='cspnano'):
        build('resnet')


def test_macs_as_counted_by_hand() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 8 x 5 x 6 outputs of 27 weights
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=8),  # 8 x 5 x 6 outputs of 9 weights
        torch.nn.Flatten(),
        torch.nn.Linear(240, 7),  # 7 outputs of 240 weights
    )
    by_hand = 240 * 27 + 240 * 9 + 7 * 240
    assert count_macs(layers, [torch.zeros(1, 3, 10, 12)]) == by_hand
    assert count_parameters(layers) == 8 * 27 + 8 + 8 * 9 + 8 + 7 * 240 + 7


def test_one_6x6_convolution_is_focus_and_3x3() -> None:
    torch.manual_seed(1)
    weight, image = torch.randn(5, 12, 3, 3), torch.rand(1, 3, 20, 28)
    phases = [image[..., y::2, x::2] for y, x in ((0, 0), (1, 0), (0, 1), (1, 1))]
    sliced = functional.conv2d(torch.cat(phases, 1), weight, padding=1)
    ours = functional.conv2d(image, unfold_focus(weight), stride=2, padding=2)
    torch.testing.assert_close(ours, sliced, rtol=1e-4, atol=1e-4)


def test_boxes_are_decoded_in_network_pixels() -> None:
    corners, strides = cell_grid(2, 3, 16, torch.zeros(1))
    assert corners.tolist() == [[0, 0], [16, 0], [32, 0], [0, 16], [16, 16], [32, 16]]
    raw = torch.zeros(1, 6, 4)
    raw[0, 5] = torch.tensor([0.5, 0.25, np.log(2), 0])
    box = decode_boxes(raw, corners, strides)[0, 5]
    assert box.tolist() == pytest.approx([40 - 16, 20 - 8, 40 + 16, 20 + 8])


def test_cells_are_exact_whatever_the_features_are_in() -> None:
    """bfloat16 has eight bits: coordinates above 256 would be rounded."""
    features = tuple(
        torch.zeros(1, 1, 80 // scale, 80 // scale, dtype=torch.bfloat16) for scale in (1, 2, 4)
    )
    corners, strides = cells_of(features)
    assert corners.dtype == torch.float32
    assert corners.max() == 79 * 8
    assert len(corners) == len(strides) == 6400 + 1600 + 400


def test_the_checkpoint_gives_what_it_gave(network: Multitask, data: Path) -> None:
    load_yolox(network, data / CHECKPOINT)
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(data / CHECKPOINT))
    expected = session.run(None, {session.get_inputs()[0].name: image})[0]
    with torch.no_grad():
        raw = network(torch.from_numpy(image), ('detection',)).detection
    ours = torch.cat((raw.boxes, raw.objectness[..., None].sigmoid(), raw.classes.sigmoid()), -1)
    assert np.abs(ours.numpy() - expected).max() <= 1e-3


def test_a_checkpoint_of_another_network_is_refused(network: Multitask, tmp_path: Path) -> None:
    path = tmp_path / 'other.onnx'
    torch.onnx.export(
        torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),), str(path), dynamo=False
    )
    with pytest.raises(ModelError, match='convolutions'):
        load_yolox(network, path)


def test_a_checkpoint_of_another_width_is_refused(network: Multitask, tmp_path: Path) -> None:
    convolutions = [
        m for part in (network.trunk, network.detection) for m in part.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]  # fmt: skip
    nodes, values = [], []
    for i, m in enumerate(convolutions):
        shape = list(m.weight.shape) if i != 7 else [*m.weight.shape[:1], 3, 1, 1]
        values += [
            onnx.helper.make_tensor(f'w{i}', 1, shape, np.zeros(shape, np.float32).ravel()),
            onnx.helper.make_tensor(f'b{i}', 1, [shape[0]], np.zeros(shape[0], np.float32)),
        ]
        nodes.append(onnx.helper.make_node('Conv', [f'x{i}', f'w{i}', f'b{i}'], [f'y{i}']))
    graph = onnx.helper.make_graph(nodes, 'wide', [], [], values)
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / 'wide.onnx'))
    with pytest.raises(ModelError, match='convolution 7: expected'):
        load_yolox(network, tmp_path / 'wide.onnx')
